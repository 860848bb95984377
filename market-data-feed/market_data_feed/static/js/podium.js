// The result of a round for the projector: a podium with the first three places, and the other places.
import { el } from "./page.js";
import { sign, signedMoney } from "./format.js";
import { adminRequest, isAdmin } from "./admin.js";
import { createPlaces } from "./ranking.js";
import * as rounds from "./rounds.js";

const STEPS = ["first", "second", "third"], SHOWN = 15, RETRY_MS = 2000;

/** Return the result. `leaders()` returns the people of the leaderboard, which everybody may read.
 * The result of the round itself is the admin's, so a browser without the admin's rights shows the leaderboard. */
export function createPodium(leaders) {
  const title = el("h1"), note = el("p", { class: "soft" }), steps = el("ol", { class: "podium" }), others = createPlaces("Other places");
  const element = el("div", { class: "results" }, el("section", { class: "card" }, title, note, steps), el("section", { class: "card ranking" }, el("header", {}, el("h2", {}, "All places")), others.element));
  const names = () => new Map(leaders().map((one) => [one.client_id, one.nickname]));
  let timer = 0, shown = "";

  const stepOf = (one, index) => el("li", { class: STEPS[index] }, el("strong", { class: "who" }, one.nickname), el("span", { class: `num ${sign(one.profit)}` }, signedMoney(one.profit)), el("span", { class: "step-rank" }, one.rank));
  const draw = (places, text) => {
    const newest = JSON.stringify([places, text]);
    if (newest === shown) return; // to draw it again would start the animation again
    shown = newest;
    note.textContent = text;
    steps.replaceChildren(...places.slice(0, STEPS.length).map(stepOf));
    others.draw(places.slice(0, SHOWN));
  };
  const load = async () => {
    const { session } = rounds;
    if (!session) return;
    title.textContent = `${session.state === "closed" ? "The session is over" : `Round ${session.round} of ${session.rounds.length} is over`}`;
    if (isAdmin()) {
      const found = await adminRequest("GET", `/rounds/${session.round}/scores`).catch(() => null);
      const known = names();
      if (found) { draw(found.map((one) => ({ ...one, nickname: one.nickname ?? known.get(one.client_id) ?? one.client_id })), `Profit of round ${session.round}`); return; }
    }
    draw(leaders(), "Profit of all rounds");
  };
  return {
    element,
    begin() { clearInterval(timer); timer = setInterval(load, RETRY_MS); load(); },
    end() { clearInterval(timer); },
  };
}
