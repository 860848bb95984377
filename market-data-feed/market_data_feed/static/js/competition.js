// Competition: the leaderboard and the leaders' equity, in the page or full screen.
import { ask, timeRange, el, fill, grouped, line, money, percent, plot, sign, signed, onNextFrame, table, toast } from "./page.js";
import { listen } from "./feed.js";
import { session } from "./session.js";

const MAX_CURVES = 8, REFRESH_MS = 5000;
const PALETTE = ["#4c8bf5", "#e8833a", "#2ea66f", "#c65bcf", "#d94f4f", "#18a3b5", "#a58b2d", "#8a7be0"];

export function competition(main, fullScreen = false) {
  let leaders = [], curves = [], house = localStorage.getItem("house") === "shown";
  const columns = [["#", true], ["Client"], ["Profit", true], ["Return", true], ["Equity", true], ...(fullScreen ? [] : [["Drawdown", true], ["Sharpe", true], ["Trades", true]])];
  const board = table(columns, { class: "board", label: "Leaderboard" });
  const place = el("div", { class: "plot", role: "img", "aria-label": "Equity of the leaders over time" });
  const link = el("a", { href: fullScreen ? "#competition" : "#wall" }, fullScreen ? "Exit full screen" : "Full screen");
  const withHouse = el("input", { type: "checkbox", checked: house, onchange: () => {
    house = withHouse.checked;
    localStorage.setItem("house", house ? "shown" : "hidden");
    draw();
    loadCurves();
  } });
  const tools = el("span", { class: "tools" }, el("label", { class: "tick" }, withHouse, "House bots"), link);
  const note = el("p", { class: "soft", hidden: fullScreen }, "Profit is equity less the opening balance and later deposits, with shares at their prices at that time. Drawdown is the largest fall of the profit from a peak. Sharpe is the mean change of the profit in five seconds, divided by its standard deviation.");
  main.replaceChildren(el("div", { class: "grid competition" },
    el("section", { class: "card" }, el("header", {}, el(fullScreen ? "h1" : "h2", {}, "Leaderboard"), tools), board.element, note),
    el("section", { class: "card" }, el("header", {}, el(fullScreen ? "h1" : "h2", {}, "Equity of the leaders")), place)));
  document.body.classList.toggle("full-screen", fullScreen);

  const shown = () => (house ? leaders : leaders.filter((leader) => !leader.house).map((leader, place) => ({ ...leader, rank: place + 1 })));
  const draw = () => fill(board.body, shown().slice(0, fullScreen ? 15 : 100).map((leader) => el("tr", { "aria-current": leader.client_id === session.client ? "true" : null },
    el("td", { class: "num" }, leader.rank), el("td", {}, leader.client_id === session.client ? el("strong", {}, leader.client_id) : leader.client_id, leader.house ? el("small", { class: "soft" }, " house") : null),
    el("td", { class: `num ${sign(leader.profit)}` }, signed(leader.profit)),
    el("td", { class: `num ${sign(leader.return_percent)}` }, percent(leader.return_percent)), el("td", { class: "num" }, money(leader.equity)),
    fullScreen ? [] : [el("td", { class: "num" }, money(leader.drawdown)), el("td", { class: "num" }, grouped(leader.sharpe)), el("td", { class: "num" }, grouped(leader.trades))])), columns.length,
    leaders.length ? "Only house bots have accounts." : "No accounts yet.");
  const drawCurves = () => plot(place, curves.map(({ client_id: name, points }, number) => line(points.map((point) => [point.timestamp, Number(point.equity)]), PALETTE[number % PALETTE.length], name, fullScreen ? 3 : 2)),
    { showlegend: true, legend: { orientation: "h", y: -0.15, font: { size: fullScreen ? 18 : 12 } }, hovermode: "closest", xaxis: { type: "date", range: timeRange(60, curves.flatMap(({ points }) => points.map((point) => point.timestamp)).sort()) }, yaxis: { tickformat: ",.2f", side: "right" }, font: { size: fullScreen ? 18 : 12 } });
  const loadCurves = () => ask(`/leaderboard/equity?limit=${MAX_CURVES}&house=${house}`).then((all) => { curves = all; drawCurves(); }).catch((error) => toast(error.message, true));
  const end = listen({ channel: "leaderboard" }, (message) => { leaders = message.leaders; onNextFrame(draw); });
  const timer = setInterval(loadCurves, REFRESH_MS);
  draw();
  loadCurves();
  return { end() { end(); clearInterval(timer); document.body.classList.remove("full-screen"); }, repaint: drawCurves };
}
