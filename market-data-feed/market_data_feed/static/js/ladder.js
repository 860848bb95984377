// The order book of one security, with cumulative bars and grouped prices.
import { el, onNextFrame } from "./page.js";
import { number } from "./format.js";
import { Book, listen } from "./feed.js";
import { onStates, placesOf, securities, spreadOf, stateOf, trades } from "./securities.js";

const LEVELS = 10, GROUPS = [1, 5, 10, 50, 100];

/** Return the ladder of a book. `onPrice`, if given, receives the price of a level that the user chooses, and its side. */
export function createLadder({ onPrice = null, onChange = () => {} } = {}) {
  let symbol = "", book = null, auction = null, ends = [];
  const level = () => {
    const cells = [el("span", { class: "price" }), el("span"), el("span"), el("span", { class: "soft" })];
    return onPrice ? el("button", { type: "button", class: "level", onclick: (event) => pick(event.currentTarget) }, cells) : el("div", { class: "level" }, cells);
  };
  const asks = Array.from({ length: LEVELS }, level), bids = Array.from({ length: LEVELS }, level);
  const pick = (row) => { if (row.dataset.price) onPrice(row.dataset.price, asks.includes(row) ? "asks" : "bids"); };
  const spread = el("span"), sequence = el("span");
  const group = el("select", { class: "small", "aria-label": "Group prices", onchange: () => { localStorage.setItem("group", group.value); draw(); } },
    GROUPS.map((ticks) => el("option", { value: ticks }, ticks === 1 ? "1 tick" : `${ticks} ticks`)));
  group.value = GROUPS.includes(Number(localStorage.getItem("group"))) ? localStorage.getItem("group") : "1";
  const element = el("section", { class: "card ladder", "aria-label": "Order book" }, el("header", {}, el("h2", {}, "Order book"), group),
    el("div", { class: "level head" }, el("span", {}, "Price"), el("span", {}, "Quantity"), el("span", {}, "Total"), el("span", {}, "Orders")),
    el("div", { class: "asks" }, asks), el("div", { class: "middle" }, spread, sequence), el("div", { class: "bids" }, bids));

  const draw = () => {
    if (!book) return;
    const ticks = Number(group.value), sell = grouped(symbol, book.side("asks"), ticks, Math.ceil), buy = grouped(symbol, book.side("bids"), ticks, Math.floor);
    const most = Math.max(total(sell), total(buy), 0);
    drawLevels([...asks].reverse(), sell, most, "asks");
    drawLevels(bids, buy, most, "bids");
    const gap = spreadOf(symbol, book.best("bids"), book.best("asks"));
    spread.textContent = gap !== null ? `spread ${number(gap)}` : !trades(symbol) ? `${stateOf(symbol)[0]}${auction?.price ? `: indicative price ${number(auction.price)}` : ""}`
      : sell.length && buy.length ? "crossed" : sell.length || buy.length ? "one side is empty" : "empty book";
    sequence.textContent = book.sequence === null ? "" : `#${book.sequence}`;
    onChange(book);
  };
  const drawLevels = (rows, levels, most, side) => {
    let sum = 0;
    rows.forEach((row, index) => {
      const [price, quantity, orders] = levels[index] ?? ["", "", ""];
      sum += Number(quantity);
      const texts = price ? [number(price), number(quantity), number(sum.toFixed(lotPlaces(symbol))), String(orders)] : ["", "", "", ""];
      texts.forEach((text, cell) => { row.children[cell].textContent = text; });
      row.style.setProperty("--depth", price ? `${Math.max(1, 100 * sum / most)}%` : "0%");
      if (!onPrice) return;
      row.dataset.price = price;
      row.disabled = !price;
      if (price) row.setAttribute("aria-label", `${side === "bids" ? "Bid" : "Ask"} ${texts[0]}, quantity ${texts[1]}: use this price`);
      else row.removeAttribute("aria-label");
    });
  };

  const follow = (next) => {
    ends.forEach((end) => end());
    symbol = next;
    auction = null;
    book = new Book(symbol, () => onNextFrame(draw));
    const mine = book;
    ends = [() => mine.stop(), listen({ channel: "auction", symbol }, (message) => { auction = message.auction; onNextFrame(draw); }),
      onStates((changed) => { if (changed === symbol) onNextFrame(draw); })];
    draw();
  };
  return { element, follow, end() { ends.forEach((end) => end()); }, get book() { return book; } };
}

const lotPlaces = (symbol) => (securities.get(symbol)?.lot_size.split(".")[1] ?? "").length;
const total = (levels) => levels.slice(0, LEVELS).reduce((sum, [, quantity]) => sum + Number(quantity), 0);

/** Return levels whose prices are rounded away from the spread to multiples of so many ticks. */
function grouped(symbol, levels, ticks, round) {
  if (ticks === 1) return levels;
  const step = Number(securities.get(symbol).tick_size) * ticks, found = new Map();
  for (const [price, quantity, orders] of levels) {
    const at = (round(Number((Number(price) / step).toFixed(6))) * step).toFixed(placesOf(symbol)), [sum, count] = found.get(at) ?? [0, 0];
    found.set(at, [sum + Number(quantity), count + orders]);
  }
  return [...found].map(([price, [quantity, orders]]) => [price, quantity.toFixed(lotPlaces(symbol)), orders]);
}
