// Trade: one page with the chart, the book, the ticket, positions, open orders, fills and equity.
import { ask, el, figure, onNextFrame, throttle, toast } from "./page.js";
import { money, number } from "./format.js";
import { colours, line, plot, timeRange } from "./plots.js";
import { listen } from "./feed.js";
import { createChart } from "./chart.js";
import { createLadder } from "./ladder.js";
import { createNewsCard } from "./news.js";
import { createOrders } from "./orders.js";
import { createPositions } from "./positions.js";
import { createRole } from "./role.js";
import { createTasks } from "./tasks.js";
import { createTenders } from "./tenders.js";
import { createTicket } from "./ticket.js";
import { loginForms } from "./login.js";
import { showShortcuts, useShortcuts } from "./shortcuts.js";
import { current, onChoice, onStates, securities } from "./securities.js";
import { onSession } from "./rounds.js";
import * as gate from "./session.js";

const CURVE_MS = 5000;

export function trade(main) {
  let view = null;
  const draw = () => {
    view?.end();
    view = gate.loggedIn() ? account(main) : visitor(main);
  };
  const off = gate.onSession(draw);
  draw();
  return { end() { off(); view.end(); }, repaint() { view.repaint(); } };
}

/** Show the chart, the book and the forms to log in. */
function visitor(main) {
  const chart = createChart(), ladder = createLadder(), news = createNewsCard();
  const follow = () => { chart.follow(current); ladder.follow(current); };
  main.replaceChildren(el("h1", { class: "hidden" }, "Trade"), el("div", { class: "grid trade" }, el("div", { class: "place-chart" }, chart.element), el("div", { class: "place-book" }, ladder.element), el("div", { class: "grid place-ticket" }, el("p", { class: "notice", role: "note" }, "You are not logged in, so you cannot send orders."), loginForms(), news.element)));
  const off = onChoice(follow);
  follow();
  return { end() { off(); chart.end(); ladder.end(); news.end(); }, repaint() { chart.repaint(); } };
}

/** Show the page of a client. */
function account(main) {
  const ends = [];
  let balance = null;
  const positions = createPositions(), orders = createOrders(() => chart.repaint());
  const ticket = createTicket({ balance: () => balance, held: positions.held });
  const chart = createChart(orders.fillsOf), ladder = createLadder({ onPrice: ticket.usePrice, onChange: (book) => { ticket.setBook(book); drawBar(book); } });

  // --- the session of rounds
  const tenders = createTenders(), role = createRole(() => balance !== null), tasks = createTasks(() => balance !== null), news = createNewsCard();

  // --- the client, and the equity over time
  const connection = el("span", { class: "pill" });
  const [equity, equityBox] = figure("Equity"), [cash, cashBox] = figure("Cash");
  const keyShown = el("details", {}, el("summary", {}, "API key"), el("code", { class: "soft key" }, gate.session.key));
  const who = el("section", { class: "card" }, el("header", {}, el("h2", {}, gate.session.nickname || gate.session.client), connection, el("button", { type: "button", class: "small", title: "Keyboard shortcuts", "aria-label": "Keyboard shortcuts", onclick: () => showShortcuts(shortcuts) }, "?"), el("button", { type: "button", class: "small", onclick: gate.forget }, "Log out")),
    el("div", { class: "figures" }, equityBox, cashBox), gate.session.key ? keyShown : null);
  const curve = el("div", { class: "plot small", role: "img", "aria-label": "Equity over time" });
  const curveCard = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Equity")), curve);

  // --- a phone has the sides of the ticket at the bottom of the screen
  const [buy, sell] = ["buy", "sell"].map((side) => el("button", { type: "button", class: `primary ${side}s`, onclick: () => ticket.open(side) }));
  const drawBar = (book) => {
    buy.textContent = `Buy ${current} ${number(book.best("asks"))}`;
    sell.textContent = `Sell ${current} ${number(book.best("bids"))}`;
  };
  main.replaceChildren(el("h1", { class: "hidden" }, "Trade"), el("div", { class: "asked" }, tenders.element, role.element, tasks.element), el("div", { class: "grid trade account" },
    el("div", { class: "place-chart" }, chart.element), el("div", { class: "place-book" }, ladder.element),
    el("div", { class: "grid place-ticket" }, ticket.element, news.element, who),
    el("div", { class: "grid place-tables" }, positions.element, orders.openCard, el("div", { class: "grid two" }, orders.fillsCard, curveCard))),
    el("div", { class: "thumb-bar", role: "group", "aria-label": "Order" }, buy, sell));

  const shortcuts = [["b", "Buy", () => ticket.setSide("buy")], ["s", "Sell", () => ticket.setSide("sell")], ["q", "Go to the quantity", () => ticket.focus("quantity")], ["p", "Go to the price", () => ticket.focus("price")],
    ["/", "Go to the security", () => ticket.focus("security")], ["f", "Close the position in this security", () => positions.close(current)], ["x", "Cancel all orders", orders.cancelAll]];

  const drawMoney = () => {
    equity.textContent = money(balance?.equity);
    cash.textContent = money(balance?.cash);
    cash.className = `value ${Number(balance?.cash) < 0 ? "sell" : ""}`;
    ticket.redraw();
  };
  const loadCurve = () => balance && ask(`/equity/${gate.session.client}?limit=1000`, { headers: gate.headers() }).then((points) => {
    plot(curve, [line(points.map((point) => [point.timestamp, Number(point.equity)]), colours().accent, "equity")], { xaxis: { type: "date", range: timeRange(60, points.map((point) => point.timestamp)) }, yaxis: { tickformat: ",.2f", side: "right" } });
  }).catch((error) => toast(error.message, true));
  const loadCurveThrottled = throttle(CURVE_MS, loadCurve), timer = setInterval(loadCurveThrottled, CURVE_MS);
  const follow = () => { ticket.follow(); chart.follow(current); ladder.follow(current); };

  ends.push(useShortcuts(shortcuts), onChoice(follow), onStates((changed) => { if (changed === current) ticket.redraw(); }));
  ends.push(gate.onOrders((connected, refused) => {
    connection.textContent = connected ? "Connected" : refused ?? "Connecting";
    connection.className = `pill ${connected ? "good" : "bad"}`;
    ticket.redraw();
    if (connected) orders.load().catch((error) => toast(error.message, true));
  }));
  ends.push(listen({ channel: "balances" }, (message) => { const first = !balance; ({ balance } = message); onNextFrame(drawMoney); if (first) { loadCurve(); role.load(); tasks.load(); } }));
  ends.push(listen({ channel: "positions" }, (message) => { positions.set(message.positions); ticket.redraw(); }));
  ends.push(listen({ channel: "ticker" }, (ticker) => { Object.assign(securities.get(ticker.symbol) ?? {}, { last_price: ticker.last, quiet: ticker.quiet }); onNextFrame(positions.draw); }));
  ends.push(onSession(ticket.redraw), () => clearInterval(timer), orders.end, chart.end, ladder.end, tenders.end, role.end, tasks.end, news.end);
  drawMoney();
  follow();
  return { end() { ends.forEach((end) => end()); }, repaint() { chart.repaint(); loadCurve(); } };
}
