// News of the session: the newest headline in the header, and the list.
import { el } from "./page.js";
import { clock, signed } from "./format.js";
import { showDialog } from "./dialog.js";
import * as rounds from "./rounds.js";

const SHOWN = 100;

/** Return the changes of values that news states, as "AAPL −2.00". */
export function changesOf(item) { return Object.entries(item.value_changes).map(([symbol, change]) => `${symbol} ${signed(change)}`).join(", "); }

/** Return the element of one item of news. Its text is never read as HTML. */
function itemOf(item) {
  const changes = changesOf(item);
  return el("li", {}, el("div", { class: "head" }, el("time", { class: "soft num", dateTime: item.timestamp }, clock(item.timestamp)), el("strong", {}, item.headline), item.private ? el("span", { class: "pill warn" }, "private") : null),
    item.text ? el("p", {}, item.text) : null, changes ? el("p", { class: "num changes" }, changes) : null);
}

/** Return the list of news. It is newest first. */
export function createNewsList() {
  const list = el("ol", { class: "news", "aria-label": "News" });
  const off = rounds.onNews(() => list.replaceChildren(...(rounds.news.length ? rounds.news.slice(0, SHOWN).map(itemOf) : [el("li", { class: "empty" }, "No news yet.")])));
  return { element: list, end: off };
}

/** Return the card with the list of news. It is hidden while there is no session and no news. */
export function createNewsCard() {
  const list = createNewsList();
  const element = el("section", { class: "card news-card" }, el("header", {}, el("h2", {}, "News")), el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "List of news" }, list.element));
  const draw = () => { element.hidden = !rounds.session && !rounds.news.length; };
  const ends = [rounds.onSession(draw), rounds.onNews(draw), list.end];
  return { element, end() { ends.forEach((end) => end()); } };
}

/** Return the line with the newest headline. A click on it shows the list. */
export function createTicker() {
  const label = el("span", { class: "pill" }, "News"), headline = el("span", { class: "headline" }), announced = el("span", { class: "hidden", role: "status" });
  const show = async () => {
    const list = createNewsList();
    await showDialog("News", el("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "List of news" }, list.element), [["ok", "Close", "primary"]]);
    list.end();
  };
  const button = el("button", { type: "button", class: "ticker", title: "Show all news", hidden: true, onclick: show }, label, headline);
  const off = rounds.onNews((published) => {
    const [newest] = rounds.news;
    button.hidden = !newest;
    if (!newest) return;
    label.textContent = newest.private ? "Private news" : "News";
    headline.textContent = newest.headline;
    if (!published) return;
    // The style sheet runs the animation once, and not for users who prefer reduced motion.
    announced.textContent = `News: ${newest.headline}`;
    button.classList.remove("fresh");
    void button.offsetWidth; // otherwise a second item of news would not start the animation again
    button.classList.add("fresh");
  });
  return { element: el("div", { class: "ticker-line" }, button, announced), end: off };
}
