// The listed securities, and the one that is selected.
import { ask } from "./page.js";
import { listen } from "./feed.js";

export const securities = new Map();
const choiceListeners = new Set();
export let current = localStorage.getItem("symbol") ?? "";

/** Load the whole listing, page by page. */
export async function load() {
  let after = "";
  for (;;) {
    const page = await ask(`/securities?limit=1000&after=${encodeURIComponent(after)}`);
    page.forEach((security) => securities.set(security.symbol, security));
    if (page.length < 1000) break;
    after = page.at(-1).symbol;
  }
  if (!securities.has(current)) {
    const traded = byActivity().find((security) => security.last_price !== null);
    current = (traded ?? byActivity()[0])?.symbol ?? "";
  }
}

/** The symbols that the user has marked with a star. This browser stores them. */
export const favourites = new Set(JSON.parse(localStorage.getItem("favourites") ?? "[]"));
export function toggleFavourite(symbol) {
  if (!favourites.delete(symbol)) favourites.add(symbol);
  localStorage.setItem("favourites", JSON.stringify([...favourites]));
}

/** Return all securities: first those that house bots trade, then by symbol. */
export function byActivity() { return [...securities.values()].sort((a, b) => a.quiet - b.quiet || a.symbol.localeCompare(b.symbol)); }

/** The name and the colour of each trading state. */
export const STATES = { continuous: ["open", "good"], halted: ["halted", "bad"], closed: ["closed", "bad"], delisted: ["delisted", "bad"],
  pre_open: ["pre-open", "warn"], opening_auction: ["opening auction", "warn"], closing_auction: ["closing auction", "warn"], volatility_auction: ["volatility auction", "warn"] };

/** Return the state of a security as [text, colour]. */
export function stateOf(symbol) {
  const state = securities.get(symbol)?.state ?? "";
  return STATES[state] ?? [state.replaceAll("_", " "), "warn"];
}

/** Return whether trading is continuous. Only then the book has a spread. */
export function trades(symbol) { return securities.get(symbol)?.state === "continuous"; }

/** Return whether the market only collects orders, as before an opening or in an auction. */
export function collects(symbol) { return STATES[securities.get(symbol)?.state]?.[1] === "warn"; }

/** Return the number of decimal places of a security's prices. */
export function placesOf(symbol) { return (securities.get(symbol)?.tick_size.split(".")[1] ?? "").length; }

/** Return the spread of a book as text; null if a side is empty, the book is crossed, or trading is not continuous. */
export function spreadOf(symbol, bid, ask) {
  if (!trades(symbol) || bid === undefined || ask === undefined || Number(ask) <= Number(bid)) return null;
  return (Number(ask) - Number(bid)).toFixed(placesOf(symbol));
}

const stateListeners = new Set();
let stopStates = null;

function onStatus(message) {
  const security = securities.get(message.symbol);
  if (!security || security.state === message.state) return;
  security.state = message.state;
  stateListeners.forEach((callback) => callback(message.symbol));
}

/** Call `callback` with the symbol when a trading state changes. Return a function that stops it. */
export function onStates(callback) {
  stateListeners.add(callback);
  stopStates ??= listen({ channel: "status" }, onStatus);
  return () => stateListeners.delete(callback);
}

export function choose(symbol) {
  current = symbol;
  localStorage.setItem("symbol", symbol);
  choiceListeners.forEach((callback) => callback(symbol));
}

/** Call `callback` when another security is selected. Return a function that stops it. */
export function onChoice(callback) { choiceListeners.add(callback); return () => choiceListeners.delete(callback); }

/** Return the higher of the two fees, as a fraction. */
export function feeRate(symbol) {
  const { maker_fee_bps: maker, taker_fee_bps: taker } = securities.get(symbol);
  return Math.max(maker, taker, 0) / 10000;
}
