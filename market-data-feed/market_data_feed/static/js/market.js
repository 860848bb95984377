// Market: the list of securities, price, order book, depth, candles and trades.
import { ask, timeRange, throttle, clock, colours, el, grouped, percent, plot, sign, signed, onNextFrame, toast } from "./page.js";
import { Book, listen } from "./feed.js";
import { choose, current, onChoice, onStates, placesOf, securities, spreadOf, stateOf, trades as tradesContinuously } from "./securities.js";

const LEVELS = 10, MAX_TRADES = 60, REFRESH_MS = 15000, INTERVALS = { "1s": 1, "1m": 60, "5m": 300, "1h": 3600, "1d": 86400 };
const AUCTION = "An auction collects orders. It accepts limit orders that can rest. They trade together at its end, at one price.";
const NOTICES = { halted: "Trading is halted. You can cancel orders. New orders are rejected.", closed: "The market is closed. You can cancel orders. New orders are rejected.",
  delisted: "The security is delisted.", pre_open: "The market is not open yet. It collects orders for the opening.", opening_auction: AUCTION, closing_auction: AUCTION, volatility_auction: AUCTION };

export function market(main) {
  const ends = [], tickers = new Map();
  let symbolEnds = [], symbol = "", interval = localStorage.getItem("interval") ?? "1m";
  let book, trades = [], candles = [], auction = null;

  // --- list of securities
  const search = el("input", { type: "search", placeholder: "Symbol or name", "aria-label": "Search securities", oninput: () => onNextFrame(drawPicker) });
  const found = el("ul", { "aria-label": "Securities" });
  const isQuiet = (one) => tickers.get(one.symbol)?.quiet ?? one.quiet;
  const drawPicker = () => {
    const text = search.value.trim().toLowerCase();
    const rows = [...securities.values()].filter((one) => one.symbol.toLowerCase().includes(text) || one.name.toLowerCase().includes(text));
    rows.sort((a, b) => isQuiet(a) - isQuiet(b) || (tickers.get(b.symbol)?.trades ?? 0 ? 1 : 0) - (tickers.get(a.symbol)?.trades ?? 0 ? 1 : 0) || a.symbol.localeCompare(b.symbol));
    const shown = rows.slice(0, 200).map((one) => {
      const ticker = tickers.get(one.symbol);
      return el("li", {}, el("button", { type: "button", "aria-current": one.symbol === symbol ? "true" : null, onclick: () => choose(one.symbol) },
        el("strong", {}, one.symbol), el("span", { class: "num" }, grouped(ticker?.last ?? one.last_price ?? one.reference_price)),
        el("small", { class: "soft" }, tradesContinuously(one.symbol) ? one.name : [el("span", { class: stateOf(one.symbol)[1] }, stateOf(one.symbol)[0]), ` ${one.name}`]),
        isQuiet(one) ? el("small", { class: "num soft", title: "No house bot trades this security. Orders may stay unfilled." }, "quiet")
          : el("small", { class: `num ${sign(ticker?.change)}` }, ticker?.change_percent ? percent(ticker.change_percent) : "")));
    });
    if (rows.length > 200) shown.push(el("li", { class: "empty" }, `${rows.length - 200} more. Search to narrow the list.`));
    const focused = found.contains(document.activeElement) ? document.activeElement.querySelector("strong")?.textContent : null;
    found.replaceChildren(...(shown.length ? shown : [el("li", { class: "empty" }, "No matching securities.")]));
    if (focused) [...found.querySelectorAll("button")].find((one) => one.querySelector("strong").textContent === focused)?.focus();
  };
  const picker = el("section", { class: "card picker", "aria-label": "Securities" }, search, found);

  // --- price
  const title = el("h1"), last = el("span", { class: "last" }), change = el("span", { class: "num" }), state = el("span", { class: "pill" });
  const facts = Object.fromEntries(["Bid", "Ask", "Spread", "High 24 h", "Low 24 h", "Volume 24 h", "Trades 24 h"].map((name) => [name, el("dd", {}, "–")]));
  const notice = el("p", { class: "notice", role: "status", hidden: true });
  const auctionLine = el("p", { class: "pill warn", hidden: true });
  const quote = el("section", { class: "card" }, el("div", { class: "quote" }, title, last, change, state), notice, auctionLine,
    el("dl", { class: "facts" }, Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), value))));

  // --- charts
  const candlePlot = el("div", { class: "plot", role: "img", "aria-label": "Candles and volume" });
  const depthPlot = el("div", { class: "plot small", role: "img", "aria-label": "Depth: cumulative bids and asks by price" });
  const choices = Object.keys(INTERVALS).map((one) => el("button", { type: "button", class: "small", onclick: () => { interval = one; localStorage.setItem("interval", one); follow(); } }, one));
  const chart = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Price"), el("span", { class: "choice", role: "group", "aria-label": "Interval" }, choices)), candlePlot);
  const depth = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Depth")), depthPlot);

  // --- order book and trades
  const level = () => el("div", { class: "level" }, el("span", { class: "price" }), el("span"), el("span", { class: "soft" }));
  const asks = Array.from({ length: LEVELS }, level), bids = Array.from({ length: LEVELS }, level);
  const spread = el("span"), sequence = el("span");
  const ladder = el("section", { class: "card ladder", "aria-label": "Order book" }, el("header", {}, el("h2", {}, "Order book")),
    el("div", { class: "level head" }, el("span", {}, "Price"), el("span", {}, "Quantity"), el("span", {}, "Orders")),
    el("div", { class: "asks" }, asks), el("div", { class: "middle" }, spread, sequence), el("div", { class: "bids" }, bids));
  const tapeRows = el("tbody");
  const tape = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Trades")),
    el("div", { class: "scroll tape", tabIndex: 0, role: "region", "aria-label": "Trades" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "Time"), el("th", { class: "num" }, "Price"), el("th", { class: "num" }, "Quantity"))), tapeRows)));

  main.replaceChildren(el("div", { class: "grid market" }, picker, el("div", { class: "grid" }, quote, chart, depth), el("div", { class: "grid side" }, ladder, tape)));

  // --- drawing of the newest state
  const fillLevels = (rows, levels, most) => rows.forEach((row, number) => {
    const [price, quantity, orders] = levels[number] ?? ["", "", ""];
    const [first, second, third] = row.children;
    first.textContent = price && grouped(price);
    second.textContent = quantity && grouped(quantity);
    third.textContent = orders;
    row.style.setProperty("--depth", quantity ? `${Math.max(1, 100 * Number(quantity) / most)}%` : "0%");
  });
  const drawBook = () => {
    const sell = book.side("asks"), buy = book.side("bids");
    const most = Math.max(...[...sell.slice(0, LEVELS), ...buy.slice(0, LEVELS)].map(([, quantity]) => Number(quantity)), 0);
    fillLevels([...asks].reverse(), sell, most);
    fillLevels(bids, buy, most);
    const gap = spreadOf(symbol, buy[0]?.[0], sell[0]?.[0]);
    spread.textContent = gap !== null ? `spread ${gap}` : !tradesContinuously(symbol) ? `${stateOf(symbol)[0]}${auction?.price ? `: indicative price ${grouped(auction.price)}` : ""}`
      : sell.length && buy.length ? "crossed" : sell.length || buy.length ? "one side is empty" : "empty book";
    sequence.textContent = book.sequence === null ? "" : `#${book.sequence}`;
    facts.Bid.textContent = buy.length ? `${grouped(buy[0][0])} × ${grouped(buy[0][1])}` : "–";
    facts.Ask.textContent = sell.length ? `${grouped(sell[0][0])} × ${grouped(sell[0][1])}` : "–";
    facts.Spread.textContent = gap ?? "–";
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
  const drawCandles = throttle(500, () => {
    const c = colours(), of = (field) => candles.map((candle) => candle[field]);
    const x = of("start");
    plot(candlePlot, [
      { type: "candlestick", x, open: of("open"), high: of("high"), low: of("low"), close: of("close"), name: symbol, increasing: { line: { color: c.buy, width: 1 } }, decreasing: { line: { color: c.sell, width: 1 } } },
      { type: "bar", x, y: of("volume").map(Number), name: "volume", yaxis: "y2", marker: { color: candles.map((one) => (Number(one.close) < Number(one.open) ? c.sell : c.buy)), opacity: 0.45 } },
    ], { xaxis: { rangeslider: { visible: false }, type: "date", anchor: "y2", range: timeRange(30 * INTERVALS[interval], x) }, yaxis: { domain: [0.26, 1], side: "right", tickformat: `,.${placesOf(symbol)}f` }, yaxis2: { domain: [0, 0.2], side: "right", nticks: 3 },
      annotations: candles.length ? [] : [{ text: "No trades in this period", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.6, font: { size: 14, color: c.soft } }] });
  });
  const drawTape = () => {
    tapeRows.replaceChildren(...(trades.length ? trades.map((trade) => el("tr", {}, el("td", { class: "soft" }, clock(trade.timestamp)),
      el("td", { class: `num ${trade.aggressor_side}` }, grouped(trade.price)), el("td", { class: "num" }, grouped(trade.quantity)))) : [el("tr", {}, el("td", { colSpan: 3, class: "empty" }, "No trades yet."))]));
    if (trades.length) { last.textContent = grouped(trades[0].price); last.className = `last ${trades[0].aggressor_side}`; }
  };
  const drawTicker = () => {
    const ticker = tickers.get(symbol);
    if (!trades.length) { last.textContent = grouped(ticker?.last ?? securities.get(symbol)?.reference_price); last.className = "last"; }
    change.textContent = ticker?.change ? `${signed(ticker.change)} (${percent(ticker.change_percent)})` : "no trades in 24 h";
    change.className = `num ${sign(ticker?.change) || "soft"}`;
    for (const [name, field] of [["High 24 h", "high"], ["Low 24 h", "low"], ["Volume 24 h", "volume"], ["Trades 24 h", "trades"]]) facts[name].textContent = grouped(ticker?.[field] ?? null);
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
    if (auction) auctionLine.textContent = auction.price === null ? "No indicative price yet" : `Indicative price ${grouped(auction.price)}, quantity ${grouped(auction.quantity)}, imbalance ${grouped(auction.imbalance)}`;
  };

  const follow = () => {
    symbolEnds.forEach((end) => end());
    symbolEnds = [];
    symbol = current;
    if (!symbol) return;
    const security = securities.get(symbol), mine = symbol, at = interval;
    title.replaceChildren(symbol, " ", el("small", { class: "soft" }, security.name));
    document.title = `${symbol} · microexchange`;
    choices.forEach((one) => one.setAttribute("aria-pressed", one.textContent === interval));
    trades = []; candles = []; auction = null;
    drawTape(); drawTicker(); drawState(); drawAuction(); onNextFrame(drawPicker); drawCandles();
    book = new Book(symbol, () => { onNextFrame(drawBook); drawDepth(); });
    drawBook();
    symbolEnds.push(() => book.stop());
    symbolEnds.push(listen({ channel: "trades", symbol }, (trade) => { trades = [trade, ...trades].slice(0, MAX_TRADES); onNextFrame(drawTape); }));
    symbolEnds.push(listen({ channel: "candles", symbol, interval }, ({ candle }) => {
      if (!candle) return;
      if (candles.at(-1)?.start === candle.start) candles[candles.length - 1] = candle;
      else candles.push(candle);
      drawCandles();
    }));
    symbolEnds.push(listen({ channel: "auction", symbol }, (message) => { auction = message.auction; onNextFrame(drawAuction); onNextFrame(drawBook); }));
    ask(`/trades/${symbol}?limit=${MAX_TRADES}`).then((page) => {
      if (mine !== symbol) return;
      const known = new Set(trades.map((trade) => trade.trade_id));
      trades = [...trades, ...page.trades.filter((trade) => !known.has(trade.trade_id))].slice(0, MAX_TRADES);
      onNextFrame(drawTape);
    }).catch((error) => toast(error.message, true));
    ask(`/candles/${symbol}?interval=${interval}&limit=${interval === "1s" ? 300 : 240}`).then((page) => {
      if (mine !== symbol || at !== interval) return;
      const newer = candles.filter((candle) => !page.length || candle.start > page.at(-1).start);
      candles = [...page, ...newer];
      drawCandles();
    }).catch((error) => toast(error.message, true));
  };

  ends.push(listen({ channel: "ticker" }, (ticker) => { tickers.set(ticker.symbol, ticker); onNextFrame(drawPicker); if (ticker.symbol === symbol) onNextFrame(drawTicker); }));
  const loadTickers = () => ask("/ticker/24h").then((all) => { all.forEach((ticker) => { tickers.set(ticker.symbol, ticker); Object.assign(securities.get(ticker.symbol) ?? {}, { quiet: ticker.quiet }); }); onNextFrame(drawPicker); onNextFrame(drawTicker); });
  loadTickers().catch((error) => toast(error.message, true));
  const timer = setInterval(() => loadTickers().catch(() => {}), REFRESH_MS); // no message reports that a security became quiet
  ends.push(() => clearInterval(timer));
  ends.push(onStates((changed) => { onNextFrame(drawPicker); if (changed === symbol) { onNextFrame(drawState); onNextFrame(drawBook); } }));
  ends.push(onChoice(follow));
  follow();
  return {
    end() { [...symbolEnds, ...ends].forEach((end) => end()); },
    repaint() { drawDepth(); drawCandles(); },
  };
}
