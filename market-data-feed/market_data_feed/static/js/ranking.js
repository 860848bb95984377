// The ranking for the projector: the leaders, whose places move, and the house bots apart from them.
import { el } from "./page.js";
import { sign, signedMoney } from "./format.js";
import { listen } from "./feed.js";

const SHOWN = 10, HOUSE_SHOWN = 3, MOVE_MS = 700;
const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

/** Show the rows in a list, in their order. A row that has changed its place moves there. */
function moveInto(list, wanted) {
  const before = new Map([...list.children].map((row) => [row, row.getBoundingClientRect().top]));
  list.replaceChildren(...wanted);
  if (reducedMotion.matches) return;
  for (const row of wanted) {
    const distance = (before.get(row) ?? NaN) - row.getBoundingClientRect().top;
    if (distance) row.animate([{ transform: `translateY(${distance}px)` }, { transform: "none" }], { duration: MOVE_MS, easing: "ease-out" });
  }
}

/** Return a list of places. `draw` receives rows of {client_id, nickname, rank, profit}. */
export function createPlaces(label) {
  const rows = new Map(), element = el("ol", { class: "places", "aria-label": label });
  const rowOf = (one) => {
    if (!rows.has(one.client_id)) rows.set(one.client_id, el("li", {}, el("span", { class: "rank num" }), el("span", { class: "who" }), el("span", { class: "profit num" })));
    const row = rows.get(one.client_id), [rank, who, profit] = row.children;
    rank.textContent = one.rank;
    who.textContent = one.nickname;
    profit.textContent = signedMoney(one.profit);
    profit.className = `profit num ${sign(one.profit)}`;
    return row;
  };
  return { element, draw(all) { moveInto(element, all.map(rowOf)); } };
}

/** Return the card with the ranking. `onLeaders` is called with the leaders that are people. */
export function createRanking(onLeaders) {
  const people = createPlaces("Leaderboard"), house = createPlaces("House bots");
  const rest = el("p", { class: "soft" }), houseTitle = el("h3", {}, "House bots");
  const element = el("section", { class: "card ranking" }, el("header", {}, el("h2", {}, "Leaderboard"), el("span", { class: "soft" }, "profit of all rounds")), people.element, rest, houseTitle, house.element);
  const end = listen({ channel: "leaderboard" }, ({ leaders }) => {
    const ranked = (isHouse) => leaders.filter((one) => one.house === isHouse).map((one, index) => ({ ...one, rank: index + 1 }));
    const [persons, bots] = [ranked(false), ranked(true)];
    people.draw(persons.slice(0, SHOWN));
    house.draw(bots.slice(0, HOUSE_SHOWN));
    rest.hidden = persons.length > 0 && persons.length <= SHOWN;
    rest.textContent = persons.length ? `and ${persons.length - SHOWN} more` : "Nobody has an account yet.";
    houseTitle.hidden = house.element.hidden = !bots.length;
    onLeaders(persons);
  });
  return { element, end };
}
