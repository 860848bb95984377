// Functions that all views use: elements, numbers, drawing once per frame, plots.

/** Return an element with properties (`class`, `onclick`, `aria-…`, …) and children. Strings become text, never HTML. */
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

/** Return a decimal text with grouped thousands. The decimal places do not change. */
export function grouped(text) {
  if (text === null || text === undefined || text === "") return "–";
  const [whole, places] = String(text).split(".");
  const sign = whole.startsWith("-") ? "−" : "";
  const digits = whole.replace("-", "").replace(/\B(?=(\d{3})+$)/g, " ");
  return sign + digits + (places === undefined ? "" : `.${places}`);
}

/** Return cash with two decimal places. */
export function money(text) {
  return text === null || text === undefined ? "–" : grouped(Number(text).toFixed(2));
}

/** Return the class that colours a number by its sign. */
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

/** Call `draw` once before the next frame of the screen. Several requests for one frame are one call. */
export function onNextFrame(draw) {
  waiting.add(draw);
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    const due = [...waiting];
    waiting.clear();
    due.forEach((one) => one());
  });
}

/** Return a function that calls `action` at most once in so many milliseconds. The last call is never lost. */
export function throttle(milliseconds, action) {
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

/** Replace the rows of a table's body. Without rows, the table shows the text `empty`. */
export function fill(body, rows, columns, empty) {
  body.replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", { colSpan: columns, class: "empty" }, empty))]));
}

export function table(columns, options = {}) {
  const body = el("tbody");
  const head = el("tr", {}, columns.map(([name, numeric]) => el("th", { class: numeric ? "num" : "", scope: "col" }, name)));
  const wrapped = el("div", { class: `scroll ${options.class ?? ""}`, tabIndex: 0, role: "region", "aria-label": options.label ?? "" },
    el("table", {}, el("thead", {}, head), body));
  return { element: wrapped, body };
}

let plotly;

/** Return Plotly. The first plot loads it. */
function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    document.head.append(el("script", { src: "/dashboard/plotly.js", onload: () => resolve(window.Plotly), onerror: reject }));
  });
  return plotly;
}

export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "line", "card", "buy", "sell", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Draw traces into `place` in the colours of the theme. */
export async function plot(place, traces, layout = {}) {
  const Plotly = await loadPlotly();
  if (!place.isConnected) return;
  const c = colours();
  const axis = { gridcolor: c.line, zerolinecolor: c.line, linecolor: c.line, automargin: true };
  await Plotly.react(place, traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: c.soft, size: 12 }, uirevision: "keep", separators: ".\u202f",
    margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false, hovermode: "x unified", hoverlabel: { bgcolor: c.card, bordercolor: c.line, font: { color: c.ink } },
    ...layout, font: { color: c.soft, size: 12, ...layout.font }, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis }, ...(layout.yaxis2 ? { yaxis2: { ...axis, ...layout.yaxis2 } } : {}),
  }, { responsive: true, displayModeBar: false });
}

/** Return a line through points of time. A line of one or two points has markers. */
export function line(points, colour, name, width = 2) {
  return { x: points.map(([x]) => x), y: points.map(([, y]) => y), name, type: "scatter", mode: points.length < 3 ? "lines+markers" : "lines", line: { color: colour, width } };
}

/** Return the range of an axis of time. It ends with the last of `times` and covers at least so many seconds. */
export function timeRange(seconds, times) {
  if (!times.length) return undefined;
  const last = new Date(times.at(-1)).getTime(), first = Math.min(new Date(times[0]).getTime(), last - seconds * 1000);
  return [new Date(first), new Date(last + seconds * 40)];
}

/** Return the JSON of a response. A refusal throws an Error with its message and `code`. */
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
