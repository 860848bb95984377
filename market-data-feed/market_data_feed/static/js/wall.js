// The wall: one screen for a projector. It follows the session: the invitation, then the market, then the podium.
import { ask, el } from "./page.js";
import { clock as timeOf } from "./format.js";
import { createChart } from "./chart.js";
import { createClock } from "./clock.js";
import { countOf, createInvitation } from "./invitation.js";
import { changesOf } from "./news.js";
import { createPodium } from "./podium.js";
import { createPrices } from "./prices.js";
import { createRanking } from "./ranking.js";
import * as rounds from "./rounds.js";
import { onAdmin } from "./admin.js";
import { current, onChoice } from "./securities.js";
import { classroom } from "./session.js";

const REFRESH_MS = 2000;

/** Return the name of the scene for the state of the session. */
function sceneOf(session) {
  if (session?.state === "ended" || session?.state === "closed") return "results";
  return session?.state === "lobby" && classroom ? "lobby" : "market";
}

/** Return the scene of the lobby: the invitation, and the people who have joined. */
function createLobby() {
  const invitation = createInvitation(), count = el("h2"), people = el("ul", { class: "people" });
  const element = el("div", { class: "scene scene-lobby" }, invitation.element, el("section", { class: "card" }, el("header", {}, count), people));
  const refresh = () => ask("/lobby").then(({ participants }) => {
    count.textContent = countOf(participants);
    people.replaceChildren(...participants.filter((one) => one.seat === "joined").map((one) => el("li", {}, el("strong", {}, one.nickname), one.team ? el("span", { class: "pill" }, one.team) : null)));
  }).catch(() => { /* the next attempt is soon */ });
  let timer = 0;
  const off = onAdmin(() => invitation.load());
  return {
    element,
    begin() { timer = setInterval(refresh, REFRESH_MS); invitation.load(); refresh(); },
    end() { clearInterval(timer); },
    close() { clearInterval(timer); off(); },
  };
}

/** Return the bar with the newest public news. */
function createHeadline() {
  const time = el("time", { class: "soft num" }), headline = el("strong"), text = el("span", { class: "text" }), changes = el("span", { class: "num changes" });
  const element = el("section", { class: "card headline", role: "status", "aria-label": "News", hidden: true }, el("span", { class: "pill warn" }, "News"), time, headline, changes, text);
  const off = rounds.onNews((published) => {
    const newest = rounds.news.find((item) => !item.private); // everybody in the room can read this screen
    element.hidden = !newest;
    if (!newest) return;
    time.textContent = timeOf(newest.timestamp);
    headline.textContent = newest.headline;
    text.textContent = newest.text;
    changes.textContent = changesOf(newest);
    if (published === newest) {
      element.classList.remove("fresh");
      void element.offsetWidth; // starts the animation again
      element.classList.add("fresh");
    }
  });
  return { element, end: off };
}

export function wall(main) {
  let leaders = [], shown = "";
  const clock = createClock(), chart = createChart(), prices = createPrices(), headline = createHeadline(), lobby = classroom ? createLobby() : null;
  const ranking = createRanking((people) => { leaders = people; }), podium = createPodium(() => leaders);
  const scenes = { results: podium.element, market: el("div", { class: "scene scene-market" }, el("div", { class: "left" }, chart.element, prices.element), ranking.element), ...(lobby ? { lobby: lobby.element } : {}) };
  podium.element.classList.add("scene");
  const brand = el("span", { class: "brand" }, el("img", { src: "/dashboard/icon.svg", alt: "", width: 22, height: 22 }), " microexchange");
  main.replaceChildren(el("div", { class: "wall" }, el("div", { class: "wall-bar" }, brand, clock.element, el("a", { href: "#competition" }, "Exit full screen")), ...Object.values(scenes), headline.element));
  document.body.classList.add("full-screen");

  const draw = () => {
    const scene = sceneOf(rounds.session);
    brand.hidden = Boolean(rounds.session);
    if (scene === shown) return;
    lobby?.end();
    podium.end();
    shown = scene;
    for (const [name, element] of Object.entries(scenes)) element.hidden = name !== scene;
    if (scene === "lobby") lobby.begin();
    if (scene === "results") podium.begin();
    // The chart has no size while it is hidden.
    if (scene === "market") chart.repaint();
  };
  const follow = () => chart.follow(current);
  const ends = [rounds.onSession(draw), onChoice(follow), clock.end, chart.end, prices.end, headline.end, ranking.end, podium.end, () => lobby?.close()];
  follow();
  return { end() { ends.forEach((end) => end()); document.body.classList.remove("full-screen"); }, repaint() { chart.repaint(); } };
}
