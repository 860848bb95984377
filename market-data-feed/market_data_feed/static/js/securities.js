// What is listed, and the one that is looked at.
import { ask } from "./page.js";

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
