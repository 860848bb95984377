// Market: the list of securities, price, order book, depth, candles and trades.
import { ask, el, onNextFrame, throttle, toast } from "./page.js";
import { clock, number, percent, sign, signed } from "./format.js";
import { colours, plot } from "./plots.js";
import { listen } from "./feed.js";
import { createChart } from "./chart.js";
import { createLadder } from "./ladder.js";
import { createPicker } from "./picker.js";
import { current, onChoice, onStates, securities, spreadOf, stateOf, trades as tradesContinuously } from "./securities.js";

const MAX_TRADES = 60;
const AUCTION = "An auction collects orders. It accepts limit orders that can rest. They trade together at its end, at one price.";
const NOTICES = { halted: "Trading is halted. You can cancel orders. New orders are rejected.", closed: "The market is closed. You can cancel orders. New orders are rejected.",
  delisted: "The security is delisted.", pre_open: "The market is not open yet. It collects orders for the opening.", opening_auction: AUCTION, closing_auction: AUCTION, volatility_auction: AUCTION };

export function market(main) {
  const ends = [];
  let symbolEnds = [], symbol = "", book, trades = [], auction = null;

  const picker = createPicker(() => symbol, (ticker) => { if (ticker.symbol === symbol) onNextFrame(drawTicker); });
  const chart = createChart(), ladder = createLadder({ onChange: (newest) => { book = newest; drawFacts(); drawDepth(); } });

  // --- price
  const title = el("h1"), last = el("span", { class: "last" }), change = el("span", { class: "num" }), state = el("span", { class: "pill" });
  const facts = Object.fromEntries(["Bid", "Ask", "Spread", "High 24 h", "Low 24 h", "Volume 24 h", "Trades 24 h"].map((name) => [name, el("dd", {}, "–")]));
  const notice = el("p", { class: "notice", role: "status", hidden: true });
  const auctionLine = el("p", { class: "pill warn", hidden: true });
  const quote = el("section", { class: "card" }, el("div", { class: "quote" }, title, last, change, state), notice, auctionLine,
    el("dl", { class: "facts" }, Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), value))));

  const depthPlot = el("div", { class: "plot small", role: "img", "aria-label": "Depth: cumulative bids and asks by price" });
  const depth = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Depth")), depthPlot);

  const tapeRows = el("tbody");
  const tape = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Trades")),
    el("div", { class: "scroll tape", tabIndex: 0, role: "region", "aria-label": "Trades" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "Time"), el("th", { class: "num" }, "Price"), el("th", { class: "num" }, "Quantity"))), tapeRows)));

  main.replaceChildren(el("div", { class: "grid market" }, picker.element, el("div", { class: "grid" }, quote, chart.element, depth), el("div", { class: "grid side" }, ladder.element, tape)));

  // --- drawing of the newest state
  const drawFacts = () => {
    const sell = book.side("asks"), buy = book.side("bids");
    facts.Bid.textContent = buy.length ? `${number(buy[0][0])} × ${number(buy[0][1])}` : "–";
    facts.Ask.textContent = sell.length ? `${number(sell[0][0])} × ${number(sell[0][1])}` : "–";
    facts.Spread.textContent = number(spreadOf(symbol, buy[0]?.[0], sell[0]?.[0]));
  };
  const drawDepth = throttle(500, () => {
    const cumulative = (levels) => { let sum = 0; return levels.slice(0, 60).map(([price, quantity]) => [Number(price), (sum += Number(quantity))]); };
    const c = colours(), sides = [[cumulative(book.side("bids")), c.buy, "bids"], [cumulative(book.side("asks")), c.sell, "asks"]];
    // An order far away from the others would squeeze them together, so the axis ends at four times the median distance.
    const [[bids], [asks]] = sides, best = [bids[0]?.[0], asks[0]?.[0]].filter((one) => one !== undefined), middle = best.reduce((a, b) => a + b, 0) / best.length;
    const distances = [...bids, ...asks].map(([price]) => Math.abs(price - middle)).sort((a, b) => a - b);
    const range = Math.min(distances.at(-1) ?? 0, 4 * (distances[Math.floor(distances.length / 2)] ?? 0)) * 1.05;
    plot(depthPlot, sides.map(([points, colour, name]) => ({ x: points.map(([x]) => x), y: points.map(([, y]) => y), name, type: "scatter", mode: "lines",
      line: { color: colour, shape: "hv", width: 2 }, fill: "tozeroy", fillcolor: `${colour}30` })),
      { xaxis: { title: { text: "price" }, ...(range ? { range: [middle - range, middle + range] } : {}) }, yaxis: { title: { text: "quantity" }, rangemode: "tozero" } });
  });
  const drawTape = () => {
    tapeRows.replaceChildren(...(trades.length ? trades.map((trade) => el("tr", {}, el("td", { class: "soft" }, clock(trade.timestamp)),
      el("td", { class: `num ${trade.aggressor_side}` }, number(trade.price)), el("td", { class: "num" }, number(trade.quantity)))) : [el("tr", {}, el("td", { colSpan: 3, class: "empty" }, "No trades yet."))]));
    if (trades.length) last.textContent = number(trades[0].price);
  };
  const drawTicker = () => {
    const ticker = picker.tickers.get(symbol);
    if (!trades.length) last.textContent = number(ticker?.last ?? securities.get(symbol)?.reference_price);
    last.className = `last ${sign(ticker?.change)}`; // the colour of the day, as beside it
    change.textContent = ticker?.change ? `${signed(ticker.change)} (${percent(ticker.change_percent)})` : "no trades in 24 h";
    change.className = `num ${sign(ticker?.change) || "soft"}`;
    for (const [name, field] of [["High 24 h", "high"], ["Low 24 h", "low"], ["Volume 24 h", "volume"], ["Trades 24 h", "trades"]]) facts[name].textContent = number(ticker?.[field] ?? null);
  };
  const drawState = () => {
    const [text, colour] = stateOf(symbol);
    state.textContent = text;
    state.className = `pill ${colour}`;
    notice.hidden = tradesContinuously(symbol);
    notice.textContent = NOTICES[securities.get(symbol)?.state] ?? "";
  };
  const drawAuction = () => {
    auctionLine.hidden = auction === null;
    if (auction) auctionLine.textContent = auction.price === null ? "No indicative price yet" : `Indicative price ${number(auction.price)}, quantity ${number(auction.quantity)}, imbalance ${number(auction.imbalance)}`;
  };

  /** Load the trades before the subscription. */
  const loadTape = () => {
    const mine = symbol;
    ask(`/trades/${symbol}?limit=${MAX_TRADES}`).then((page) => {
      if (mine !== symbol) return;
      const newest = Number(page.trades[0]?.trade_id ?? 0);
      trades = [...trades.filter((trade) => Number(trade.trade_id) > newest), ...page.trades].slice(0, MAX_TRADES);
      onNextFrame(drawTape);
    }).catch((error) => toast(error.message, true));
  };

  const follow = () => {
    symbolEnds.forEach((end) => end());
    symbolEnds = [];
    symbol = current;
    if (!symbol) return;
    const security = securities.get(symbol);
    title.replaceChildren(symbol, " ", el("small", { class: "soft" }, security.name));
    document.title = `${symbol} · microexchange`;
    trades = []; auction = null;
    drawTape(); drawTicker(); drawState(); drawAuction(); onNextFrame(picker.draw);
    chart.follow(symbol);
    ladder.follow(symbol);
    symbolEnds.push(listen({ channel: "trades", symbol }, (trade) => { trades = [trade, ...trades].slice(0, MAX_TRADES); onNextFrame(drawTape); }, loadTape));
    symbolEnds.push(listen({ channel: "auction", symbol }, (message) => { auction = message.auction; onNextFrame(drawAuction); }));
  };

  ends.push(onStates((changed) => { if (changed === symbol) { onNextFrame(drawState); onNextFrame(drawFacts); } }), () => { picker.end(); chart.end(); ladder.end(); });
  ends.push(onChoice(follow));
  follow();
  return {
    end() { [...symbolEnds, ...ends].forEach((end) => end()); },
    repaint() { drawDepth(); chart.repaint(); },
  };
}
