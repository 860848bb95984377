// One format for all numbers and times: that of the browser's language. Decimal text keeps its decimal places.

import { config } from "./config.js";

const CURRENCY = config.currency, MISSING = "–";
const formatters = new Map();

function formatter(places, options) {
  const name = `${places} ${JSON.stringify(options)}`;
  if (!formatters.has(name)) formatters.set(name, new Intl.NumberFormat(undefined, { minimumFractionDigits: places, maximumFractionDigits: places, ...options }));
  return formatters.get(name);
}
const isMissing = (text) => text === null || text === undefined || text === "";
const placesOf = (text) => (String(text).split(".")[1] ?? "").length;

/** Return a price, a quantity or a count with the decimal places of its text. */
export function number(text) {
  return isMissing(text) ? MISSING : formatter(placesOf(text), {}).format(text);
}

/** Return cash with its currency and two decimal places. */
export function money(text) {
  return isMissing(text) ? MISSING : formatter(2, { style: "currency", currency: CURRENCY }).format(text);
}

/** Return a change of cash with its sign. */
export function signedMoney(text) {
  return isMissing(text) ? MISSING : formatter(2, { style: "currency", currency: CURRENCY, signDisplay: "exceptZero" }).format(text);
}

/** Return a change of a price with its sign. */
export function signed(text) {
  return isMissing(text) ? MISSING : formatter(placesOf(text), { signDisplay: "exceptZero" }).format(text);
}

/** Return a change in percent. `text` is 1.5 for 1.5 %. */
export function percent(text) {
  return isMissing(text) ? MISSING : formatter(2, { style: "percent", signDisplay: "exceptZero" }).format(Number(text) / 100);
}

/** Return the class that colours a change: green if it is positive, red if it is negative. */
export function sign(value) {
  return Number(value) > 0 ? "buy" : Number(value) < 0 ? "sell" : "";
}

export function clock(timestamp) {
  return new Date(timestamp).toLocaleTimeString(undefined, { hour12: false });
}

/** Return the decimal point and the separator of thousands, as plotly takes them. */
export function separators() {
  const parts = Object.fromEntries(formatter(1, {}).formatToParts(12345.6).map(({ type, value }) => [type, value]));
  return (parts.decimal ?? ".") + (parts.group ?? "");
}
