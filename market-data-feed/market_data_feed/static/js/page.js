// What all views share: elements, numbers, drawing at the screen's rate, plots.

/** An element with properties (`class`, `onclick`, `aria-…`, …) and children; text is always text. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && !name.includes("-") && name !== "list" && name !== "style") made[name === "class" ? "className" : name] = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A decimal text with its thousands grouped; its places stay as they are. */
export function grouped(text) {
  if (text === null || text === undefined || text === "") return "–";
  const [whole, places] = String(text).split(".");
  const sign = whole.startsWith("-") ? "−" : "";
  const digits = whole.replace("-", "").replace(/\B(?=(\d{3})+$)/g, " ");
  return sign + digits + (places === undefined ? "" : `.${places}`);
}

/** Cash with two places. */
export function money(text) {
  return text === null || text === undefined ? "–" : grouped(Number(text).toFixed(2));
}

/** The class that colours a number by its sign. */
export function sign(value) {
  const number = Number(value);
  return number > 0 ? "buy" : number < 0 ? "sell" : "";
}

export function signed(text) {
  return (Number(text) > 0 ? "+" : "") + money(text);
}

export function percent(text) {
  if (text === null || text === undefined) return "–";
  return Number(text) === 0 ? "0.00 %" : `${Number(text) > 0 ? "+" : ""}${grouped(text)} %`;
}

export function clock(timestamp) {
  return new Date(timestamp).toLocaleTimeString([], { hour12: false });
}

const waiting = new Set();
let frame = 0;

/** Calls `draw` before the screen's next frame, once, however often it was asked for. */
export function soon(draw) {
  waiting.add(draw);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const due = [...waiting];
    waiting.clear();
    due.forEach((one) => one());
  });
}

/** `action`, at most once in so many milliseconds; the last call always counts. */
export function atMost(milliseconds, action) {
  let timer = 0, last = 0;
  return () => {
    if (timer) return;
    timer = setTimeout(() => { timer = 0; last = performance.now(); action(); }, Math.max(0, last + milliseconds - performance.now()));
  };
}

export function toast(text, bad = false) {
  const shown = el("div", { class: bad ? "toast bad" : "toast" }, text);
  document.getElementById("toasts").append(shown);
  setTimeout(() => shown.remove(), bad ? 8000 : 4000);
}

/** Replaces the rows of a table's body. */
export function fill(body, rows, columns, nothing) {
  body.replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", { colSpan: columns, class: "empty" }, nothing))]));
}

export function table(columns, options = {}) {
  const body = el("tbody");
  const head = el("tr", {}, columns.map(([name, numeric]) => el("th", { class: numeric ? "num" : "", scope: "col" }, name)));
  const wrapped = el("div", { class: `scroll ${options.class ?? ""}`, tabIndex: 0, role: "region", "aria-label": options.label ?? "" },
    el("table", {}, el("thead", {}, head), body));
  return { element: wrapped, body };
}

let plotly;

/** Plotly, loaded when the first plot needs it. */
function loaded() {
  plotly ??= new Promise((resolve, reject) => {
    document.head.append(el("script", { src: "/dashboard/plotly.js", onload: () => resolve(window.Plotly), onerror: reject }));
  });
  return plotly;
}

export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "line", "card", "buy", "sell", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Draws traces into `place`, in the page's colours. */
export async function plot(place, traces, layout = {}) {
  const Plotly = await loaded();
  if (!place.isConnected) return;
  const c = colours();
  const axis = { gridcolor: c.line, zerolinecolor: c.line, linecolor: c.line, automargin: true };
  await Plotly.react(place, traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: c.soft, size: 12 }, uirevision: "keep", separators: ".\u202f",
    margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false, hovermode: "x unified", hoverlabel: { bgcolor: c.card, bordercolor: c.line, font: { color: c.ink } },
    ...layout, font: { color: c.soft, size: 12, ...layout.font }, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis }, ...(layout.yaxis2 ? { yaxis2: { ...axis, ...layout.yaxis2 } } : {}),
  }, { responsive: true, displayModeBar: false });
}

/** A line through points of time; while they are few, they are marked. */
export function line(points, colour, name, width = 2) {
  return { x: points.map(([x]) => x), y: points.map(([, y]) => y), name, type: "scatter", mode: points.length < 3 ? "lines+markers" : "lines", line: { color: colour, width } };
}

/** The range of an axis of time that ends with the last of `times` and is no shorter than so many seconds. */
export function atLeast(seconds, times) {
  if (!times.length) return undefined;
  const last = new Date(times.at(-1)).getTime(), first = Math.min(new Date(times[0]).getTime(), last - seconds * 1000);
  return [new Date(first), new Date(last + seconds * 40)];
}

/** JSON from a service; a refusal is an Error with its message and `code`. */
export async function ask(url, options = {}) {
  const answer = await fetch(url, options);
  const body = await answer.json().catch(() => null);
  if (!answer.ok) {
    const error = new Error(body?.error?.message ?? `${answer.status} ${answer.statusText}`);
    error.code = body?.error?.code;
    throw error;
  }
  return body;
}
