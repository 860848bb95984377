// The client's open orders and fills.
import { el, field, fill, onNextFrame, table, toast, ask } from "./page.js";
import { clock, money, number } from "./format.js";
import { confirmed } from "./dialog.js";
import { TYPES } from "./ticket.js";
import * as gate from "./session.js";

const SHOWN_FILLS = 100, MAX_FILLS = 1000;

async function act(request, text) {
  try { await gate.request(request); toast(text); } catch (error) { toast(error.message, true); }
}

/** Return the tables of open orders and of fills. `onFills` is called when the fills change. */
export function createOrders(onFills) {
  const orders = new Map(), amending = new Map();
  let fills = [];
  const open = table([["Time"], ["Security"], ["Side"], ["Type"], ["Price", true], ["Open", true], ["Filled", true], [""]], { class: "orders", label: "Open orders" });
  const done = table([["Time"], ["Security"], ["Side"], ["Quantity", true], ["Price", true], ["Fee", true], ["Liquidity"]], { class: "fills", label: "Fills" });
  const cancelAll = async () => { if (orders.size && await confirmed("Cancel all", `Cancel ${orders.size} open orders.`)) await act({ op: "cancel_all" }, "All orders cancelled"); };
  const all = el("button", { type: "button", class: "small", onclick: cancelAll }, "Cancel all");
  const openCard = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Open orders"), all), open.element);
  const fillsCard = el("section", { class: "card" }, el("header", {}, el("h2", {}, "Fills")), done.element);

  const toggleForm = (order) => {
    if (!amending.delete(order.order_id)) amending.set(order.order_id, form(order));
    drawOrders();
  };
  const row = (order) => el("tr", {}, el("td", { class: "soft" }, clock(order.timestamp)), el("td", {}, order.symbol), el("td", { class: order.side }, order.side), el("td", {}, TYPES[order.order_type] ?? order.order_type, order.trigger_price ? el("small", { class: "soft" }, ` at ${number(order.trigger_price)}`) : ""),
    el("td", { class: "num" }, number(order.price)), el("td", { class: "num" }, number(order.leaves_quantity)), el("td", { class: "num" }, number(order.filled_quantity)),
    el("td", { class: "num" }, el("button", { type: "button", class: "small", onclick: () => toggleForm(order) }, "Amend"),
      el("button", { type: "button", class: "small", onclick: () => act({ op: "cancel", order_id: order.order_id }, "Order cancelled") }, "Cancel")));
  const drawOrders = () => {
    const newest = [...orders.values()].sort((a, b) => b.timestamp.localeCompare(a.timestamp) || b.order_id.localeCompare(a.order_id));
    fill(open.body, newest.flatMap((order) => (amending.has(order.order_id) ? [row(order), amending.get(order.order_id)] : [row(order)])), 8, "No open orders. Orders that do not trade at once appear here.");
    all.disabled = !orders.size;
  };
  const form = (order) => {
    const quantity = el("input", { value: order.quantity, inputMode: "decimal" }), price = order.price === null ? null : el("input", { value: order.price, inputMode: "decimal" });
    return el("tr", {}, el("td", { colSpan: 8 }, el("form", { class: "amend", onsubmit: async (event) => {
      event.preventDefault();
      amending.delete(order.order_id);
      await act({ op: "amend", order_id: order.order_id, ...(quantity.value !== order.quantity ? { quantity: quantity.value } : {}), ...(price && price.value !== order.price ? { price: price.value } : {}) }, "Order amended");
      drawOrders();
    } }, field("Total quantity", quantity), price ? field("Price", price) : "", el("button", { type: "submit", class: "small primary" }, "Save"), el("span", { class: "soft" }, "A lower quantity keeps the place in the queue. Any other change loses it."))));
  };
  const drawFills = () => {
    fill(done.body, fills.slice(0, SHOWN_FILLS).map((one) => el("tr", {}, el("td", { class: "soft" }, clock(one.timestamp)), el("td", {}, one.symbol), el("td", { class: one.side }, one.side), el("td", { class: "num" }, number(one.quantity)), el("td", { class: "num" }, number(one.price)), el("td", { class: "num" }, money(one.fee)), el("td", { class: "soft" }, one.liquidity))), 7, "No fills yet.");
    onFills();
  };
  const identity = (one) => `${one.trade_id} ${one.order_id}`;

  const end = gate.onReport((report) => {
    if (report.resting) orders.set(report.order_id, report);
    else orders.delete(report.order_id);
    if (report.exec_type === "TRADE" && !fills.some((one) => identity(one) === identity(report))) {
      fills = [{ ...report, quantity: report.last_quantity, price: report.last_price }, ...fills].slice(0, MAX_FILLS);
      onNextFrame(drawFills);
    }
    onNextFrame(drawOrders);
  });
  drawOrders();
  fill(done.body, [], 7, "No fills yet.");
  return {
    openCard, fillsCard, cancelAll, end,
    fillsOf: (symbol) => fills.filter((one) => one.symbol === symbol),
    /** Load the orders and fills of the client. Reports change them afterwards. */
    async load() {
      const headers = gate.headers();
      const [page, filled] = await Promise.all([ask(`${gate.gateway}/orders?status=open&limit=1000`, { headers }), ask(`${gate.gateway}/fills?limit=${SHOWN_FILLS}`, { headers })]);
      orders.clear();
      page.orders.forEach((order) => orders.set(order.order_id, order));
      const known = new Set(filled.fills.map(identity));
      fills = [...fills.filter((one) => !known.has(identity(one))), ...filled.fills].slice(0, MAX_FILLS);
      onNextFrame(drawOrders);
      onNextFrame(drawFills);
    },
  };
}
