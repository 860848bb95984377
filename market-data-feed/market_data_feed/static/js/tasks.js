// The assignments of the round, and those that the user has met.
import { ask, el, throttle } from "./page.js";
import { money, number } from "./format.js";
import * as rounds from "./rounds.js";
import * as gate from "./session.js";

const REFRESH_MS = 5000, SOON_MS = 500;

/** Return the progress of a task as text: "2 of 3", or "at the end". */
function progressOf({ type, goal, done, met }) {
  if (met) return "done";
  if (type === "end_flat" || (type === "profit" && !done)) return "decided at the end";
  const text = type === "profit" ? money : number;
  return `${text(done)} of ${text(goal)}${type === "quote_both_sides" ? " s" : ""}`;
}

/** Return the card of the assignments. It is hidden in a round without any. `hasAccount()` returns whether the feed has an account of the user. */
export function createTasks(hasAccount) {
  const list = el("ul"), element = el("section", { class: "card tasks", hidden: true, "aria-label": "Your tasks" }, el("h2", {}, "Your tasks"), list);
  const announced = el("span", { class: "hidden", role: "status" });
  element.append(announced);
  let shown = "", met = new Set();

  const draw = (tasks) => {
    const newest = JSON.stringify(tasks);
    if (newest === shown) return;
    shown = newest;
    element.hidden = !tasks.length;
    list.replaceChildren(...tasks.map((task) => el("li", { class: task.met ? "met" : "" }, el("span", { class: "mark", "aria-hidden": "true" }, task.met ? "✓" : "○"), el("span", {}, task.text), el("small", { class: "soft" }, progressOf(task)))));
    const now = new Set(tasks.filter((task) => task.met).map((task) => task.text)), added = [...now].filter((text) => !met.has(text));
    if (added.length) announced.textContent = `Done: ${added.join(", ")}`;
    met = now;
  };
  const load = () => {
    const wanted = rounds.session?.assignments.length && hasAccount();
    if (wanted) ask(`/assignments/${encodeURIComponent(gate.session.client)}`, { headers: gate.headers() }).then((found) => draw(found.assignments)).catch(() => { /* the next attempt is soon */ });
    else draw([]);
  };
  const soon = throttle(SOON_MS, load), timer = setInterval(load, REFRESH_MS), ends = [rounds.onSession(load), gate.onReport(soon)];
  return { element, load, end() { clearInterval(timer); ends.forEach((end) => end()); } };
}
