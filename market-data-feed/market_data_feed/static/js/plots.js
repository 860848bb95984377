// Plots with plotly, in the colours of the theme.
import { el } from "./page.js";
import { separators } from "./format.js";

let plotly;
/** The places whose size is watched. A plot in a place that was hidden has no size of its own. */
const observed = new WeakSet();

/** Return Plotly. The first plot loads it, and the next one tries again if that failed. */
function loadPlotly() {
  plotly ??= new Promise((resolve, reject) => {
    document.head.append(el("script", { src: "/dashboard/plotly.js", onload: () => resolve(window.Plotly), onerror: () => { plotly = undefined; reject(new Error("The charts could not be loaded.")); } }));
  });
  return plotly;
}

export function colours() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "line", "card", "buy", "sell", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** Draw traces into `place` in the colours of the theme. */
export async function plot(place, traces, layout = {}, config = {}) {
  const Plotly = await loadPlotly();
  if (!place.isConnected) return;
  const c = colours(), size = Math.max(12, 0.8 * parseFloat(getComputedStyle(document.body).fontSize));
  const axis = { gridcolor: c.line, zerolinecolor: c.line, linecolor: c.line, automargin: true };
  await Plotly.react(place, traces, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", uirevision: "keep", separators: separators(),
    margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false, hovermode: "x unified", hoverlabel: { bgcolor: c.card, bordercolor: c.line, font: { color: c.ink } },
    ...layout, font: { color: c.soft, size, ...layout.font }, xaxis: { ...axis, tickangle: 0, nticks: Math.max(3, Math.floor(place.clientWidth / (9 * size))), ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis }, ...(layout.yaxis2 ? { yaxis2: { ...axis, ...layout.yaxis2 } } : {}),
  }, { responsive: true, displayModeBar: false, ...config });
  if (observed.has(place)) return;
  observed.add(place);
  new ResizeObserver(() => { if (place.isConnected && place.clientWidth) Plotly.Plots.resize(place); }).observe(place);
}

/** Return a line through points of time. A line of one or two points has markers. */
export function line(points, colour, name, width = 2) {
  return { x: points.map(([x]) => x), y: points.map(([, y]) => y), name, type: "scatter", mode: points.length < 3 ? "lines+markers" : "lines", line: { color: colour, width } };
}

/** Return the range of an axis of time. It ends with the last of `times` and covers at least so many seconds. */
export function timeRange(seconds, times) {
  if (!times.length) return undefined;
  const last = new Date(times.at(-1)).getTime(), first = Math.min(new Date(times[0]).getTime(), last - seconds * 1000);
  return [new Date(first), new Date(last + seconds * 40)];
}
