// Positions with their profit, and the buttons that close them.
import { el, fill, table } from "./page.js";
import { money, number, sign, signedMoney } from "./format.js";
import { confirmed } from "./dialog.js";
import { choose, securities } from "./securities.js";
import { sendOrder } from "./ticket.js";

const COLUMNS = [["Security"], ["Quantity", true], ["Average cost", true], ["Last", true], ["Value", true], ["Unrealised", true], ["Realised", true], ["Today", true], [""]];

/** Return the table of positions. */
export function createPositions() {
  let positions = [], isClosing = false, showsAll = localStorage.getItem("positions") === "all";
  const rows = new Map(), pending = new Map(); // by symbol: the row, and the number of trades before the order that closes the position
  const shown = table(COLUMNS, { class: "positions", label: "Positions" });
  const totals = el("tfoot");
  shown.body.after(totals);
  const closeAll = el("button", { type: "button", class: "small", onclick: () => flatten(traded().map((one) => one.symbol)) }, "Close all");
  const all = el("button", { type: "button", class: "small", onclick: () => { showsAll = !showsAll; localStorage.setItem("positions", showsAll ? "all" : "traded"); draw(); } });
  const element = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Positions"), el("span", { class: "choice" }, all, closeAll)), shown.element,
    el("p", { class: "soft note" }, "By average cost, before fees. Today is since midnight UTC, after fees."));

  const positionIn = (symbol) => positions.find((one) => one.symbol === symbol);
  const isPending = (one) => pending.get(one.symbol) === one.trades;
  const held = () => positions.filter((one) => Number(one.quantity));
  /** Return open positions that the client has traded. Shares of the opening balance are below "Show all". */
  const traded = () => held().filter((one) => one.trades);
  const at = (one) => {
    const last = securities.get(one.symbol)?.last_price ?? one.last, value = Number(one.quantity) * Number(last);
    // Today's profit moves with the last price until the next message of the feed.
    return { last, value, unrealised: value - Number(one.cost), today: Number(one.today) + value - Number(one.value) };
  };
  // Each symbol keeps its row, so that a price between the press and the release of a button does not lose the click.
  const createRow = (symbol) => {
    const figures = COLUMNS.slice(1, -1).map(() => el("td", { class: "num" }));
    const close = el("button", { type: "button", class: "small", "aria-label": `Close the position in ${symbol}`, onclick: () => flatten([symbol]) }, "Close");
    const element = el("tr", {}, el("td", {}, el("button", { type: "button", class: "link", onclick: () => choose(symbol) }, symbol)), figures, el("td", { class: "num" }, close));
    return { element, figures, close };
  };
  const drawRow = (one) => {
    if (!rows.has(one.symbol)) rows.set(one.symbol, createRow(one.symbol));
    const { element, figures, close } = rows.get(one.symbol), { last, value, unrealised, today } = at(one);
    const texts = [number(one.quantity), money(one.average_cost), number(last), money(value), signedMoney(unrealised), signedMoney(one.realised), signedMoney(today)];
    const signs = ["", "", "", "", sign(unrealised), sign(one.realised), sign(today)];
    figures.forEach((cell, index) => { cell.textContent = texts[index]; cell.className = `num ${signs[index]}`; });
    close.hidden = !Number(one.quantity);
    return element;
  };
  const draw = () => {
    const listed = showsAll ? positions : traded(), hidden = positions.length - traded().length;
    fill(shown.body, listed.map(drawRow), COLUMNS.length, positions.length ? "No positions from your own trades." : "No positions.");
    all.hidden = !hidden;
    all.textContent = showsAll ? "Show only your trades" : `Show all (${hidden} more)`;
    closeAll.disabled = !traded().length;
    const sum = (pick) => positions.reduce((total, one) => total + Number(pick(one)), 0);
    const [unrealised, realised, today] = [sum((one) => at(one).unrealised), sum((one) => one.realised), sum((one) => at(one).today)];
    totals.replaceChildren(el("tr", {}, el("th", { scope: "row", colSpan: 4 }, `All positions, fees ${money(sum((one) => one.fees))}`), el("td", { class: "num" }, money(sum((one) => at(one).value))),
      [unrealised, realised, today].map((value) => el("td", { class: `num ${sign(value)}` }, signedMoney(value))), el("td")));
  };

  /** Close positions with market orders, after a question. A position whose order has traded waits for the feed, so that no second order reverses it. */
  const flatten = async (symbols) => {
    const closed = held().filter((one) => symbols.includes(one.symbol) && !isPending(one));
    if (isClosing || !closed.length) return;
    isClosing = true;
    try {
      const names = closed.map((one) => `${number(one.quantity)} ${one.symbol}`).join(", ");
      if (await confirmed(closed.length > 1 ? "Close all" : "Close", `Market orders close ${names}.`)) for (const { symbol } of closed) await closeOne(symbol);
    } finally { isClosing = false; }
  };
  const closeOne = async (symbol) => {
    const one = positionIn(symbol); // the quantity may have changed since the question
    if (!Number(one?.quantity)) return;
    const order = await sendOrder({ op: "order", symbol, side: Number(one.quantity) > 0 ? "sell" : "buy", quantity: one.quantity.replace("-", ""), order_type: "market" });
    if (Number(order?.filled_quantity)) pending.set(symbol, one.trades);
  };

  draw();
  return {
    element, draw,
    set(newest) { positions = newest; draw(); },
    held: (symbol) => positionIn(symbol)?.quantity ?? "0",
    close: (symbol) => flatten([symbol]),
  };
}
