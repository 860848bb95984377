// Results: the grades of all rounds or of one, the market of a round, its replay, and reports for print. For the admin.
import { el, field, fill, table, toast } from "./page.js";
import { money, number, percent, sign, signedMoney } from "./format.js";
import { adminPage, adminRequest } from "./admin.js";
import { colours, plot } from "./plots.js";
import * as rounds from "./rounds.js";

const COLUMNS = [["Rank", "rank", number, true], ["Name", "nickname", String, false], ["Team", "team", String, false], ["Profit", "profit", signedMoney, true], ["Return", "return_percent", percent, true], ["Orders", "orders", number, true],
  ["Trades", "trades", number, true], ["Fill ratio", "fill_ratio", number, true], ["Efficiency", "efficiency", number, true], ["Tasks", "tasks_met", number, true]];

/** Show the results. `argument` is empty, or the number of a round. */
export const results = (main, argument) => adminPage(main, "Results", "", (place) => panel(place, argument));
/** Show the report of a client, or of the class. */
export const report = (main, argument) => adminPage(main, "Report", "", (place) => printed(place, decodeURIComponent(argument || "class")));

const cellOf = (row, [, key, format, isNumber]) => el("td", { class: `${isNumber ? "num" : ""} ${key === "profit" ? sign(row.profit) : ""}` },
  key === "tasks_met" ? (row.tasks ? `${row.tasks_met} of ${row.tasks}` : "–") : row[key] === null || row[key] === "" ? "–" : format(row[key]));

/** Download a file of the admin. */
async function download(path, name) {
  const url = URL.createObjectURL(await adminRequest("GET", path, undefined, "blob"));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function panel(main, argument) {
  const choice = el("select", { onchange: () => { location.hash = choice.value ? `results=${choice.value}` : "results"; } });
  let key = "rank", direction = 1, rows = [];
  const sortBy = (name) => { direction = key === name ? -direction : 1; key = name; draw(); };
  const grid = table(COLUMNS.map(([text, name, , isNumber]) => [el("button", { type: "button", class: "link", onclick: () => sortBy(name) }, text), isNumber]), { label: "Grades" });
  const teams = table([["Rank", true], ["Team"], ["Members", true], ["Profit", true], ["For a member", true]], { label: "Teams" });
  const teamCard = el("section", { class: "card", hidden: true }, el("header", {}, el("h2", {}, "Teams")), teams.element), markets = el("div", { class: "grid" });
  const file = (path, name) => el("button", { type: "button", onclick: () => download(path, name).catch((error) => toast(error.message, true)) }, name);

  function draw() {
    const sorted = [...rows].sort((a, b) => direction * (typeof a[key] === "number" || key !== "nickname" && key !== "team" ? Number(a[key] ?? -Infinity) - Number(b[key] ?? -Infinity) : a[key].localeCompare(b[key])));
    fill(grid.body, sorted.map((row) => el("tr", {}, COLUMNS.map((column) => (column[1] === "nickname" ? el("td", {}, el("a", { href: `#report=${encodeURIComponent(row.client_id)}` }, row.nickname)) : cellOf(row, column))))), COLUMNS.length, "No round that counts has ended.");
  }

  async function load() {
    const { session } = rounds;
    const names = (session?.rounds ?? []).map((round, index) => [String(index + 1), `${round.name}${round.practice ? " (practice)" : ""}`]);
    choice.replaceChildren(...[["", "All rounds that count"], ...names].map(([value, text]) => el("option", { value, selected: value === (argument ?? "") }, text)));
    if (!session) { draw(); return; }
    // A round without a result is no error: the table is empty.
    rows = await adminRequest("GET", argument ? `/rounds/${argument}/scores` : "/grades").catch((error) => { if (error.code === "NOT_FOUND") return []; throw error; });
    draw();
    const found = await adminRequest("GET", "/grades/teams");
    teamCard.hidden = !found.length || Boolean(argument);
    fill(teams.body, found.map((one) => el("tr", {}, el("td", { class: "num" }, number(one.rank)), el("td", {}, one.team), el("td", { class: "num" }, number(one.members)), el("td", { class: `num ${sign(one.profit)}` }, signedMoney(one.profit)), el("td", { class: "num" }, signedMoney(one.profit_per_member)))), 5, "");
    if (argument && rows.length) await showMarkets(markets, argument);
  }
  const safely = () => load().catch((error) => toast(error.message, true));
  let state = "";
  const off = rounds.onSession(() => { const newest = `${rounds.session?.session_id} ${rounds.session?.round} ${rounds.session?.state}`; if (newest !== state) { state = newest; safely(); } });
  main.replaceChildren(el("div", { class: "grid results-page" }, el("header", { class: "quote" }, el("h1", {}, "Results"), field("Round", choice), el("div", { class: "choice" }, file("/grades.csv", "grades.csv"), file("/grades/teams.csv", "teams.csv"), el("a", { href: "#report=class" }, "Report of the class"))),
    el("section", { class: "card" }, grid.element), teamCard, markets));
  return off;
}

/** Show the trades, the equilibrium and the replay of each security of a round. */
async function showMarkets(place, round) {
  const found = await adminRequest("GET", `/rounds/${round}/market`);
  place.replaceChildren(...found.map(({ symbol, trades, equilibrium }) => {
    const chart = el("div", { class: "plot small" }), steps = el("div", { class: "plot small" }), c = colours();
    const lines = equilibrium?.lowest_price ? [equilibrium.lowest_price, equilibrium.highest_price].map((price) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: Number(price), y1: Number(price), line: { color: c.accent, dash: "dash" } })) : [];
    const facts = equilibrium ? [["Equilibrium price", equilibrium.lowest_price ? `${number(equilibrium.lowest_price)} to ${number(equilibrium.highest_price)}` : "–"], ["Units", number(equilibrium.quantity)], ["Efficiency", number(equilibrium.efficiency)], ["Smith's alpha", equilibrium.alpha ? `${number(equilibrium.alpha)} %` : "–"]] : [];
    const card = el("section", { class: "card", "aria-label": `Market of ${symbol}` }, el("header", {}, el("h2", {}, symbol), el("span", { class: "soft" }, `${number(trades.length)} trades`)),
      el("dl", { class: "facts" }, facts.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)))), el("div", { class: equilibrium ? "grid two" : "grid" }, chart, equilibrium ? steps : null), replayOf(symbol, round));
    setTimeout(() => {
      plot(chart, [{ x: trades.map(([seconds]) => seconds / 60), y: trades.map(([, price]) => Number(price)), type: "scatter", mode: "lines+markers", name: "Price", line: { color: c.accent } }], { shapes: lines, xaxis: { title: { text: "minutes" } } });
      if (equilibrium) plot(steps, [stepsOf(equilibrium.demand, "Demand", c.buy), stepsOf(equilibrium.supply, "Supply", c.sell)], { shapes: lines, showlegend: true, xaxis: { title: { text: "units" } } });
    });
    return card;
  }));
}

function stepsOf(prices, name, colour) {
  const y = prices.map(Number);
  return { x: [...y.keys(), y.length], y: [...y, y.at(-1)], name, type: "scatter", mode: "lines", line: { shape: "hv", color: colour } };
}

/** Return the replay of a round: a slider of time, and the book at that time. It loads when it is opened. */
function replayOf(symbol, round) {
  const slider = el("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": `Time of the replay of ${symbol}` }), facts = el("p", { class: "num", role: "status" }), book = table([["Bid quantity", true], ["Bid", true], ["Ask", true], ["Ask quantity", true]], { label: `Book of ${symbol}` });
  let frames = [];
  const draw = () => {
    const frame = frames[Number(slider.value)];
    if (!frame) return;
    facts.textContent = `${Math.floor(frame.seconds / 60)}:${String(Math.floor(frame.seconds) % 60).padStart(2, "0")} · last price ${number(frame.last_price)} · ${number(frame.trades)} trades`;
    const cell = (level, index) => el("td", { class: "num" }, level ? number(level[index]) : "");
    fill(book.body, [0, 1, 2, 3, 4].map((place) => el("tr", {}, cell(frame.bids[place], 1), cell(frame.bids[place], 0), cell(frame.asks[place], 0), cell(frame.asks[place], 1))), 4, "");
  };
  slider.oninput = draw;
  const load = async () => {
    frames = await adminRequest("GET", `/rounds/${round}/replay/${encodeURIComponent(symbol)}`);
    slider.max = frames.length - 1;
    draw();
  };
  return el("details", { class: "replay", ontoggle: (event) => { if (event.currentTarget.open && !frames.length) load().catch((error) => toast(error.message, true)); } }, el("summary", {}, "Replay"), slider, facts, book.element);
}

/** Show a report that can be printed: of one client, or of the class. */
function printed(main, who) {
  const body = el("div", { class: "report" });
  main.replaceChildren(body);
  const off = rounds.onSession(() => {
    if (rounds.session) show(body, who).catch((error) => toast(error.message, true));
  });
  return off;
}

async function show(body, who) {
  const { session } = rounds, all = await adminRequest("GET", "/grades"), wanted = who === "class" ? all : all.filter((row) => row.client_id === who);
  const parts = await Promise.all(session.rounds.map((round, index) => adminRequest("GET", `/rounds/${index + 1}/scores`).then((rows) => [round, rows], () => [round, []])));
  const title = who === "class" ? "Report of the class" : `Report of ${wanted[0]?.nickname ?? who}`;
  const gradesOf = (name, rows) => {
    const shown = table(COLUMNS.map(([text, , , isNumber]) => [text, isNumber]), { label: name });
    fill(shown.body, rows.map((row) => el("tr", {}, COLUMNS.map((column) => cellOf(row, column)))), COLUMNS.length, "No result.");
    return el("section", { class: "card" }, el("header", {}, el("h2", {}, name)), shown.element);
  };
  const best = all[0] ? el("p", {}, `${all.length} people took part. The best profit is ${money(all[0].profit)}, by ${all[0].nickname}.`) : "";
  body.replaceChildren(el("header", { class: "quote" }, el("h1", {}, title), el("span", { class: "soft" }, `${session.name}, ${new Date().toLocaleDateString()}`), el("button", { type: "button", class: "no-print", onclick: () => print() }, "Print"), el("a", { class: "no-print", href: "#results" }, "Results")), who === "class" ? best : "",
    gradesOf("All rounds that count", wanted), ...parts.filter(([, rows]) => rows.length).map(([round, rows]) => gradesOf(`${round.name}${round.practice ? " (practice)" : ""}`, who === "class" ? rows : rows.filter((row) => row.client_id === who))));
}
