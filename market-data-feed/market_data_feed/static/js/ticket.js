// The order ticket: its fields, the cost of the order, and its price by the security's pricing rule.
import { el, field, onNextFrame, toast, whileDisabled } from "./page.js";
import { money, number } from "./format.js";
import { confirmed, confirms, setConfirms } from "./dialog.js";
import { byActivity, choose, collects, current, feeRate, securities, spreadOf, stateOf, trades } from "./securities.js";
import * as rounds from "./rounds.js";
import * as gate from "./session.js";

export const TYPES = { limit: "Limit", market: "Market", stop_market: "Stop", stop_limit: "Stop limit", take_profit: "Take profit", take_profit_limit: "Take profit limit" };
const TIMES_IN_FORCE = { gtc: "Good till cancelled", day: "Day", gtd: "Good till date", ioc: "Immediate or cancel", fok: "Fill or kill" };
const PARTS = [25, 50, 100];
/** The price at which an order with a limit trades, by the pricing rule of its security. */
const PRICING = {
  resting: { buy: "You pay the resting order's price: your limit or better.", sell: "You get the resting order's price: your limit or better." },
  midpoint: { buy: "You pay the middle of your limit and the resting order's price.", sell: "You get the middle of your limit and the resting order's price." },
  spread_capture: { buy: "The order trades at your limit, even if a seller asks for less. The exchange keeps the difference.", sell: "The order trades at your limit, even if a buyer bids more. The exchange keeps the difference." },
};
const UNLIMITED = "The order trades at the prices of the resting orders.";
const COLLECTED = "The market collects orders. They trade together when it opens, at one price: your limit or better.";

/** The reason why a market takes no orders, by the state of the session. Without a session, the state of the market is the reason. */
const ROUND = { lobby: "The round has not started.", paused: "The round is paused.", ended: "The round is over.", closed: "The session is over." };

/** Return the reason why no order can be sent; empty if one can be sent. */
function reasonAgainst(symbol) {
  if (!gate.connected) return "There is no connection to the exchange.";
  if (trades(symbol) || collects(symbol)) return "";
  return ROUND[rounds.session?.state] ?? `${symbol} is ${stateOf(symbol)[0]}. New orders are rejected.`;
}

const options = (values, texts) => values.map((value) => el("option", { value }, texts[value] ?? value));
const placesOf = (step) => (String(step).split(".")[1] ?? "").length;
/** Return a multiple of `step` at or below `value` as text; "0" if it is not positive. */
const floorTo = (value, step) => (Math.max(0, Math.floor(value / step + 1e-9)) * step).toFixed(placesOf(step));

/** Return an input for a multiple of a step, with buttons and arrow keys for one step more or less. */
function stepper(text, stepOf, changed) {
  const input = el("input", { inputMode: "decimal", autocomplete: "off", pattern: "[0-9]*[.]?[0-9]+", title: "A number", oninput: changed });
  const move = (direction) => {
    const step = stepOf();
    input.value = Math.max(Number(step), Number(input.value || 0) + direction * Number(step)).toFixed(placesOf(step));
    changed();
  };
  input.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowUp" && event.key !== "ArrowDown") return;
    event.preventDefault();
    move(event.key === "ArrowUp" ? 1 : -1);
  });
  const button = (direction, sign) => el("button", { type: "button", class: "step", tabIndex: -1, "aria-label": `${direction > 0 ? "Increase" : "Decrease"}: ${text.toLowerCase()}`, onclick: () => move(direction) }, sign);
  const box = el("div", { class: "stepper" }, field(text, input), button(-1, "−"), button(1, "+"));
  return { input, box };
}

/** Return the ticket. `account` has the functions balance() and held(symbol): the cash, and the quantity of a position. */
export function createTicket(account) {
  let side = "buy", book = null;
  const symbol = el("input", { required: true, value: current, autocomplete: "off", onchange: () => { if (securities.has(symbol.value)) choose(symbol.value); } });
  symbol.setAttribute("list", "symbols");
  const symbols = el("datalist", { id: "symbols" }, byActivity().map((one) => el("option", { value: one.symbol }, one.quiet ? `${one.name} (quiet)` : one.name)));
  const sideButton = (name, text) => el("button", { type: "button", class: `${name}s`, onclick: () => setSide(name) }, text);
  const sides = { buy: sideButton("buy", "Buy"), sell: sideButton("sell", "Sell") };
  const changed = () => onNextFrame(drawCost);
  const orderType = el("select", { onchange: () => refresh() }, options(Object.keys(gate.orderTypes), TYPES));
  const lot = () => securities.get(current).lot_size, tick = () => securities.get(current).tick_size;
  const quantity = stepper("Quantity", lot, changed), price = stepper("Price", tick, changed), trigger = stepper("Trigger price", tick, changed), display = stepper("Display quantity (iceberg)", lot, changed);
  const timeInForce = el("select", { onchange: () => refresh() });
  const until = el("input", { type: "datetime-local" });
  const post = el("input", { type: "checkbox", onchange: changed });
  const asks = el("input", { type: "checkbox", checked: confirms(), onchange: () => setConfirms(asks.checked) });
  const fields = { price: price.box, trigger: trigger.box, timeInForce: field("Time in force", timeInForce), until: field("Expires at", until), display: display.box, post: el("label", { class: "tick" }, post, "Post only") };
  const parts = el("div", { class: "parts", role: "group", "aria-label": "Part of what you can trade" }, PARTS.map((part) => el("button", { type: "button", class: "small", onclick: () => setPart(part / 100) }, `${part} %`)));
  const more = el("details", {}, el("summary", {}, "More options"), el("div", { class: "ticket" }, fields.timeInForce, fields.until, fields.display, fields.post, el("label", { class: "tick" }, asks, "Confirm orders")));
  const state = el("span", { class: "pill" }), market = el("dl", { class: "facts" }), cost = el("div", { class: "cost", role: "status" }), pricing = el("p", { class: "soft", role: "note", "aria-label": "Pricing rule" });
  const send = el("button", { type: "submit", class: "primary", "aria-describedby": "no-order" }), problem = el("p", { id: "no-order", class: "problem", role: "status" });
  const close = el("button", { type: "button", class: "small close", onclick: () => element.classList.remove("open") }, "Close");
  const element = el("section", { class: "card order", "aria-label": "Order" }, el("header", {}, el("h2", {}, "Order"), state, close),
    el("form", { class: "ticket", onsubmit: (event) => { event.preventDefault(); enter(); } }, el("div", { class: "sides", role: "group", "aria-label": "Side" }, sides.buy, sides.sell),
      field("Security", symbol), symbols, market, field("Type", orderType), quantity.box, parts, fields.price, fields.trigger, more, cost, problem, send, pricing));

  const best = (name) => book?.best(name) ?? null;
  const hasPrice = () => gate.orderTypes[orderType.value].price, hasTrigger = () => gate.orderTypes[orderType.value].trigger;
  const priceNow = () => Number(hasPrice() ? price.input.value || best(side === "buy" ? "asks" : "bids") : hasTrigger() ? trigger.input.value : best(side === "buy" ? "asks" : "bids"));
  const setSide = (name) => { side = name; refresh(); };
  const setPart = (part) => {
    const most = side === "sell" ? Number(account.held(current)) : Number(account.balance()?.cash ?? 0) / (priceNow() * (1 + feeRate(current)));
    quantity.input.value = floorTo(Number.isFinite(most) ? most * part : 0, lot());
    changed();
  };
  const refresh = () => {
    for (const [name, button] of Object.entries(sides)) button.setAttribute("aria-pressed", name === side);
    const terms = gate.orderTypes[orderType.value], before = timeInForce.value;
    timeInForce.replaceChildren(...options(terms.times_in_force, TIMES_IN_FORCE));
    timeInForce.value = terms.times_in_force.includes(before) ? before : terms.times_in_force[0];
    const { rests, end } = gate.timesInForce[timeInForce.value], canRest = terms.price && rests;
    fields.price.hidden = !terms.price;
    fields.trigger.hidden = !terms.trigger;
    fields.timeInForce.hidden = orderType.value === "market";
    fields.until.hidden = fields.timeInForce.hidden || !end;
    fields.display.hidden = !(terms.display && canRest);
    fields.post.hidden = !(terms.post_only && canRest);
    for (const [input, box] of [[price.input, fields.price], [trigger.input, fields.trigger], [until, fields.until]]) input.required = !box.hidden;
    // A hidden field with a wrong text would block the form. A disabled one is not checked.
    for (const [input, box] of [[price.input, fields.price], [trigger.input, fields.trigger], [display.input, fields.display], [until, fields.until]]) input.disabled = box.hidden;
    quantity.input.required = true;
    send.className = `primary ${side}s`;
    changed();
  };

  const warningsOf = (amount, value) => {
    const security = securities.get(current), warnings = [], { cash } = account.balance() ?? {}, have = Number(account.held(current));
    if (value && !gate.classroom && side === "buy" && cash !== undefined && value > Number(cash)) warnings.push(`Your cash is ${money(cash)}.`);
    if (value && !gate.classroom && side === "sell" && amount > have) warnings.push(`You hold ${number(String(have))} ${current}. The rest is a short sale.`);
    if (security?.quiet) warnings.push(`${current} is quiet. No house bot trades it.`);
    return warnings;
  };
  const drawCost = () => {
    const security = securities.get(current), amount = Number(quantity.input.value), lines = [];
    const at = hasPrice() ? Number(price.input.value) : priceNow(), value = amount * at, fee = value * feeRate(current), whole = side === "buy" ? value + fee : value - fee;
    const addLine = (name, text) => lines.push(el("div", {}, el("span", { class: "soft" }, name), el("span", {}, text)));
    if (amount && at) {
      addLine(hasPrice() ? "Value" : "Estimated value", money(value));
      addLine("Maximum fee", money(fee));
      addLine(side === "buy" ? "Maximum cost" : "Minimum proceeds", money(whole));
    } else addLine("Enter a quantity", hasPrice() && !price.input.value ? "and a price" : amount && !at ? "no price yet" : "");
    const [stateText, stateColour] = stateOf(current);
    state.textContent = `${current}: ${stateText}`;
    state.className = `pill ${stateColour}`;
    cost.replaceChildren(...lines, ...warningsOf(amount, amount && at ? whole : 0).map((text) => el("div", { class: "warning" }, text)));
    problem.textContent = reasonAgainst(current);
    problem.hidden = !problem.textContent;
    send.disabled = Boolean(problem.textContent);
    pricing.textContent = collects(current) ? COLLECTED : hasPrice() ? PRICING[security?.pricing_rule]?.[side] ?? "" : UNLIMITED;
    send.textContent = `${side === "buy" ? "Buy" : "Sell"} ${quantity.input.value || ""} ${current}`.replace(/ +/g, " ");
    market.replaceChildren(...[["Bid", best("bids")], ["Ask", best("asks")], ["Spread", spreadOf(current, best("bids") ?? undefined, best("asks") ?? undefined)], ["Held", account.held(current)], ["Tick", security?.tick_size], ["Lot", security?.lot_size]]
      .map(([name, text]) => el("div", {}, el("dt", {}, name), el("dd", {}, number(text)))));
  };

  // A wrong field in a closed part could not be shown.
  for (const input of [until, display.input]) input.addEventListener("invalid", () => { more.open = true; });
  const orderOfFields = () => {
    const order = { op: "order", symbol: symbol.value, side, quantity: quantity.input.value, order_type: orderType.value };
    if (!fields.price.hidden) order.price = price.input.value;
    if (!fields.trigger.hidden) order.trigger_price = trigger.input.value;
    if (!fields.timeInForce.hidden) order.time_in_force = timeInForce.value;
    if (!fields.until.hidden) order.expire_at = new Date(until.value).toISOString();
    if (!fields.display.hidden && display.input.value) order.display_quantity = display.input.value;
    if (!fields.post.hidden && post.checked) order.post_only = true;
    return order;
  };
  const enter = async () => {
    if (!securities.has(symbol.value)) { toast(`${symbol.value} is not listed.`, true); return; }
    const order = orderOfFields(), text = `${TYPES[order.order_type] ?? order.order_type} order${order.price ? ` at ${number(order.price)}` : ""}. ${cost.lastChild?.textContent ?? ""}`;
    if (!(await confirmed(send.textContent, text, send.className))) return;
    await whileDisabled(send, () => sendOrder(order));
    changed(); // the market may have changed while the order was on its way
  };

  refresh();
  return {
    element, setSide,
    /** Show another security, with its book. */
    follow() { symbol.value = current; price.input.value = trigger.input.value = ""; refresh(); },
    setBook(newest) { book = newest; changed(); },
    /** Fill in a price of the book, and the side that trades with it. */
    usePrice(text, bookSide) {
      if (!hasPrice()) orderType.value = "limit";
      price.input.value = text;
      setSide(bookSide === "asks" ? "buy" : "sell");
    },
    redraw: changed,
    focus(name) { ({ quantity: quantity.input, price: price.input, security: symbol })[name].select(); },
    open(name) { setSide(name); element.classList.add("open"); quantity.input.focus({ preventScroll: true }); },
  };
}

/** Send an order, and show its result. Return the order; null after a refusal. */
export async function sendOrder(order) {
  try {
    const { order: view } = await gate.request(order);
    const traded = Number(view.filled_quantity) ? `${number(view.filled_quantity)} traded at ${number(view.average_price)}` : "";
    toast([view.resting ? "Order accepted" : view.status === "FILLED" ? "Filled" : view.status.toLowerCase(), traded, view.text].filter(Boolean).join(": "));
    return view;
  } catch (error) { toast(error.message, true); return null; }
}
