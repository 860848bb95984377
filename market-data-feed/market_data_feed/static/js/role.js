// The role of the user in the session, and the private value of each unit.
import { ask, el } from "./page.js";
import { number } from "./format.js";
import * as rounds from "./rounds.js";
import * as gate from "./session.js";

const REFRESH_MS = 5000; // no message reports a new role

/** Return the card of the role. It is hidden without a role. `hasAccount()` returns whether the feed has an account of the user. */
export function createRole(hasAccount) {
  const name = el("h2"), values = el("div", { class: "values" }), note = el("p", { class: "soft" });
  const element = el("section", { class: "card role", hidden: true, "aria-label": "Your role" }, name, values, note);
  let shown = "";

  const draw = (role) => {
    const newest = JSON.stringify(role);
    if (newest === shown) return;
    shown = newest;
    const symbols = Object.keys(role.values).filter((symbol) => role.values[symbol].length), sells = role.role === "seller";
    element.hidden = !role.role;
    name.textContent = `You are: ${role.role}`;
    values.replaceChildren(...symbols.flatMap((symbol) => [el("span", { class: "soft" }, `${sells ? "Cost" : "Value"} of each unit of ${symbol}`),
      el("ol", {}, role.values[symbol].map((value) => el("li", { class: "num" }, number(value))))]));
    note.hidden = !symbols.length;
    note.textContent = sells ? "At the end of the round you pay the cost of each unit that you have sold." : "At the end of the round you receive the value of each unit that you have bought.";
  };
  const load = () => {
    if (rounds.session && hasAccount()) ask(`/role/${encodeURIComponent(gate.session.client)}`, { headers: gate.headers() }).then(draw).catch(() => { /* the next attempt is soon */ });
    else if (!rounds.session) draw({ role: "", values: {} });
  };
  const timer = setInterval(load, REFRESH_MS), off = rounds.onSession(load);
  return { element, load, end() { clearInterval(timer); off(); } };
}
