// The page: the view that the address's # names, the theme, and the state of the connection.
import { el, toast } from "./page.js";
import * as feed from "./feed.js";
import { load } from "./securities.js";
import { restoreSession } from "./session.js";
import { market } from "./market.js";
import { trade } from "./trade.js";
import { competition } from "./competition.js";
import { operations } from "./operations.js";

const VIEWS = { market, trade, competition, wall: (main) => competition(main, true), operations };
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
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "market";
  view?.end();
  document.title = "microexchange";
  document.querySelectorAll(".bar nav a").forEach((link) => {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  view = VIEWS[name](main);
  scrollTo(0, 0);
}

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
feed.start();
restoreSession();
addEventListener("hashchange", show);
addEventListener("unhandledrejection", (event) => toast(event.reason?.message ?? "Unexpected error.", true));
show();
