// What is listed, and the one that is looked at.
import { ask } from "./page.js";
import { listen } from "./feed.js";

export const securities = new Map();
const changes = new Set();
export let current = localStorage.getItem("symbol") ?? "";

/** Reads the whole listing, page by page. */
export async function load() {
  let after = "";
  for (;;) {
    const page = await ask(`/securities?limit=1000&after=${encodeURIComponent(after)}`);
    page.forEach((security) => securities.set(security.symbol, security));
    if (page.length < 1000) break;
    after = page.at(-1).symbol;
  }
  if (!securities.has(current)) {
    const traded = byLife().find((security) => security.last_price !== null);
    current = (traded ?? byLife()[0])?.symbol ?? "";
  }
}

/** All that is listed, what house bots trade first. */
export function byLife() { return [...securities.values()].sort((a, b) => a.quiet - b.quiet || a.symbol.localeCompare(b.symbol)); }
/** How each state of a market is called, and its colour. */
export const STATES = { continuous: ["open", "good"], halted: ["halted", "bad"], closed: ["closed", "bad"], delisted: ["delisted", "bad"],
  pre_open: ["pre-open", "warn"], opening_auction: ["opening auction", "warn"], closing_auction: ["closing auction", "warn"], volatility_auction: ["volatility auction", "warn"] };

/** The state of a security as [text, colour]. */
export function stateOf(symbol) {
  const state = securities.get(symbol)?.state ?? "";
  return STATES[state] ?? [state.replaceAll("_", " "), "warn"];
}

/** Whether orders trade as they come: only then the book has a spread. */
export function trades(symbol) { return securities.get(symbol)?.state === "continuous"; }

/** Whether orders are only collected, as before an opening or in an auction. */
export function collects(symbol) { return STATES[securities.get(symbol)?.state]?.[1] === "warn"; }

/** The places of a security's prices. */
export function placesOf(symbol) { return (securities.get(symbol)?.tick_size.split(".")[1] ?? "").length; }

/** The spread of a book as text; null where a side is empty, the sides cross, or the market does not trade. */
export function spreadOf(symbol, bid, ask) {
  if (!trades(symbol) || bid === undefined || ask === undefined || Number(ask) <= Number(bid)) return null;
  return (Number(ask) - Number(bid)).toFixed(placesOf(symbol));
}

/** Calls `hear` with the symbol when a market changes its state; returns what ends that. */
export function onStates(hear) {
  return listen({ channel: "status" }, (message) => {
    const security = securities.get(message.symbol);
    if (!security || security.state === message.state) return;
    security.state = message.state;
    hear(message.symbol);
  });
}

export function choose(symbol) {
  current = symbol;
  localStorage.setItem("symbol", symbol);
  changes.forEach((hear) => hear(symbol));
}

/** Hears when another security is chosen; returns what ends that. */
export function onChoice(hear) { changes.add(hear); return () => changes.delete(hear); }

/** The highest of the two fees, as a part of one. */
export function feeRate(symbol) {
  const { maker_fee_bps: maker, taker_fee_bps: taker } = securities.get(symbol);
  return Math.max(maker, taker, 0) / 10000;
}
