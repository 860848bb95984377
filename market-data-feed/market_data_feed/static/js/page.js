// Functions that all views use: elements, drawing once per frame, messages, tables, requests.

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

/** Show a message in the line below the navigation, which covers nothing. The newest message replaces the others. */
export function toast(text, bad = false) {
  const shown = el("div", { class: bad ? "toast bad" : "toast", title: text }, text);
  document.getElementById("toasts").replaceChildren(shown);
  setTimeout(() => shown.remove(), bad ? 15000 : 6000);
}

/** Show these rows in a table's body. Without rows, the table shows the text `empty`. A row that was shown before keeps the focus. */
export function fill(body, rows, columns, empty) {
  const wanted = rows.length ? rows : [el("tr", {}, el("td", { colSpan: columns, class: "empty" }, empty))], kept = new Set(wanted);
  [...body.children].forEach((row) => { if (!kept.has(row)) row.remove(); });
  wanted.forEach((row, index) => { if (body.children[index] !== row) body.insertBefore(row, body.children[index] ?? null); });
}

export function table(columns, options = {}) {
  const body = el("tbody");
  const head = el("tr", {}, columns.map(([name, numeric]) => el("th", { class: numeric ? "num" : "", scope: "col" }, name)));
  const wrapped = el("div", { class: `scroll ${options.class ?? ""}`, tabIndex: 0, role: "region", "aria-label": options.label ?? "" },
    el("table", {}, el("thead", {}, head), body));
  return { element: wrapped, body };
}

/** Return the JSON of a response, or its "blob". A refusal throws an Error with its message and `code`. */
export async function ask(url, options = {}, type = "json") {
  // A classroom takes bodies with this type only.
  const headers = options.body ? { "Content-Type": "application/json", ...options.headers } : options.headers;
  const answer = await fetch(url, { ...options, headers });
  const body = await answer[answer.ok ? type : "json"]().catch(() => null);
  if (!answer.ok) {
    const error = new Error(body?.error?.message ?? `${answer.status} ${answer.statusText}`);
    error.code = body?.error?.code;
    error.field = body?.error?.field;
    throw error;
  }
  return body;
}

/** Do `work` while its button is disabled, so that a double click does it once. An error goes to `onError`. */
export async function whileDisabled(button, work, onError = (error) => toast(error.message, true)) {
  const hadFocus = document.activeElement === button;
  button.disabled = true;
  try { await work(); } catch (error) { onError(error); } finally { button.disabled = false; }
  // A button loses the focus when it is disabled.
  if (hadFocus && document.activeElement === document.body) button.focus();
}

/** Return a label with its input. */
export function field(text, input) { return el("label", {}, text, input); }

/** Return a figure with its name: the element of the value, and the box with both. */
export function figure(name, box = "div", properties = {}) {
  const value = el("div", { class: "value" }, "–");
  return [value, el(box, { ...properties, class: `figure ${properties.class ?? ""}` }, el("div", { class: "soft" }, name), value)];
}
