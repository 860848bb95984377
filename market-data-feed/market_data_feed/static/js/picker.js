// The list of securities: favourites first, then those that trade. The others are below a button.
import { ask, el, onNextFrame, toast } from "./page.js";
import { number, percent, sign } from "./format.js";
import { listen } from "./feed.js";
import { choose, favourites, onStates, securities, stateOf, toggleFavourite, trades } from "./securities.js";

const REFRESH_MS = 15000, MOST_ROWS = 200;

/** Return the list. `selected()` is the symbol that is shown, and `onTicker` is called with each new ticker. */
export function createPicker(selected, onTicker) {
  const tickers = new Map();
  let showsAll = false;
  const search = el("input", { type: "search", placeholder: "Symbol or name", "aria-label": "Search securities", oninput: () => onNextFrame(draw) });
  const found = el("ul", { "aria-label": "Securities" });
  const all = el("button", { type: "button", class: "small all", onclick: () => { showsAll = !showsAll; draw(); } });
  const element = el("section", { class: "card picker", "aria-label": "Securities" }, search, found, all);
  const isQuiet = (one) => tickers.get(one.symbol)?.quiet ?? one.quiet;
  const isActive = (one, hasHouse) => favourites.has(one.symbol) || one.symbol === selected() || (tickers.get(one.symbol)?.trades ?? 0) > 0 || (hasHouse && !isQuiet(one));
  const rank = (one) => (favourites.has(one.symbol) ? 0 : isQuiet(one) ? 3 : (tickers.get(one.symbol)?.trades ?? 0) > 0 ? 1 : 2);

  const row = (one) => {
    const ticker = tickers.get(one.symbol), isFavourite = favourites.has(one.symbol);
    return el("li", {}, el("button", { type: "button", class: "star", "aria-pressed": String(isFavourite), "aria-label": `Favourite: ${one.name}`, onclick: () => { toggleFavourite(one.symbol); draw(); } }, isFavourite ? "★" : "☆"),
      el("button", { type: "button", class: "pick", "aria-current": one.symbol === selected() ? "true" : null, onclick: () => choose(one.symbol) },
        el("strong", {}, one.symbol), el("span", { class: "num" }, number(ticker?.last ?? one.last_price ?? one.reference_price)),
        el("small", { class: "soft" }, trades(one.symbol) ? one.name : [el("span", { class: stateOf(one.symbol)[1] }, stateOf(one.symbol)[0]), ` ${one.name}`]),
        isQuiet(one) ? el("small", { class: "num soft", title: "No house bot trades this security. Orders may stay unfilled." }, "quiet")
          : el("small", { class: `num ${sign(ticker?.change)}` }, ticker?.change_percent ? percent(ticker.change_percent) : "")));
  };
  const draw = () => {
    const text = search.value.trim().toLowerCase();
    const matching = [...securities.values()].filter((one) => one.symbol.toLowerCase().includes(text) || one.name.toLowerCase().includes(text));
    matching.sort((a, b) => rank(a) - rank(b) || a.symbol.localeCompare(b.symbol));
    const hasHouse = [...securities.values()].some(isQuiet); // only then a security can be quiet
    const active = matching.filter((one) => isActive(one, hasHouse)), shown = text || showsAll ? matching : active;
    all.hidden = Boolean(text) || active.length === matching.length;
    all.textContent = showsAll ? "Show only active securities" : `Show ${matching.length - active.length} more that nobody trades`;
    const rows = shown.slice(0, MOST_ROWS).map(row);
    if (shown.length > MOST_ROWS) rows.push(el("li", { class: "empty" }, `${shown.length - MOST_ROWS} more. Search to narrow the list.`));
    const focused = found.contains(document.activeElement) ? [document.activeElement.className, document.activeElement.closest("li").querySelector("strong")?.textContent] : null;
    found.replaceChildren(...(rows.length ? rows : [el("li", { class: "empty" }, "No matching securities.")]));
    if (focused) [...found.querySelectorAll("li")].find((one) => one.querySelector("strong")?.textContent === focused[1])?.querySelector(`.${focused[0]}`)?.focus();
  };

  const add = (ticker) => { tickers.set(ticker.symbol, ticker); onNextFrame(draw); onTicker(ticker); };
  const load = () => ask("/ticker/24h").then((page) => page.forEach((ticker) => {
    Object.assign(securities.get(ticker.symbol) ?? {}, { quiet: ticker.quiet });
    add(ticker);
  }));
  load().catch((error) => toast(error.message, true));
  const timer = setInterval(() => load().catch(() => {}), REFRESH_MS); // no message reports that a security became quiet
  const ends = [listen({ channel: "ticker" }, add), onStates(() => onNextFrame(draw))];
  return { element, draw, tickers, end() { clearInterval(timer); ends.forEach((end) => end()); } };
}
