// The plan of a session in forms: its rounds, with start terms, events and assignments.
import { el, field, toast, whileDisabled } from "./page.js";
import { adminRequest } from "./admin.js";
import { asked } from "./dialog.js";
import { ASSIGNMENT, EVENTS, NEW, ROUND } from "./events.js";
import { createFields } from "./fields.js";
import * as rounds from "./rounds.js";
import { load as loadSecurities } from "./securities.js";

const TIME = { key: "at_seconds", label: "At", kind: "time" };
const NEW_ROUND = { seconds: 300, practice: false, cash: "10000", shares: {}, house_bots: true, events: [], assignments: [] };
const NEW_PLAN = { name: "Market day", rounds: [{ ...NEW_ROUND, name: "Practice", seconds: 120, practice: true }, { ...NEW_ROUND, name: "Round 1" }] };

const small = (text, label, onclick, style = "") => el("button", { type: "button", class: `small ${style}`, "aria-label": label, onclick }, text);

/** Return a list of forms that can be added and removed: its element, the forms, and `add`. */
function createList(create) {
  const element = el("div", { class: "rows" }), forms = [];
  const add = (...values) => {
    const form = create(...values);
    const box = el("div", { class: "entry" }, form.element, small("✕", `Remove ${form.title}`, () => { forms.splice(forms.indexOf(form), 1); box.remove(); }));
    forms.push(form);
    element.append(box);
    return form;
  };
  return { element, forms, add };
}

function eventForm({ type, ...values }) {
  const [title, fields] = EVENTS[type], form = createFields([TIME, ...fields], values);
  return { ...form, title: title.toLowerCase(), element: el("fieldset", {}, el("legend", {}, title), form.element), read: () => ({ type, ...form.read() }) };
}

function assignmentForm(values) {
  return { ...createFields(ASSIGNMENT, values), title: "assignment" };
}

/** Return the form of a round. `actions` are the buttons of its header. */
function roundForm(values, actions) {
  const terms = createFields(ROUND, values), events = createList(eventForm), assignments = createList(assignmentForm), title = el("strong"), facts = el("span", { class: "soft" });
  const adds = Object.entries(EVENTS).map(([type, [text]]) => small(`+ ${text}`, `Add ${text.toLowerCase()}`, () => events.add({ type, at_seconds: 60, ...NEW[type] }).focus("at_seconds")));
  (values.events ?? []).forEach((event) => events.add(event));
  (values.assignments ?? []).forEach((assignment) => assignments.add(assignment));
  const body = el("div", { class: "round-body" }, terms.element, el("h3", {}, "Events"), events.element, el("div", { class: "choice" }, adds),
    el("h3", {}, "Assignments"), assignments.element, el("div", { class: "choice" }, small("+ Assignment", "Add an assignment", () => assignments.add({ type: "limit_orders" }).focus("type"))));
  const element = el("details", { class: "round" }, el("summary", {}, title, facts), body, el("div", { class: "buttons" }, actions));
  const form = {
    element,
    read() {
      const { shares, cash, ...rest } = terms.read();
      const keepsShares = !Object.keys(shares).length && values.shares === null;
      return { ...rest, cash: cash ?? null, shares: keepsShares ? null : shares, events: events.forms.map((one) => one.read()), assignments: assignments.forms.map((one) => one.read()) };
    },
    draw(number) {
      const { name, seconds, practice } = form.read();
      title.textContent = name || `Round ${number}`;
      facts.textContent = ` ${Number.isNaN(seconds) ? "" : `${Math.round(seconds / 6) / 10} min`}${practice ? ", practice" : ""}${events.forms.length ? `, ${events.forms.length} events` : ""}${assignments.forms.length ? `, ${assignments.forms.length} assignments` : ""}`;
    },
    /** Move the focus to the field of a refusal, such as `events[1].price`. */
    focus(path) {
      element.open = true;
      const [, list, index, key] = /^(events|assignments)\[(\d+)\](?:\.(\w+))?/.exec(path) ?? [];
      if (!list) return terms.focus(path.split(/[.[]/)[0]);
      return (list === "events" ? events : assignments).forms[Number(index)]?.focus(key ?? "at_seconds");
    },
  };
  return form;
}

/** Return the index of the round that a refusal names, and the path in it: that of the field, or of "round 1, event 2: at_seconds". */
function placeOf({ field: name, message }) {
  const found = /rounds\[(\d+)\]\.?([\w[\].]*)/.exec(name ?? "") ?? /rounds\[(\d+)\]\.?([\w[\].]*)/.exec(message);
  if (found) return [Number(found[1]), found[2]];
  const [, round, list, number, key] = /round (\d+)(?:, (event|assignment) (\d+))?: (\w+)/.exec(message) ?? [];
  return [Number(round) - 1, list ? `${list}s[${number - 1}].${key}` : key ?? ""];
}

/** Return whether a session is planned, once the feed has sent its state. */
function isPlanned() {
  return new Promise((resolve) => {
    const off = rounds.onSession(() => {
      if (rounds.session === undefined) return;
      resolve(Boolean(rounds.session));
      setTimeout(() => off());
    });
  });
}

let loaded = null;
/** Return the templates of the exchange. They are loaded once. */
export function loadedTemplates() { return loaded ??= adminRequest("GET", "/session-templates").catch((error) => { loaded = null; throw error; }); }

/** Return the editor of the plan. `load()` fills it with the plan of the exchange. */
export function createPlanEditor() {
  const name = el("input", { required: true, maxLength: 64, autocomplete: "off" }), list = el("div", { class: "rows" }), problem = el("p", { class: "problem", role: "alert" });
  const templates = el("select", { "aria-label": "Template", onchange: useTemplate }), source = el("input", { type: "file", accept: ".toml,.json", "aria-label": "Open a plan: JSON or season.toml", onchange: open });
  let forms = [], known = [];

  const draw = () => forms.forEach((round, index) => round.draw(index + 1));
  function add(values, place = forms.length) {
    const actions = [small("↑", "Move this round up", () => move(form, -1)), small("↓", "Move this round down", () => move(form, 1)), small("Copy", "Copy this round", () => add(form.read(), forms.indexOf(form) + 1)),
      small("Remove", "Remove this round", () => { forms = forms.filter((one) => one !== form); form.element.remove(); draw(); }, "danger")];
    const form = roundForm(values, actions);
    forms.splice(place, 0, form);
    list.insertBefore(form.element, list.children[place] ?? null);
    draw();
    return form;
  }
  function move(form, step) {
    const from = forms.indexOf(form), to = from + step;
    if (to < 0 || to >= forms.length) return;
    forms.splice(to, 0, ...forms.splice(from, 1));
    list.replaceChildren(...forms.map((round) => round.element));
    draw();
  }

  function show(plan) {
    name.value = plan.name ?? "session";
    forms = [];
    list.replaceChildren();
    plan.rounds.forEach((round) => add({ house_bots: true, ...round }));
    problem.textContent = "";
  }
  const read = () => ({ name: name.value.trim(), rounds: forms.map((round) => round.read()) });

  function refuse(error) {
    problem.textContent = error.message;
    const [index, path] = placeOf(error);
    forms[index]?.focus(path);
  }

  /** Return whether all inputs are valid. Open the round of the first one that is not. */
  function isValid() {
    const wrong = form.querySelector(":invalid");
    wrong?.closest("details")?.setAttribute("open", "");
    return form.reportValidity();
  }

  const save = (event) => {
    event.preventDefault();
    if (!isValid()) return;
    whileDisabled(saveButton, async () => {
      await adminRequest("POST", "/admin/session", read());
      problem.textContent = "";
      toast("The plan is saved. Its first round is in the lobby.");
    }, refuse);
  };

  function download() {
    if (!isValid()) return;
    const url = URL.createObjectURL(new Blob([JSON.stringify(read(), null, 2)], { type: "application/json" }));
    el("a", { href: url, download: `${name.value || "session"}.json` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  }

  async function open() {
    const [file] = source.files;
    source.value = "";
    if (!file) return;
    try {
      const text = await file.text();
      if (file.name.endsWith(".toml")) {
        const { session, ignored } = await adminRequest("POST", "/admin/session-from-season", { toml: text });
        show(session);
        if (ignored.length) problem.textContent = `Not part of a session: ${ignored.join(", ")}.`;
      } else show(JSON.parse(text));
    } catch (error) {
      problem.textContent = `The file cannot be used: ${error.message}`;
    }
  }

  async function useTemplate() {
    const chosen = known.find((one) => one.id === templates.value);
    templates.value = "";
    if (!chosen || !(await asked(`Use ${chosen.name}`, `${chosen.summary} The template replaces the plan below, and lists the securities that it needs.`))) return;
    try {
      const used = await adminRequest("POST", `/admin/session-templates/${chosen.id}/use`);
      await loadSecurities();
      await load();
      toast(`${chosen.name} is planned.${used.dealt?.length ? ` ${used.dealt.length} roles are dealt.` : ""}`);
    } catch (error) { refuse(error); }
  }

  async function load() {
    show(await isPlanned() ? await adminRequest("GET", "/session/plan") : NEW_PLAN);
  }
  async function loadTemplates() {
    known = await loadedTemplates();
    templates.replaceChildren(el("option", { value: "" }, "Start from a template …"), ...known.map((one) => el("option", { value: one.id }, `${one.name} (${one.minutes} min)`)));
  }

  const saveButton = el("button", { type: "submit", class: "primary" }, "Save plan");
  const form = el("form", { class: "plan", onsubmit: save, oninput: draw },
    el("div", { class: "fields" }, field("Template", templates), field("Open a file", source), field("Name of the session", name)), list, problem,
    el("div", { class: "buttons" }, el("button", { type: "button", onclick: () => { add(NEW_ROUND).element.open = true; } }, "Add a round"), el("button", { type: "button", onclick: download }, "Download"), saveButton));
  return { element: el("section", { class: "card plan-card" }, el("header", {}, el("h2", {}, "Plan")), form), load: () => Promise.all([load(), loadTemplates()]) };
}
