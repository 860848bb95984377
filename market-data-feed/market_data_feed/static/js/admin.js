// Administration: securities and their trading states, clients, deposits and withdrawals. The routes are those of the admin.
import { ask, el, field, onNextFrame, toast, whileDisabled } from "./page.js";
import { money, number } from "./format.js";
import { asked } from "./dialog.js";
import { listen } from "./feed.js";
import { load, onStates, securities, stateOf } from "./securities.js";
import { classroom } from "./session.js";

const STORED = "admin-token"; // in sessionStorage alone: it ends with the tab
const ACTIONS = [["continuous", "Open or resume"], ["halted", "Halt"], ["opening_auction", "Opening auction"], ["closing_auction", "Closing auction"], ["closed", "Close"]];
const isLocal = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);

/** Return whether this browser may act as the admin: it has a token, or it is on the machine of a classroom. */
export const isAdmin = () => Boolean(sessionStorage.getItem(STORED)) || (classroom && isLocal);

const listeners = new Set();
/** Call `callback` when a token is given or removed. Return a function that stops it. */
export function onAdmin(callback) { listeners.add(callback); return () => listeners.delete(callback); }

/** Send a request with the token, if there is one. Return the answer as JSON, or as a "blob". */
export function adminRequest(method, path, body, type = "json") {
  const token = sessionStorage.getItem(STORED);
  return ask(path, { method, headers: token ? { Authorization: `Bearer ${token}` } : {}, ...(body ? { body: JSON.stringify(body) } : {}) }, type);
}

/** Store a token, or remove it, and tell the listeners. */
function storeToken(token) {
  if (token) sessionStorage.setItem(STORED, token);
  else sessionStorage.removeItem(STORED);
  listeners.forEach((callback) => callback());
}

/** Show a page of the admin, or the form that takes the token. `code` is that of a one-time link. `panel` returns a function that ends it. */
export function adminPage(main, title, code, panel) {
  let end = () => {}, isOver = false;
  const draw = () => { if (isOver) return; end(); end = isAdmin() ? panel(main, draw) : tokenForm(main, title, draw); };
  if (code) {
    history.replaceState(null, "", location.hash.split("=")[0]); // the code works once, and is not for the history
    ask("/console/login", { method: "POST", body: JSON.stringify({ code }) }).then(({ token }) => storeToken(token), (error) => toast(error.message, true)).finally(draw);
  } else draw();
  return { end() { isOver = true; end(); } };
}

export function administration(main) { return adminPage(main, "Administration", "", panel); }

/** Show the form that takes the token. */
function tokenForm(main, title, draw) {
  const token = el("input", { type: "password", required: true, autocomplete: "off" });
  const submit = async (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORED, token.value.trim());
    try {
      await adminRequest("GET", "/clients/admin-check/keys"); // any client's: only the admin may read it
      storeToken(token.value.trim());
    } catch (error) {
      storeToken("");
      toast(error.message, true);
    }
    draw();
  };
  main.replaceChildren(el("section", { class: "card narrow" }, el("header", {}, el("h1", {}, title)),
    el("form", { class: "ticket", onsubmit: submit }, field("Admin token", token), el("button", { type: "submit", class: "primary" }, "Continue"),
      el("p", { class: "soft" }, "./mx console prints a link that opens this page. The token is in secrets/admin-token of the data folder. This tab stores it until you close it."))));
  return () => {};
}

/** Return a form. `send` receives nothing, and returns the text to show. A refusal is shown in its place. */
function form(title, inputs, buttons) {
  const run = (send) => (event) => {
    event.preventDefault();
    if (!event.currentTarget.form?.reportValidity()) return;
    whileDisabled(event.currentTarget, async () => { const text = await send(); if (text) toast(text); });
  };
  return el("section", { class: "card" }, el("header", {}, el("h2", {}, title)),
    el("form", { class: "ticket", onsubmit: (event) => event.preventDefault() }, inputs, el("div", { class: "buttons" }, buttons.map(([text, send, style]) => el("button", { type: "button", class: style ?? "", onclick: run(send) }, text)))));
}

function panel(main, draw) {
  const ends = [];
  const leave = el("button", { type: "button", class: "small", onclick: () => { storeToken(""); draw(); } }, "Remove the token");
  main.replaceChildren(el("div", { class: "grid" }, el("header", { class: "quote" }, el("h1", {}, "Administration"), sessionStorage.getItem(STORED) ? leave : ""),
    el("div", { class: "grid two" }, securityForm(ends), clientForm(ends), transferForm(), listingForm())));
  return () => ends.forEach((end) => end());
}

function symbolInput() {
  const symbol = el("input", { required: true, autocomplete: "off", value: securities.keys().next().value ?? "" });
  symbol.setAttribute("list", "admin-symbols");
  return symbol;
}

/** The trading state of a security. */
function securityForm(ends) {
  const symbol = symbolInput(), state = el("span", { class: "pill", role: "status" });
  const list = el("datalist", { id: "admin-symbols" }, [...securities.values()].map((one) => el("option", { value: one.symbol }, one.name)));
  const drawState = () => { const [text, colour] = securities.has(symbol.value) ? stateOf(symbol.value) : ["not listed", "bad"]; state.textContent = text; state.className = `pill ${colour}`; };
  symbol.oninput = drawState;
  ends.push(onStates(drawState));
  const path = () => `/admin/securities/${encodeURIComponent(symbol.value)}`;
  const set = (value, text) => async () => { await adminRequest("PUT", `${path()}/state`, { state: value }); return `${symbol.value}: ${text.toLowerCase()}`; };
  const delist = async () => {
    if (!(await asked("Delist", `${symbol.value} is delisted permanently. Its orders are cancelled.`, "primary sells"))) return "";
    await adminRequest("DELETE", path());
    return `${symbol.value} is delisted`;
  };
  drawState();
  return form("Trading state", [field("Security", symbol), list, el("div", {}, state)], [...ACTIONS.map(([value, text]) => [text, set(value, text)]), ["Delist", delist, "danger"]]);
}

/** The suspension of a client, with its balance. */
function clientForm(ends) {
  const client = clientInput(), facts = el("p", { class: "soft", role: "status" });
  const names = el("datalist", { id: "admin-clients" });
  ends.push(listen({ channel: "leaderboard" }, ({ leaders }) => onNextFrame(() => {
    const known = leaders.map((leader) => leader.client_id).sort();
    if (known.length !== names.children.length) names.replaceChildren(...known.map((name) => el("option", { value: name })));
  })));
  const show = async () => {
    const balance = await adminRequest("GET", `/balance/${encodeURIComponent(client.value)}`);
    facts.textContent = `Cash ${money(balance.cash)}, equity ${money(balance.equity)}, ${balance.suspended ? "suspended" : "may trade"}`;
    return "";
  };
  const suspend = (method, text) => async () => {
    await adminRequest(method, `/admin/clients/${encodeURIComponent(client.value)}/suspended`);
    return `${client.value} ${text}`;
  };
  return form("Client", [field("Client", client), names, facts], [["Show", show], ["Suspend", suspend("PUT", "is suspended"), "danger"], ["Let trade again", suspend("DELETE", "may trade again")]]);
}

function clientInput() {
  const client = el("input", { required: true, autocomplete: "off" });
  client.setAttribute("list", "admin-clients");
  return client;
}

/** Deposits and withdrawals of cash and shares. */
function transferForm() {
  const client = clientInput(), cash = el("input", { inputMode: "decimal", placeholder: "0.00" }), symbol = el("input", { autocomplete: "off" }), quantity = el("input", { inputMode: "decimal" }), memo = el("input", { maxLength: 256 });
  symbol.setAttribute("list", "admin-symbols");
  const transfer = (route, text) => async () => {
    const body = { ...(cash.value ? { cash: cash.value } : {}), ...(symbol.value && quantity.value ? { shares: { [symbol.value]: quantity.value } } : {}), ...(memo.value ? { memo: memo.value } : {}) };
    await adminRequest("POST", `/admin/clients/${encodeURIComponent(client.value)}/${route}`, body);
    const parts = [cash.value && money(cash.value), body.shares && `${number(quantity.value)} ${symbol.value}`].filter(Boolean).join(" and ");
    cash.value = quantity.value = "";
    return `${text} ${client.value}: ${parts}`;
  };
  return form("Deposit or withdrawal", [field("Client", client), field("Cash", cash), el("div", { class: "pair" }, field("Shares of", symbol), field("Quantity", quantity)), field("Purpose", memo)],
    [["Deposit", transfer("deposits", "Deposit to"), "primary"], ["Withdraw", transfer("withdrawals", "Withdrawal from"), "danger"]]);
}

/** The listing of a security. */
function listingForm() {
  const symbol = el("input", { required: true, pattern: "[A-Za-z0-9.\\-]{1,16}", title: "1 to 16 characters of A-Z a-z 0-9 . -" }), name = el("input", { required: true, maxLength: 200 });
  const numbers = { tick_size: ["Tick", "0.01"], lot_size: ["Lot", "1"], reference_price: ["Reference price", "100.00"] };
  const limits = { maker_fee_bps: ["Maker fee, in hundredths of a percent", "10"], taker_fee_bps: ["Taker fee, in hundredths of a percent", "20"], max_order_quantity: ["Largest order (0: no limit)", "0"], position_limit: ["Largest position (0: no limit)", "0"], short_limit: ["Largest short position", "0"], band_bps: ["Price band, in hundredths of a percent (0: none)", "0"] };
  const wholes = new Set(["maker_fee_bps", "taker_fee_bps", "band_bps"]);
  const inputsOf = (named) => Object.fromEntries(Object.entries(named).map(([key, [, value]]) => [key, el("input", { required: true, inputMode: "decimal", value, ...(wholes.has(key) ? { pattern: "-?[0-9]+", title: "A whole number" } : {}) })]));
  const inputs = inputsOf(numbers), limited = inputsOf(limits);
  const fieldsOf = (named, made) => Object.entries(made).map(([key, input]) => field(named[key][0], input));
  const list = async () => {
    const terms = Object.entries({ ...inputs, ...limited }).map(([key, input]) => [key, wholes.has(key) ? Number(input.value) : input.value]);
    await adminRequest("POST", "/admin/securities", { symbol: symbol.value, name: name.value, ...Object.fromEntries(terms) });
    await load();
    return `${symbol.value} is listed`;
  };
  return form("List a security", [field("Symbol", symbol), field("Company", name), ...fieldsOf(numbers, inputs), el("details", {}, el("summary", {}, "Fees and limits"), el("div", { class: "ticket" }, fieldsOf(limits, limited)))], [["List", list, "primary"]]);
}
