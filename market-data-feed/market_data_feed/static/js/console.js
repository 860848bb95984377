// Console: the teacher's page. It controls the rounds, the room, the plan, the news and the markets.
import { el, field, fill, table, toast, whileDisabled } from "./page.js";
import { number } from "./format.js";
import { adminPage, adminRequest } from "./admin.js";
import { asked } from "./dialog.js";
import { duration } from "./clock.js";
import { EVENTS, NEW } from "./events.js";
import { createFields, suggest, suggestions } from "./fields.js";
import { createInvitation } from "./invitation.js";
import { createPeople } from "./people.js";
import { createPlanEditor, loadedTemplates } from "./plan.js";
import * as rounds from "./rounds.js";
import { byActivity, load as loadSecurities, onStates, stateOf } from "./securities.js";

/** Each action of a session: its button, the states in which it is possible, and a question before it. */
const ACTIONS = [
  ["start", "Start round", ["lobby"]], ["pause", "Pause", ["running"]], ["resume", "Resume", ["paused"]],
  ["end", "End round", ["running", "paused"], "All open orders are cancelled, and the result counts."],
  ["next", "Next round", ["ended", "lobby"]],
  ["reset", "Play this round again", ["ended"], "The result of the round is replaced when it ends again."],
  ["close", "Close session", ["ended", "lobby"], "No further round can begin. Markets stay halted until you open them."]];
/** The action that comes next in each state. */
const NEXT = { lobby: "start", running: "pause", paused: "resume", ended: "next" };
const REFRESH_MS = 5000;

export function teacherConsole(main, code) {
  return adminPage(main, "Console", code, panel);
}

function panel(main) {
  const control = controlCard(), columns = [[roomCard(), planCard()], [nowCard(), marketsCard(), rolesCard()]], parts = [control, ...columns.flat()];
  main.replaceChildren(el("div", { class: "grid console" }, el("h1", { class: "hidden" }, "Console"), control.element,
    columns.map((cards) => el("div", { class: "grid side" }, cards.map((card) => card.element))), suggestions.role, suggestions.client));
  return () => parts.forEach((part) => part.end?.());
}

/** The rounds, the clock, and the actions that are possible. */
function controlCard() {
  const title = el("h2"), time = el("span", { class: "time num" }), list = el("ol", { class: "round-list", "aria-label": "Rounds" });
  const act = (action, text, question) => async (event) => {
    const button = event.currentTarget;
    if (question && !(await asked(text, question))) return;
    await whileDisabled(button, () => adminRequest("POST", `/admin/session/${action}`));
    draw(); // the report of the new state may be earlier than the answer
  };
  const buttons = new Map(ACTIONS.map(([action, text, , question]) => [action, el("button", { type: "button", onclick: act(action, text, question) }, text)]));
  const draw = () => {
    const { session } = rounds;
    title.textContent = session ? session.name : "No session is planned";
    const isLast = session && session.round === session.rounds.length;
    ACTIONS.forEach(([action, , states]) => {
      const button = buttons.get(action), isNext = NEXT[session?.state] === action;
      button.disabled = !session || !states.includes(session.state) || (action === "next" && isLast);
      button.className = isNext && !button.disabled ? "primary" : "";
    });
    list.replaceChildren(...(session?.rounds ?? []).map((round, index) => el("li", index + 1 === session.round ? { "aria-current": "step" } : {},
      el("strong", {}, round.name), el("small", { class: "soft" }, ` ${duration(round.seconds * 1000)}${round.practice ? ", practice" : ""}`))));
  };
  const tick = () => { time.textContent = rounds.session ? `${rounds.session.state} · ${duration(rounds.millisecondsLeft())}` : ""; };
  const timer = setInterval(tick, 250), off = rounds.onSession(() => { draw(); tick(); });
  const views = [["#wall", "Projector view"], ["#lobby", "Lobby"], ["#results", "Results"], ["#administration", "Administration"]];
  return {
    element: el("section", { class: "card control-card" }, el("header", {}, title, time), list, el("div", { class: "actions" }, [...buttons.values()]),
      el("p", { class: "links" }, views.map(([href, text]) => el("a", { href, target: href === "#wall" ? "_blank" : "" }, text)))),
    end() { clearInterval(timer); off(); },
  };
}

/** The PIN, the link, and the participants. */
function roomCard() {
  const invitation = createInvitation();
  const people = createPeople(() => true, (all) => suggest("client", all.filter((one) => one.seat === "joined").map((one) => [one.client_id, one.nickname])));
  invitation.load();
  return { element: el("section", { class: "card room-card" }, el("header", {}, people.count, people.rosterField), invitation.element, people.people), end: people.end };
}

/** News, payouts and tenders at once. */
function nowCard() {
  const body = el("div"), problem = el("p", { class: "problem", role: "alert" });
  const sends = {
    news: (values) => adminRequest("POST", "/admin/news", values).then(() => "The news is published."),
    payout: (values) => adminRequest("POST", "/admin/payouts", values).then(({ amount }) => `Paid ${number(amount)} for a share.`),
    tender: (values) => adminRequest("POST", "/admin/tenders", values).then(() => "The tender is open."),
  };
  const tabs = Object.keys(sends).map((type) => el("button", { type: "button", onclick: () => show(type) }, EVENTS[type][0]));
  function show(type) {
    tabs.forEach((tab, index) => tab.setAttribute("aria-pressed", Object.keys(sends)[index] === type));
    const form = createFields(EVENTS[type][1], NEW[type]), button = el("button", { type: "submit", class: "primary" }, type === "news" ? "Publish" : type === "payout" ? "Pay" : "Offer");
    const submit = (event) => {
      event.preventDefault();
      whileDisabled(button, async () => {
        if (type === "payout" && !(await asked("Pay", "Each holder receives the payout at once. It cannot be taken back."))) return;
        toast(await sends[type](form.read()));
        problem.textContent = "";
        show(type);
      }, (error) => { problem.textContent = error.message; form.focus(error.field ?? ""); });
    };
    body.replaceChildren(el("form", { class: "plan", onsubmit: submit }, form.element, problem, el("div", { class: "buttons" }, button)));
  }
  show("news");
  return { element: el("section", { class: "card now-card" }, el("header", {}, el("h2", {}, "Now"), el("div", { class: "choice", role: "group", "aria-label": "What to do now" }, tabs)), body) };
}

function planCard() {
  const editor = createPlanEditor();
  editor.load().catch((error) => toast(error.message, true));
  return editor;
}

/** The roles and the private values of participants. */
function rolesCard() {
  const client = el("input", { required: true, autocomplete: "off" }), role = el("input", { maxLength: 64, autocomplete: "off" });
  client.setAttribute("list", suggestions.client.id);
  role.setAttribute("list", suggestions.role.id);
  const values = createFields([{ key: "symbol", label: "Values in", kind: "symbol" }, { key: "values", label: "Value of each unit", kind: "draw" }]);
  const hands = el("select"), deals = el("button", { type: "button", onclick: () => whileDisabled(deals, deal) }, "Deal to everybody");
  const button = el("button", { type: "submit" }, "Assign"), shown = table([["Person"], ["Role"], ["Values"]], { label: "Roles" });
  const assign = (event) => {
    event.preventDefault();
    whileDisabled(button, async () => {
      const { symbol, values: units } = values.read();
      await adminRequest("PUT", `/admin/clients/${encodeURIComponent(client.value.trim())}/role`, { role: role.value.trim(), ...(units && symbol ? { values: { [symbol]: units } } : {}) });
      await refresh();
    });
  };
  /** Give the roles of a lesson to all who have joined, in turn. */
  async function deal() {
    const chosen = (await loadedTemplates()).find((one) => one.id === hands.value);
    const { dealt } = await adminRequest("POST", "/admin/roles", { hands: chosen.hands });
    toast(`${dealt.length} roles are dealt.`);
    await refresh();
  }
  loadedTemplates().then((all) => hands.replaceChildren(...all.filter((one) => one.hands.length).map((one) => el("option", { value: one.id }, one.name))), (error) => toast(error.message, true));
  async function refresh() {
    const roles = await adminRequest("GET", "/roles");
    suggest("role", [...new Set(["insider", "buyer", "seller", ...roles.map((one) => one.role)])].map((name) => [name]));
    fill(shown.body, roles.map((one) => el("tr", {}, el("td", {}, one.client_id), el("td", {}, one.role), el("td", {}, Object.entries(one.values).map(([symbol, units]) => `${symbol}: ${units.map(number).join(", ")}`).join("; ")))), 3, "Nobody has a role.");
  }
  const safely = () => refresh().catch(() => { /* the next attempt is soon */ });
  const timer = setInterval(safely, REFRESH_MS);
  safely();
  return {
    element: el("section", { class: "card roles-card" }, el("header", {}, el("h2", {}, "Roles and private values")), el("form", { class: "plan", onsubmit: assign },
      el("div", { class: "fields" }, field("Person", client), field("Role (empty takes it away)", role)), values.element, el("div", { class: "buttons" }, button)),
      el("div", { class: "group" }, field("Roles of the lesson", hands), deals), shown.element),
    end() { clearInterval(timer); },
  };
}

/** The trading state of each security, with a halt and an auction for one of them. */
function marketsCard() {
  const shown = table([["Security"], ["State"], ["Action"]], { label: "Securities" });
  const set = (symbol, state) => (event) => whileDisabled(event.currentTarget, () => adminRequest("PUT", `/admin/securities/${encodeURIComponent(symbol)}/state`, { state }));
  const cells = new Map();
  function draw() {
    const listed = byActivity().filter((one) => one.state !== "delisted");
    fill(shown.body, listed.map(({ symbol, name }) => {
      if (!cells.has(symbol)) {
        const state = el("span", { class: "pill" });
        const buttons = [["halted", "Halt"], ["continuous", "Resume"], ["opening_auction", "Auction"]].map(([value, text]) => el("button", { type: "button", class: "small", "aria-label": `${text} ${symbol}`, onclick: set(symbol, value) }, text));
        cells.set(symbol, [el("tr", {}, el("td", {}, el("strong", {}, symbol), " ", el("small", { class: "soft" }, name)), el("td", {}, state), el("td", {}, el("div", { class: "choice" }, buttons))), state]);
      }
      const [row, state] = cells.get(symbol), [text, colour] = stateOf(symbol);
      state.textContent = text;
      state.className = `pill ${colour}`;
      return row;
    }), 3, "No security is listed.");
  }
  const off = onStates(draw);
  loadSecurities().then(draw, (error) => toast(error.message, true));
  return { element: el("section", { class: "card markets-card" }, el("header", {}, el("h2", {}, "Markets"), el("a", { href: "#administration" }, "List a security")), shown.element), end: off };
}
