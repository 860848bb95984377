// Competition: the leaderboard and the changes of the leaders' equity.
import { ask, el, fill, onNextFrame, table, toast } from "./page.js";
import { money, number, percent, sign, signedMoney } from "./format.js";
import { line, plot, timeRange } from "./plots.js";
import { listen } from "./feed.js";
import { session } from "./session.js";

const SHOWN = 100, MAX_CURVES = 8, REFRESH_MS = 5000;
const PALETTE = ["#4c8bf5", "#e8833a", "#2ea66f", "#c65bcf", "#d94f4f", "#18a3b5", "#a58b2d", "#8a7be0"];

export function competition(main) {
  let leaders = [], curves = [], house = localStorage.getItem("house") === "shown";
  const columns = [["#", true], ["Client"], ["Profit", true], ["Return", true], ["Equity", true], ["Drawdown", true], ["Sharpe", true], ["Trades", true]];
  const board = table(columns, { class: "board", label: "Leaderboard" });
  const place = el("div", { class: "plot", role: "img", "aria-label": "Change of the leaders' equity over time" });
  const link = el("a", { href: "#wall" }, "Full screen");
  const withHouse = el("input", { type: "checkbox", checked: house, onchange: () => {
    house = withHouse.checked;
    localStorage.setItem("house", house ? "shown" : "hidden");
    draw();
    loadCurves();
  } });
  const tools = el("span", { class: "tools" }, el("label", { class: "tick" }, withHouse, "House bots"), link);
  const note = el("p", { class: "soft" }, "Profit is equity less the opening balance and later deposits, with shares at their prices at that time. Drawdown is the largest fall of the profit from a peak. Sharpe is the mean change of the profit in five seconds, divided by its standard deviation.");
  main.replaceChildren(el("h1", { class: "hidden" }, "Competition"), el("div", { class: "grid competition" },
    el("section", { class: "card" }, el("header", {}, el("h2", {}, "Leaderboard"), tools), board.element, note),
    el("section", { class: "card" }, el("header", {}, el("h2", {}, "Change of the leaders' equity")), place)));

  const shown = () => (house ? leaders : leaders.filter((leader) => !leader.house).map((leader, index) => ({ ...leader, rank: index + 1 })));
  const draw = () => fill(board.body, shown().slice(0, SHOWN).map((leader) => el("tr", { "aria-current": leader.client_id === session.client ? "true" : null },
    el("td", { class: "num" }, leader.rank), el("td", {}, leader.client_id === session.client ? el("strong", {}, leader.nickname) : leader.nickname, leader.house ? el("small", { class: "soft" }, " house") : null),
    el("td", { class: `num ${sign(leader.profit)}` }, signedMoney(leader.profit)),
    el("td", { class: `num ${sign(leader.return_percent)}` }, percent(leader.return_percent)), el("td", { class: "num" }, money(leader.equity)),
    el("td", { class: "num" }, money(leader.drawdown)), el("td", { class: "num" }, number(leader.sharpe)), el("td", { class: "num" }, number(leader.trades)))), columns.length,
    leaders.length ? "Only house bots have accounts." : "No accounts yet.");
  /** Return the name of a curve. Plotly would read a nickname with tags as markup. */
  const nameOf = (client) => (leaders.find((leader) => leader.client_id === client)?.nickname ?? client).replace(/&/g, "&amp;").replace(/</g, "&lt;");
  // Accounts begin with different amounts. Their changes have one scale.
  const drawCurves = () => plot(place, curves.map(({ client_id: client, points }, index) => line(points.map((point) => [point.timestamp, Number(point.equity) - Number(points[0].equity)]), PALETTE[index % PALETTE.length], nameOf(client))),
    { showlegend: true, legend: { orientation: "h", y: -0.15, font: { size: 12 } }, hovermode: "closest", xaxis: { type: "date", range: timeRange(60, curves.flatMap(({ points }) => points.map((point) => point.timestamp)).sort()) }, yaxis: { tickformat: ",.2f", side: "right" } });
  const loadCurves = () => ask(`/leaderboard/equity?limit=${MAX_CURVES}&house=${house}`).then((all) => { curves = all; drawCurves(); }).catch((error) => toast(error.message, true));
  const end = listen({ channel: "leaderboard" }, (message) => {
    if (!leaders.length && curves.length) onNextFrame(drawCurves); // now they have names
    leaders = message.leaders;
    onNextFrame(draw);
  });
  const timer = setInterval(loadCurves, REFRESH_MS);
  draw();
  loadCurves();
  return { end() { end(); clearInterval(timer); }, repaint: drawCurves };
}
