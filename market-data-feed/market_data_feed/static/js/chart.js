// The price chart: candles that pan and zoom, volume, a moving average, the last price, and the client's own fills.
import { ask, el, throttle, toast } from "./page.js";
import { number } from "./format.js";
import { colours, plot } from "./plots.js";
import { listen } from "./feed.js";
import { placesOf } from "./securities.js";

const INTERVALS = { "1s": 1, "1m": 60, "5m": 300, "1h": 3600, "1d": 86400 };
const AVERAGE_LENGTH = 20, SHOWN = 80, FEWEST = 12, LOADED = 500;

/** Return a chart. `fills(symbol)` returns the client's fills of a security as {timestamp, price, side}. */
export function createChart(fills = () => []) {
  let symbol = "", interval = localStorage.getItem("interval") ?? "1m", candles = [], ends = [], view = 0, listensToPlot = false;
  const place = el("div", { class: "plot candles", role: "img", "aria-label": "Candles and volume" });
  const title = el("h2", {}, "Price"), quote = el("span", { class: "ohlc num soft" });
  const choices = Object.keys(INTERVALS).map((one) => el("button", { type: "button", class: "small", onclick: () => choose(one) }, one));
  const latest = el("button", { type: "button", class: "small", title: "Return to the newest candles", onclick: () => { view += 1; draw(); } }, "Latest");
  const element = el("section", { class: "card" }, el("header", {}, title, quote,
    el("span", { class: "choice", role: "group", "aria-label": "Interval" }, choices, latest)), place);

  const choose = (one) => {
    interval = one;
    localStorage.setItem("interval", one);
    follow(symbol);
  };

  /** Show the prices of one candle: the one below the pointer, or the newest. */
  const drawQuote = (index = candles.length - 1) => {
    const candle = candles[index];
    quote.textContent = candle ? `O ${number(candle.open)}  H ${number(candle.high)}  L ${number(candle.low)}  C ${number(candle.close)}  V ${number(candle.volume)}` : "";
  };

  /** Return the range of the axis of time for the newest candles. A young market fills the chart too. */
  const newestRange = () => {
    const width = INTERVALS[interval] * 1000, last = Date.parse(candles.at(-1).start), first = Date.parse(candles[0].start);
    const from = Math.max(last - SHOWN * width, Math.min(first, last - FEWEST * width));
    return [new Date(from - width), new Date(last + Math.max(2, (last - from) / width / 20) * width)];
  };

  /** Return the range of prices that are visible between two times. */
  const priceRange = ([from, to]) => {
    const begin = new Date(from).getTime() - INTERVALS[interval] * 1000, end = new Date(to).getTime();
    const seen = candles.filter((candle) => Date.parse(candle.start) >= begin && Date.parse(candle.start) <= end);
    const shown = seen.length ? seen : candles;
    const low = Math.min(...shown.map((candle) => Number(candle.low))), high = Math.max(...shown.map((candle) => Number(candle.high)));
    const margin = (high - low || high * 0.01) * 0.08;
    return [low - margin, high + margin];
  };

  const drawNow = async () => {
    const c = colours(), of = (name) => candles.map((candle) => candle[name]), x = of("start"), revision = `${symbol} ${interval} ${view}`;
    const isPanned = place.layout?.uirevision === revision && place.layout.xaxis.range && place.dataset.panned === revision;
    const range = !candles.length ? undefined : isPanned ? place.layout.xaxis.range : newestRange();
    const last = candles.at(-1)?.close;
    latest.hidden = !isPanned;
    drawQuote();
    await plot(place, [
      { type: "candlestick", x, open: of("open"), high: of("high"), low: of("low"), close: of("close"), name: symbol, hoverinfo: "none", increasing: { line: { color: c.buy, width: 1 } }, decreasing: { line: { color: c.sell, width: 1 } } },
      { type: "bar", x, y: of("volume").map(Number), name: "Volume", yaxis: "y2", hoverinfo: "none", marker: { color: candles.map((one) => (Number(one.close) < Number(one.open) ? c.sell : c.buy)), opacity: 0.45 } },
      { type: "scatter", mode: "lines", ...movingAverage(candles), name: `Average of ${AVERAGE_LENGTH}`, hoverinfo: "none", line: { color: c.accent, width: 1.5 } },
      ...fillMarkers(fills(symbol), x[0], c),
    ], {
      uirevision: revision, dragmode: "pan", hovermode: "x",
      xaxis: { rangeslider: { visible: false }, type: "date", anchor: "y2", range, showspikes: true, spikemode: "across", spikethickness: 1, spikecolor: c.soft, spikedash: "dot" },
      yaxis: { domain: [0.24, 1], side: "right", tickformat: `,.${placesOf(symbol)}f`, fixedrange: true, range: range && priceRange(range) },
      yaxis2: { domain: [0, 0.18], side: "right", nticks: 3, fixedrange: true },
      shapes: last ? [{ type: "line", xref: "paper", x0: 0, x1: 1, y0: Number(last), y1: Number(last), line: { color: c.soft, width: 1, dash: "dash" } }] : [],
      annotations: last ? [{ xref: "paper", x: 1, xanchor: "right", y: Number(last), yanchor: "bottom", text: number(last), showarrow: false, font: { color: c.ink }, bgcolor: c.card }]
        : [{ text: "No trades in this period", showarrow: false, xref: "paper", yref: "paper", x: 0.5, y: 0.6, font: { size: 14, color: c.soft } }],
    }, { scrollZoom: true, doubleClick: false });
    listenToPlot();
  };
  const draw = throttle(500, () => drawNow());

  const listenToPlot = () => {
    if (listensToPlot || !place.on) return;
    listensToPlot = true;
    place.on("plotly_hover", ({ points }) => drawQuote(points[0].pointIndex));
    place.on("plotly_unhover", () => drawQuote());
    place.on("plotly_doubleclick", () => { view += 1; draw(); });
    place.on("plotly_relayout", (change) => {
      if (!Object.keys(change).some((name) => name.startsWith("xaxis.range"))) return;
      place.dataset.panned = `${symbol} ${interval} ${view}`;
      draw();
    });
  };

  const follow = (next) => {
    ends.forEach((end) => end());
    symbol = next;
    title.textContent = `Price of ${symbol}`;
    candles = [];
    const at = interval;
    choices.forEach((one) => one.setAttribute("aria-pressed", one.textContent === interval));
    draw();
    ends = [listen({ channel: "candles", symbol, interval }, ({ candle }) => {
      if (!candle) return;
      if (candles.at(-1)?.start === candle.start) candles[candles.length - 1] = candle;
      else candles.push(candle);
      if (candles.length > 2 * LOADED) candles = candles.slice(-LOADED);
      draw();
    })];
    ask(`/candles/${symbol}?interval=${interval}&limit=${LOADED}`).then((page) => {
      if (next !== symbol || at !== interval) return;
      // Minutes would leave the chart of a young market nearly empty. The choice of the user has precedence.
      if (interval === "1m" && page.length && page.length < FEWEST && !localStorage.getItem("interval")) { interval = "1s"; follow(symbol); return; }
      candles = [...page, ...candles.filter((candle) => !page.length || candle.start > page.at(-1).start)];
      draw();
    }).catch((error) => toast(error.message, true));
  };

  return { element, follow, repaint: draw, end() { ends.forEach((end) => end()); } };
}

/** Return the mean close of the last candles at each candle. The first candles have none. */
function movingAverage(candles) {
  const closes = candles.map((candle) => Number(candle.close)), x = [], y = [];
  let sum = 0;
  closes.forEach((close, index) => {
    sum += close - (closes[index - AVERAGE_LENGTH] ?? 0);
    if (index < AVERAGE_LENGTH - 1) return;
    x.push(candles[index].start);
    y.push(sum / AVERAGE_LENGTH);
  });
  return { x, y };
}

/** Return a trace for the own purchases and one for the own sales since `begin`. */
function fillMarkers(fills, begin, c) {
  return [["buy", "triangle-up", "Your purchases"], ["sell", "triangle-down", "Your sales"]].map(([side, symbol, name]) => {
    const own = fills.filter((fill) => fill.side === side && fill.timestamp >= (begin ?? ""));
    return { type: "scatter", mode: "markers", name, x: own.map((fill) => fill.timestamp), y: own.map((fill) => Number(fill.price)),
      hovertemplate: own.map((fill) => `${name}: ${number(fill.quantity)} at ${number(fill.price)}<extra></extra>`),
      marker: { symbol, size: 11, color: c[side], line: { color: c.ink, width: 1 } } };
  });
}
