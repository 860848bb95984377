// Trade: an account, an order ticket, open orders, fills, balances, holdings, equity.
import { ask, timeRange, throttle, clock, colours, el, fill, grouped, line, money, plot, sign, onNextFrame, table, toast } from "./page.js";
import { Book, listen } from "./feed.js";
import { byActivity, choose, collects, current, feeRate, onChoice, onStates, securities, spreadOf, stateOf, trades } from "./securities.js";
import * as gate from "./session.js";

const TYPES = { limit: "Limit", market: "Market", stop_market: "Stop", stop_limit: "Stop limit", take_profit: "Take profit", take_profit_limit: "Take profit limit" };
const TIMES_IN_FORCE = { gtc: "Good till cancelled", day: "Day", gtd: "Good till date", ioc: "Immediate or cancel", fok: "Fill or kill" };
const PRICED = ["limit", "stop_limit", "take_profit_limit"], TRIGGERED = ["stop_market", "stop_limit", "take_profit", "take_profit_limit"];
const MAX_FILLS = 100;
/** The price at which an order with a limit trades, by the pricing rule of its security. */
const PRICING = {
  resting: { buy: "You pay the resting order's price: your limit or better.", sell: "You get the resting order's price: your limit or better." },
  midpoint: { buy: "You pay the middle of your limit and the resting order's price.", sell: "You get the middle of your limit and the resting order's price." },
  spread_capture: { buy: "The order trades at your limit, even if a seller asks for less. The exchange keeps the difference.", sell: "The order trades at your limit, even if a buyer bids more. The exchange keeps the difference." },
};
const UNLIMITED = "The order trades at the prices of the resting orders.";
const COLLECTED = "The market collects orders. They trade together when it opens, at one price: your limit or better.";

export function trade(main) {
  let ends = [];
  const draw = () => {
    ends.forEach((end) => end());
    ends = [];
    if (gate.loggedIn()) account(main, ends);
    else login(main);
  };
  const off = gate.onSession(draw);
  draw();
  return { end() { off(); ends.forEach((end) => end()); }, repaint: draw };
}

/** Show the forms to open an account and to log in with a key. */
function login(main) {
  const submit = (button, work) => async (event) => {
    event.preventDefault();
    button.disabled = true;
    try { await work(); } catch (error) { toast(error.message, true); } finally { button.disabled = false; }
  };
  const name = el("input", { required: true, maxLength: 32, pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]*", autocomplete: "username", title: "Letters, digits, _ . -" });
  const code = el("input", { autocomplete: "off" });
  const key = el("input", { required: true, autocomplete: "off", spellcheck: false });
  const open = el("button", { class: "primary", type: "submit" }, gate.classroom ? "Log in" : "Open account");
  const use = el("button", { type: "submit" }, "Log in");
  main.replaceChildren(el("div", { class: "grid two" },
    el("section", { class: "card" }, el("header", {}, el("h2", {}, gate.classroom ? "Log in" : "Open an account")),
      el("form", { class: "ticket", onsubmit: submit(open, async () => (gate.classroom ? gate.useName(name.value) : gate.register(name.value, code.value))) },
        el("label", {}, "Name", name), gate.classroom ? null : el("label", {}, "Invitation code (if required)", code), open)),
    gate.classroom ? null : el("section", { class: "card" }, el("header", {}, el("h2", {}, "Log in with an API key")),
      el("form", { class: "ticket", onsubmit: submit(use, () => gate.useKey(key.value.trim())) }, el("label", {}, "API key", key), use,
        el("p", { class: "soft" }, "This browser stores the key until you log out.")))));
}

/** Show the order ticket, the open orders, the fills and the balances of the client. */
function account(main, ends) {
  const orders = new Map();
  let fills = [], balance = null, holdings = [], side = "buy";

  // --- client
  const connection = el("span", { class: "pill" });
  const keyShown = el("details", {}, el("summary", {}, "API key"), el("code", { class: "soft", style: "overflow-wrap:anywhere" }, gate.session.key));
  const figure = (name) => { const value = el("div", { class: "value" }, "–"); return [value, el("div", { class: "figure" }, el("div", { class: "soft" }, name), value)]; };
  const [equity, equityBox] = figure("Equity"), [cash, cashBox] = figure("Cash");
  const who = el("section", { class: "card" }, el("header", {}, el("h2", {}, gate.session.client), connection, el("button", { type: "button", class: "small", onclick: gate.forget }, "Log out")),
    el("div", { class: "figures" }, equityBox, cashBox), gate.session.key ? keyShown : null);

  // --- order ticket
  const symbol = el("input", { required: true, value: current, autocomplete: "off", onchange: () => { if (securities.has(symbol.value)) choose(symbol.value); } });
  symbol.setAttribute("list", "symbols");
  const symbols = el("datalist", { id: "symbols" }, byActivity().map((one) => el("option", { value: one.symbol }, one.quiet ? `${one.name} (quiet)` : one.name)));
  const sides = { buy: el("button", { type: "button", class: "buys", onclick: () => setSide("buy") }, "Buy"), sell: el("button", { type: "button", class: "sells", onclick: () => setSide("sell") }, "Sell") };
  const orderType = el("select", { onchange: () => refresh() }, Object.entries(TYPES).map(([value, text]) => el("option", { value }, text)));
  const number = () => el("input", { inputMode: "decimal", autocomplete: "off", pattern: "[0-9]*[.]?[0-9]+", title: "A number", oninput: () => onNextFrame(drawCost) });
  const quantity = number(), price = number(), trigger = number(), display = number();
  const timeInForce = el("select", { onchange: () => refresh() }, Object.entries(TIMES_IN_FORCE).map(([value, text]) => el("option", { value }, text)));
  const until = el("input", { type: "datetime-local" });
  const post = el("input", { type: "checkbox", onchange: () => onNextFrame(drawCost) });
  const field = (text, input) => el("label", {}, text, input);
  const fields = { price: field("Price", price), trigger: field("Trigger price", trigger), timeInForce: field("Time in force", timeInForce), until: field("Expires at", until), display: field("Display quantity (iceberg)", display), post: el("label", { class: "tick" }, post, "Post only") };
  const state = el("span", { class: "pill" }), market = el("div", { class: "facts" }), cost = el("div", { class: "cost", role: "status" }), pricing = el("p", { class: "soft", role: "note", "aria-label": "Pricing rule" });
  const send = el("button", { type: "submit", class: "primary" });
  const ticket = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Order"), state),
    el("form", { class: "ticket", onsubmit: (event) => { event.preventDefault(); enter(); } }, el("div", { class: "sides", role: "group", "aria-label": "Side" }, sides.buy, sides.sell),
      field("Security", symbol), symbols, market, field("Type", orderType), el("div", { class: "pair" }, field("Quantity", quantity), fields.price, fields.trigger), fields.timeInForce, fields.until, fields.display, fields.post, pricing, cost, send));

  // --- tables
  const open = table([["Time"], ["Security"], ["Side"], ["Type"], ["Price", true], ["Open", true], ["Filled", true], [""]], { class: "orders", label: "Open orders" });
  const done = table([["Time"], ["Security"], ["Side"], ["Quantity", true], ["Price", true], ["Fee", true], ["Liquidity"]], { class: "fills", label: "Fills" });
  const held = table([["Security"], ["Quantity", true], ["Last", true], ["Value", true]], { label: "Holdings" });
  const curve = el("div", { class: "plot small", role: "img", "aria-label": "Equity over time" });
  const all = el("button", { type: "button", class: "small", onclick: () => act({ op: "cancel_all" }, "All orders cancelled") }, "Cancel all");
  main.replaceChildren(el("div", { class: "grid trade" }, el("div", { class: "grid" }, who, ticket),
    el("div", { class: "grid" }, el("section", { class: "card" }, el("header", {}, el("h2", {}, "Open orders"), all), open.element),
      el("div", { class: "grid two" }, el("section", { class: "card" }, el("header", {}, el("h2", {}, "Fills")), done.element), el("section", { class: "card" }, el("header", {}, el("h2", {}, "Holdings")), held.element)),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Equity")), curve))));

  // --- drawing and sending of the ticket
  let book = null, stopBook = null;
  const best = (name) => book?.side(name)[0]?.[0] ?? null;
  const setSide = (name) => { side = name; refresh(); };
  const refresh = () => {
    for (const [name, button] of Object.entries(sides)) button.setAttribute("aria-pressed", name === side);
    const rests = PRICED.includes(orderType.value), waits = ["gtc", "day", "gtd"].includes(timeInForce.value);
    fields.price.hidden = !PRICED.includes(orderType.value);
    fields.trigger.hidden = !TRIGGERED.includes(orderType.value);
    fields.timeInForce.hidden = orderType.value === "market";
    fields.until.hidden = fields.timeInForce.hidden || timeInForce.value !== "gtd";
    fields.display.hidden = fields.post.hidden = orderType.value !== "limit" || !rests || !waits;
    price.required = !fields.price.hidden;
    trigger.required = !fields.trigger.hidden;
    until.required = !fields.until.hidden;
    quantity.required = true;
    send.className = `primary ${side}s`;
    onNextFrame(drawCost);
  };
  const drawCost = () => {
    const security = securities.get(current), amount = Number(quantity.value);
    const at = PRICED.includes(orderType.value) ? Number(price.value) : Number(TRIGGERED.includes(orderType.value) ? trigger.value : best(side === "buy" ? "asks" : "bids"));
    const lines = [], warnings = [];
    const addLine = (name, value) => lines.push(el("div", {}, el("span", { class: "soft" }, name), el("span", {}, value)));
    if (amount && at) {
      const value = amount * at, fee = value * feeRate(current);
      addLine(PRICED.includes(orderType.value) ? "Value" : "Estimated value", money(value));
      addLine("Maximum fee", money(fee));
      addLine(side === "buy" ? "Maximum cost" : "Minimum proceeds", money(side === "buy" ? value + fee : value - fee));
      if (!gate.classroom && side === "buy" && balance && value + fee > Number(balance.cash)) warnings.push(`Your cash is ${money(balance.cash)}.`);
      const have = Number(holdings.find((one) => one.symbol === current)?.quantity ?? 0);
      if (!gate.classroom && side === "sell" && amount > have) warnings.push(`You hold ${grouped(have)} ${current}. The rest is a short sale.`);
    } else addLine("Enter a quantity", PRICED.includes(orderType.value) && !price.value ? "and a price" : amount && !at ? "no price yet" : "");
    if (security?.quiet) warnings.push(`${current} is quiet. No house bot trades it.`);
    if (security && !trades(current) && !collects(current)) warnings.push(`${current} is ${stateOf(current)[0]}. New orders are rejected.`);
    const [stateText, stateColour] = stateOf(current);
    state.textContent = `${current}: ${stateText}`;
    state.className = `pill ${stateColour}`;
    cost.replaceChildren(...lines, ...warnings.map((text) => el("div", { class: "warning" }, text)));
    pricing.textContent = collects(current) ? COLLECTED : PRICED.includes(orderType.value) ? PRICING[security?.pricing_rule]?.[side] ?? "" : UNLIMITED;
    send.textContent = `${side === "buy" ? "Buy" : "Sell"} ${quantity.value || ""} ${current}`.replace(/ +/g, " ");
    market.replaceChildren(...[["Bid", best("bids")], ["Ask", best("asks")], ["Spread", spreadOf(current, best("bids") ?? undefined, best("asks") ?? undefined)], ["Tick", security?.tick_size], ["Lot", security?.lot_size]].map(([name, value]) => el("div", {}, el("dt", { class: "soft" }, name), el("dd", {}, grouped(value)))));
  };
  const enter = async () => {
    if (!securities.has(symbol.value)) { toast(`${symbol.value} is not listed.`, true); return; }
    const order = { op: "order", symbol: symbol.value, side, quantity: quantity.value, order_type: orderType.value };
    if (!fields.price.hidden) order.price = price.value;
    if (!fields.trigger.hidden) order.trigger_price = trigger.value;
    if (!fields.timeInForce.hidden) order.time_in_force = timeInForce.value;
    if (!fields.until.hidden) order.expire_at = new Date(until.value).toISOString();
    if (!fields.display.hidden && display.value) order.display_quantity = display.value;
    if (!fields.post.hidden && post.checked) order.post_only = true;
    send.disabled = true;
    try {
      const { order: view } = await gate.request(order);
      const traded = Number(view.filled_quantity) ? `${grouped(view.filled_quantity)} traded at ${grouped(view.average_price)}` : "";
      toast([view.resting ? "Order accepted" : view.status === "FILLED" ? "Filled" : view.status.toLowerCase(), traded, view.text].filter(Boolean).join(": "));
    } catch (error) { toast(error.message, true); } finally { send.disabled = false; }
  };
  const act = async (request, text) => {
    try { await gate.request(request); if (text) toast(text); } catch (error) { toast(error.message, true); }
  };

  // --- drawing of the tables
  const amending = new Map();
  const drawOrders = () => {
    const rows = [...orders.values()].sort((a, b) => b.timestamp.localeCompare(a.timestamp) || b.order_id.localeCompare(a.order_id)).flatMap((order) => {
      const row = el("tr", {}, el("td", { class: "soft" }, clock(order.timestamp)), el("td", {}, order.symbol), el("td", { class: order.side }, order.side), el("td", {}, TYPES[order.order_type], order.trigger_price ? el("small", { class: "soft" }, ` at ${grouped(order.trigger_price)}`) : ""),
        el("td", { class: "num" }, grouped(order.price)), el("td", { class: "num" }, grouped(order.leaves_quantity)), el("td", { class: "num" }, grouped(order.filled_quantity)),
        el("td", { class: "num" }, el("button", { type: "button", class: "small", onclick: () => { if (amending.has(order.order_id)) amending.delete(order.order_id); else amending.set(order.order_id, form(order)); drawOrders(); } }, "Amend"),
          el("button", { type: "button", class: "small", onclick: () => act({ op: "cancel", order_id: order.order_id }, "Order cancelled") }, "Cancel")));
      return amending.has(order.order_id) ? [row, amending.get(order.order_id)] : [row];
    });
    fill(open.body, rows, 8, "No open orders. Orders that do not trade at once appear here.");
    all.disabled = !orders.size;
  };
  const form = (order) => {
    const newQuantity = el("input", { value: order.quantity, inputMode: "decimal" }), newPrice = order.price === null ? null : el("input", { value: order.price, inputMode: "decimal" });
    return el("tr", {}, el("td", { colSpan: 8 }, el("form", { class: "amend", onsubmit: async (event) => {
      event.preventDefault();
      amending.delete(order.order_id);
      await act({ op: "amend", order_id: order.order_id, ...(newQuantity.value !== order.quantity ? { quantity: newQuantity.value } : {}), ...(newPrice && newPrice.value !== order.price ? { price: newPrice.value } : {}) }, "Order amended");
      drawOrders();
    } }, field("Total quantity", newQuantity), newPrice ? field("Price", newPrice) : "", el("button", { type: "submit", class: "small primary" }, "Save"), el("span", { class: "soft" }, "A lower quantity keeps the place in the queue. Any other change loses it."))));
  };
  const drawFills = () => fill(done.body, fills.slice(0, MAX_FILLS).map((one) => el("tr", {}, el("td", { class: "soft" }, clock(one.timestamp)), el("td", {}, one.symbol), el("td", { class: one.side }, one.side), el("td", { class: "num" }, grouped(one.quantity)), el("td", { class: "num" }, grouped(one.price)), el("td", { class: "num" }, money(one.fee)), el("td", { class: "soft" }, one.liquidity))), 7, "No fills yet.");
  const drawHoldings = () => {
    fill(held.body, holdings.map((one) => {
      const security = securities.get(one.symbol), last = security?.last_price ?? security?.reference_price;
      return el("tr", {}, el("td", {}, one.symbol), el("td", { class: `num ${Number(one.quantity) < 0 ? "sell" : ""}` }, grouped(one.quantity)), el("td", { class: "num" }, grouped(last)), el("td", { class: "num" }, money(Number(one.quantity) * Number(last))));
    }), 4, "No holdings.");
    equity.textContent = money(balance?.equity);
    cash.textContent = money(balance?.cash);
    cash.className = `value ${sign(balance?.cash) === "sell" ? "sell" : ""}`;
    onNextFrame(drawCost);
  };
  const applyReport = (report) => {
    if (report.resting) orders.set(report.order_id, report);
    else orders.delete(report.order_id);
    if (report.exec_type === "TRADE" && !fills.some((one) => one.trade_id === report.trade_id && one.order_id === report.order_id)) {
      fills.unshift({ ...report, quantity: report.last_quantity, price: report.last_price });
      onNextFrame(drawFills);
    }
    onNextFrame(drawOrders);
  };

  // --- messages of the gateway and the feed
  const loadOrders = async () => {
    const headers = gate.headers();
    const [page, filled] = await Promise.all([ask(`${gate.gateway}/orders?status=open&limit=1000`, { headers }), ask(`${gate.gateway}/fills?limit=${MAX_FILLS}`, { headers })]);
    orders.clear();
    page.orders.forEach((order) => orders.set(order.order_id, order));
    const known = new Set(filled.fills.map((one) => `${one.trade_id} ${one.order_id}`));
    fills = [...fills.filter((one) => !known.has(`${one.trade_id} ${one.order_id}`)), ...filled.fills];
    onNextFrame(drawOrders);
    onNextFrame(drawFills);
  };
  const loadCurve = () => balance && ask(`/equity/${gate.session.client}?limit=1000`, { headers: gate.headers() }).then((points) => {
    const c = colours();
    plot(curve, [line(points.map((point) => [point.timestamp, Number(point.equity)]), c.accent, "equity")], { xaxis: { type: "date", range: timeRange(60, points.map((point) => point.timestamp)) }, yaxis: { tickformat: ",.2f", side: "right" } });
  }).catch((error) => toast(error.message, true));
  const follow = () => {
    stopBook?.();
    symbol.value = current;
    price.value = trigger.value = "";
    book = new Book(current, () => onNextFrame(drawCost));
    const mine = book;
    stopBook = () => mine.stop();
    refresh();
  };
  ends.push(onStates((changed) => { if (changed === current) onNextFrame(drawCost); }), onChoice(follow), () => stopBook?.(), gate.onReport(applyReport));
  ends.push(gate.onOrders((connected, refused) => {
    connection.textContent = connected ? "Connected" : refused ?? "Connecting";
    connection.className = `pill ${connected ? "good" : "bad"}`;
    if (connected) loadOrders().catch((error) => toast(error.message, true));
  }));
  ends.push(listen({ channel: "balances" }, (message) => { const first = !balance; ({ balance, holdings } = message); onNextFrame(drawHoldings); if (first) loadCurve(); }));
  ends.push(listen({ channel: "ticker" }, (ticker) => { const security = securities.get(ticker.symbol); if (security) Object.assign(security, { last_price: ticker.last, quiet: ticker.quiet }); onNextFrame(drawHoldings); }));
  const loadCurveThrottled = throttle(5000, loadCurve);
  const timer = setInterval(loadCurveThrottled, 5000);
  ends.push(() => clearInterval(timer));
  drawOrders(); drawFills(); drawHoldings(); follow();
}
