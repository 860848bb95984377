// The page: the view that the address's # names, the theme, and the state of the connection.
import { el, toast } from "./page.js";
import * as feed from "./feed.js";
import { load } from "./securities.js";
import { classroom, loggedIn, restoreSession } from "./session.js";
import { createClock } from "./clock.js";
import { createTicker } from "./news.js";
import { followSession } from "./rounds.js";
import { join } from "./join.js";
import { lobby } from "./lobby.js";
import { market } from "./market.js";
import { trade } from "./trade.js";
import { competition } from "./competition.js";
import { wall } from "./wall.js";
import { operations } from "./operations.js";
import { teacherConsole } from "./console.js";
import { report, results } from "./results.js";
import { administration, isAdmin, onAdmin } from "./admin.js";

const VIEWS = { join, lobby, market, trade, competition, wall, operations, administration, console: teacherConsole, results, report };
const main = document.getElementById("main"), pill = document.getElementById("connection"), theme = document.getElementById("theme");
let view = null;

function paint(name) {
  document.documentElement.dataset.theme = name;
  theme.title = name === "dark" ? "Switch to the light theme" : "Switch to the dark theme";
  view?.repaint?.();
}
const dark = matchMedia("(prefers-color-scheme: dark)");
paint(localStorage.getItem("theme") ?? (dark.matches ? "dark" : "light"));
theme.onclick = () => {
  const name = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("theme", name);
  paint(name);
};

function show() {
  // `#join=123456` is the link of the QR code: the view, and its argument.
  const [wanted, argument] = location.hash.slice(1).split("=");
  const name = wanted in VIEWS ? wanted : "market";
  view?.end();
  document.title = "microexchange";
  document.querySelectorAll(".bar nav a").forEach((link) => {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  view = VIEWS[name](main, argument);
  scrollTo(0, 0);
}

const drawAdmin = () => { ["console", "results", "administration"].forEach((name) => { document.querySelector(`.bar a[href='#${name}']`).hidden = !isAdmin(); }); };
drawAdmin();
onAdmin(drawAdmin);

document.getElementById("clock").replaceWith(createClock().element);
document.getElementById("toasts").before(createTicker().element);
followSession();
feed.onState((connected) => {
  pill.textContent = connected ? "live" : "connecting";
  pill.className = `pill ${connected ? "good" : "bad"}`;
});

for (;;) {
  try {
    await load();
    break;
  } catch (error) {
    main.replaceChildren(el("p", { class: "empty" }, `No answer from the feed (${error.message}). Retrying …`));
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}
document.querySelector('.bar nav a[href="#lobby"]').hidden = !classroom;
if (classroom && !loggedIn() && !location.hash) location.replace("#join");
feed.start();
restoreSession();
addEventListener("hashchange", show);
addEventListener("unhandledrejection", (event) => toast(event.reason?.message ?? "Unexpected error.", true));
show();
