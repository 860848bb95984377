// Operations: rates, latencies, rejects, and the lag and health of each service.
import { ask, el, figure, fill, table, toast } from "./page.js";
import { number } from "./format.js";
import { colours, line, plot } from "./plots.js";

const NAMES = {
  gateway_in_to_log: "Gateway to log", log_to_engine_in: "Log to engine", engine_in_to_out: "Engine",
  engine_out_to_feed_in: "Engine to feed", feed_in_to_out: "Feed", gateway_in_to_feed_out: "Total",
};

export function operations(main) {
  const card = (name) => figure(name, "section", { class: "card" });
  const [rate, rateCard] = card("Orders per second"), [orders, ordersCard] = card("Orders"), [trades, tradesCard] = card("Trades"), [settled, settledCard] = card("Settled"), [faults, faultsCard] = card("Settlement faults");
  const place = el("div", { class: "plot small", role: "img", "aria-label": "Orders and trades per second in the last five minutes" });
  const latencies = table([["Stage"], ["p50", true], ["p95", true], ["p99", true]], { label: "Latency" });
  const services = table([["Service"], ["State"], ["Log offset", true], ["Lag", true]], { label: "Services" });
  const rejects = table([["Reason"], ["Orders", true]], { label: "Rejects by reason" });
  main.replaceChildren(el("h1", { class: "hidden" }, "Operations"), el("div", { class: "grid" }, el("div", { class: "figures" }, rateCard, ordersCard, tradesCard, settledCard, faultsCard),
    el("section", { class: "card" }, el("header", {}, el("h2", {}, "Orders and trades per second")), place),
    el("div", { class: "grid two" }, el("section", { class: "card" }, el("header", {}, el("h2", {}, "Services")), services.element),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Latency")), latencies.element),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Rejected orders")), rejects.element)),
    el("p", { class: "soft" }, el("a", { href: "#administration" }, "Administration"), " needs the admin token.")));
  let rates = [];

  const drawRates = () => {
    const c = colours(), x = rates.map(({ at }) => new Date(at * 1000));
    const of = (field, colour) => line(rates.map((one, index) => [x[index], one[field]]), colour, field);
    plot(place, [of("orders", c.accent), of("trades", c.buy)], { showlegend: true, legend: { orientation: "h", y: 1.15 }, xaxis: { type: "date" }, yaxis: { rangemode: "tozero", nticks: 5 } });
  };
  /** The number of records that a service has not read yet; null if it is not known. */
  const lagOf = (name, all) => {
    const engine = all["matching-engine"]?.status, clearing = all["clearinghouse"]?.status, feed = all["market-data-feed"]?.status;
    if (name === "clearinghouse" && engine && clearing) return engine.instruction_sequence - clearing.instruction_sequence;
    if (name === "market-data-feed" && engine && feed) return engine.report_sequence - (feed.sequences?.engine ?? 0);
    return null;
  };
  const load = async () => {
    const [state, stats] = await Promise.all([ask("/operations"), ask("/stats")]);
    rates = state.rates;
    rate.textContent = rates.length ? number(rates.at(-1).orders.toFixed(0)) : "–";
    for (const [value, field] of [[orders, "orders"], [trades, "trades"], [settled, "settled"], [faults, "settlement_faults"]]) value.textContent = number(stats[field]);
    faults.className = stats.settlement_faults ? "value sell" : "value";
    drawRates();
    const ms = (value) => (value === null ? "–" : `${number(value.toFixed(1))} ms`);
    fill(latencies.body, Object.entries(state.latency_ms).map(([name, one]) => el("tr", {}, el("td", {}, NAMES[name] ?? name), ["p50", "p95", "p99"].map((field) => el("td", { class: "num" }, ms(one[field]))))), 4, "No measurements yet.");
    fill(services.body, Object.entries(state.services).sort().map(([name, one]) => {
      const reasons = [...Object.values(one.waiting_for), ...Object.values(one.warnings)], lag = lagOf(name, state.services);
      return el("tr", {}, el("td", {}, name), el("td", {}, el("span", { class: `pill ${reasons.length ? (one.alive ? "warn" : "bad") : "good"}` }, reasons.length ? reasons.join("; ") : "ready")),
        el("td", { class: "num" }, number(one.status.offset ?? null)), el("td", { class: "num" }, lag === null ? "–" : number(Math.max(lag, 0))));
    }), 4, "No services.");
    fill(rejects.body, Object.entries(state.rejects).sort((a, b) => b[1] - a[1]).map(([code, count]) => el("tr", {}, el("td", {}, code), el("td", { class: "num" }, number(count)))), 2, "No rejected orders.");
  };
  let failed = false;
  const refresh = () => load().then(() => { failed = false; }).catch((error) => { if (!failed) toast(error.message, true); failed = true; });
  const timer = setInterval(refresh, 1000);
  refresh();
  return { end() { clearInterval(timer); }, repaint: drawRates };
}
