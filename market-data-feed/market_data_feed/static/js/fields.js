// Forms from a list of fields. Each field has a key, a label, a kind and options. A form reads itself as the body of a request.
import { el, field } from "./page.js";
import { byActivity } from "./securities.js";

const NUMBER = "[0-9]+([.][0-9]+)?", SIGNED = "-?" + NUMBER;
/** The names that inputs suggest: those of the roles and of the participants. */
export const suggestions = { role: el("datalist", { id: "known-roles" }), client: el("datalist", { id: "known-clients" }) };

/** Show other suggestions for "role" or "client": [value, text] pairs. */
export function suggest(kind, pairs) { suggestions[kind].replaceChildren(...pairs.map(([value, text]) => el("option", { value }, text ?? ""))); }

/** Return seconds as minutes and seconds, 1:30. */
export const minutes = (seconds) => `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;

/** Return the seconds of 1:30. */
export function secondsOf(text) { const [first, second] = text.split(":"); return Number(first) * 60 + Number(second); }

const options = (pairs, value) => pairs.map(([key, text]) => el("option", { value: key, selected: key === value }, text));
const symbols = (value, empty) => {
  const listed = byActivity().filter((one) => one.state !== "delisted" || one.symbol === value).map((one) => [one.symbol, one.symbol]);
  return options([...(empty ? [["", empty]] : []), ...listed], value);
};
const isEmpty = (value) => value === undefined || value === null || value === "";

/** Return a list of values by symbol, with a button for one more: [element, read, first input]. */
function bySymbol(values, label, pattern, text) {
  const rows = el("div", { class: "rows" });
  const add = (symbol = "", value = "") => {
    const name = el("select", { "aria-label": `${label}: security` }, symbols(symbol)), amount = el("input", { value, pattern, inputMode: "decimal", required: true, "aria-label": `${label}: amount` });
    const row = el("div", { class: "row" }, name, amount, el("button", { type: "button", class: "small", "aria-label": `Remove this line of ${label.toLowerCase()}`, onclick: () => row.remove() }, "✕"));
    row.read = () => [name.value, amount.value];
    rows.append(row);
  };
  Object.entries(values ?? {}).forEach(([symbol, value]) => add(symbol, value));
  const more = el("button", { type: "button", class: "small", onclick: () => add() }, text);
  return [el("div", { class: "group", role: "group", "aria-label": label }, el("span", { class: "soft" }, label), rows, more), () => Object.fromEntries([...rows.children].map((row) => row.read()))];
}

/** Return the choice of everybody, of a role or of a person. It reads as `role` or `client_id`. */
function audience(values) {
  const kind = values.role ? "role" : values.client_id ? "client" : "";
  const chosen = el("select", {}, options([["", "Everybody"], ["role", "A role"], ["client", "One person"]], kind));
  const name = el("input", { value: values.role || values.client_id || "", maxLength: 64, autocomplete: "off", required: true, "aria-label": "Name of the role or of the person" });
  const draw = () => { name.hidden = name.disabled = !chosen.value; if (chosen.value) name.setAttribute("list", suggestions[chosen.value].id); };
  chosen.onchange = () => { draw(); if (!name.hidden) name.focus(); };
  draw();
  return [el("div", { class: "group" }, field("For", chosen), name), () => (chosen.value ? { [chosen.value === "role" ? "role" : "client_id"]: name.value.trim() } : {})];
}

/** How each kind of field is made: a function of the options and the value, that returns [element, read]. */
const KINDS = {
  text: ({ label, ...rest }, value) => { const input = el("input", { value: value ?? "", autocomplete: "off", ...rest }); return [field(label, input), () => input.value.trim()]; },
  area: ({ label, ...rest }, value) => { const input = el("textarea", { value: value ?? "", rows: 2, ...rest }); return [field(label, input), () => input.value.trim()]; },
  amount: ({ label, ...rest }, value) => { const input = el("input", { value: value ?? "", inputMode: "decimal", autocomplete: "off", pattern: NUMBER, title: "Digits and a point, such as 12.50", ...rest }); return [field(label, input), () => input.value.trim()]; },
  tick: ({ label }, value) => { const input = el("input", { type: "checkbox", checked: Boolean(value) }); return [el("label", { class: "tick" }, input, label), () => input.checked]; },
  time: ({ label, ...rest }, value) => {
    const input = el("input", { value: isEmpty(value) ? "" : minutes(value), required: true, pattern: "[0-9]{1,4}:[0-5][0-9]", title: "Minutes and seconds, such as 1:30", autocomplete: "off", ...rest });
    return [field(label, input), () => secondsOf(input.value)];
  },
  symbol: ({ label, empty }, value) => { const input = el("select", {}, symbols(value, empty)); return [field(label, input), () => input.value]; },
  choice: ({ label, choices }, value) => { const input = el("select", {}, options(choices, value)); return [field(label, input), () => input.value]; },
  draw: ({ label }, value) => {
    const input = el("input", { value: (value ?? []).join(", "), autocomplete: "off", pattern: `(\\s*${NUMBER}\\s*(,|$))*`, title: "Amounts with commas between them, such as 0, 0.08, 0.60" });
    return [field(label, input), () => input.value.split(",").map((part) => part.trim()).filter(Boolean)];
  },
};

/** Return a form of `fields` with `values`: its element, `read()`, and `focus(key)`. `read` leaves empty values out. */
export function createFields(fields, values = {}, style = "fields") {
  const parts = new Map(fields.map(({ key, kind, ...rest }) => {
    if (kind === "audience") return [key, audience(values)];
    if (kind === "changes") return [key, bySymbol(values[key], rest.label, SIGNED, rest.text)];
    if (kind === "shares") return [key, bySymbol(values[key], rest.label, NUMBER, rest.text)];
    const { wide, ...options } = rest, [element, read] = KINDS[kind](options, values[key]);
    if (wide) element.classList.add("wide");
    return [key, [element, read]];
  }));
  return {
    element: el("div", { class: style }, [...parts.values()].map(([element]) => element)),
    read() {
      const body = {};
      for (const [key, [, read]] of parts) {
        const value = read();
        if (key === "audience") Object.assign(body, value);
        else if (value !== "" && !(Array.isArray(value) && !value.length)) body[key] = value;
      }
      return body;
    },
    /** Move the focus to the field of a refusal. Return whether the form has it. */
    focus(key) {
      const input = parts.get(key)?.[0].querySelector("input, select, textarea");
      input?.focus();
      return Boolean(input);
    },
  };
}
