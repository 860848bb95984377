// The prices of the securities that trade most, for the projector.
import { ask, el, onNextFrame } from "./page.js";
import { number, percent, sign } from "./format.js";
import { listen } from "./feed.js";
import { choose, current, onChoice, onStates, securities, stateOf, trades } from "./securities.js";

const SHOWN = 8;

/** Return the prices. A click on one chooses the security. */
export function createPrices() {
  const tickers = new Map(), tiles = new Map(), element = el("div", { class: "prices", role: "group", "aria-label": "Prices" });
  const tileOf = (symbol) => {
    if (!tiles.has(symbol)) tiles.set(symbol, el("button", { type: "button", onclick: () => choose(symbol) }, el("strong", {}, symbol), el("span", { class: "num last" }), el("small", {})));
    const tile = tiles.get(symbol), [, last, change] = tile.children, ticker = tickers.get(symbol), isOpen = trades(symbol);
    tile.setAttribute("aria-pressed", String(symbol === current));
    last.textContent = number(ticker.last ?? securities.get(symbol).reference_price);
    change.textContent = !isOpen ? stateOf(symbol)[0] : ticker.change_percent ? percent(ticker.change_percent) : "no trades";
    change.className = `num ${isOpen ? sign(ticker.change) : "soft"}`;
    return tile;
  };
  const draw = () => {
    const traded = [...tickers.values()].filter((one) => securities.has(one.symbol)).sort((a, b) => b.trades - a.trades || a.quiet - b.quiet || a.symbol.localeCompare(b.symbol));
    // The order by symbol does not change with each trade.
    const shown = traded.slice(0, SHOWN).map((one) => one.symbol).sort(), wanted = shown.map(tileOf);
    if (wanted.some((tile, index) => element.children[index] !== tile)) element.replaceChildren(...wanted);
  };
  const add = (ticker) => { tickers.set(ticker.symbol, ticker); onNextFrame(draw); };
  ask("/ticker/24h").then((page) => page.forEach(add)).catch(() => { /* the channel sends each ticker that changes */ });
  const ends = [listen({ channel: "ticker" }, add), onStates(() => onNextFrame(draw)), onChoice(() => onNextFrame(draw))];
  return { element, end() { ends.forEach((end) => end()); } };
}
