// Operations: rates, latencies, lag and health of each service, rejects.
import { ask, colours, el, fill, grouped, line, plot, table, toast } from "./page.js";

const NAMES = {
  gateway_in_to_log: "Gateway in to log", log_to_engine_in: "Log to engine in", engine_in_to_out: "Engine in to engine out",
  engine_out_to_feed_in: "Engine out to feed in", feed_in_to_out: "Feed in to feed out", gateway_in_to_feed_out: "All of it",
};

export function operations(main) {
  const figure = (name) => { const value = el("div", { class: "value" }, "–"); return [value, el("section", { class: "card figure" }, el("div", { class: "soft" }, name), value)]; };
  const [rate, rateCard] = figure("Orders per second"), [orders, ordersCard] = figure("Orders"), [trades, tradesCard] = figure("Trades"), [settled, settledCard] = figure("Settled"), [faults, faultsCard] = figure("Settlement faults");
  const place = el("div", { class: "plot small", role: "img", "aria-label": "Orders and trades per second, the last five minutes" });
  const latencies = table([["From, to"], ["p50", true], ["p95", true], ["p99", true]], { label: "Latency" });
  const services = table([["Service"], ["State"], ["Log offset", true], ["Lag", true]], { label: "Services" });
  const rejects = table([["Reason"], ["Orders", true]], { label: "Rejects by reason" });
  main.replaceChildren(el("div", { class: "grid" }, el("div", { class: "figures" }, rateCard, ordersCard, tradesCard, settledCard, faultsCard),
    el("section", { class: "card" }, el("header", {}, el("h2", {}, "Orders and trades per second")), place),
    el("div", { class: "grid two" }, el("section", { class: "card" }, el("header", {}, el("h2", {}, "Services")), services.element),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Latency")), latencies.element),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Rejected orders")), rejects.element))));
  let rates = [];

  const drawRates = () => {
    const c = colours(), x = rates.map(({ at }) => new Date(at * 1000));
    const of = (field, colour) => line(rates.map((one, number) => [x[number], one[field]]), colour, field);
    plot(place, [of("orders", c.accent), of("trades", c.buy)], { showlegend: true, legend: { orientation: "h", y: 1.15 }, xaxis: { type: "date" }, yaxis: { rangemode: "tozero", nticks: 5 } });
  };
  /** How many records a service has not taken in, of what the others have made. */
  const lagOf = (name, all) => {
    const engine = all["matching-engine"]?.status, clearing = all["clearinghouse"]?.status, feed = all["market-data-feed"]?.status;
    if (name === "clearinghouse" && engine && clearing) return engine.instruction_sequence - clearing.instruction_sequence;
    if (name === "market-data-feed" && engine && feed) return engine.report_sequence - (feed.sequences?.engine ?? 0);
    return null;
  };
  const look = async () => {
    const [how, stats] = await Promise.all([ask("/operations"), ask("/stats")]);
    rates = how.rates;
    rate.textContent = rates.length ? grouped(rates.at(-1).orders.toFixed(0)) : "–";
    for (const [value, field] of [[orders, "orders"], [trades, "trades"], [settled, "settled"], [faults, "settlement_faults"]]) value.textContent = grouped(stats[field]);
    faults.className = stats.settlement_faults ? "value sell" : "value";
    drawRates();
    const ms = (value) => (value === null ? "–" : `${value.toFixed(1)} ms`);
    fill(latencies.body, Object.entries(how.latency_ms).map(([name, one]) => el("tr", {}, el("td", {}, NAMES[name] ?? name), ["p50", "p95", "p99"].map((field) => el("td", { class: "num" }, ms(one[field]))))), 4, "Nothing was measured yet.");
    fill(services.body, Object.entries(how.services).sort().map(([name, one]) => {
      const reasons = Object.values(one.waiting_for), lag = lagOf(name, how.services);
      return el("tr", {}, el("td", {}, name), el("td", {}, el("span", { class: `pill ${reasons.length ? (one.alive ? "warn" : "bad") : "good"}` }, reasons.length ? reasons.join("; ") : "ready")),
        el("td", { class: "num" }, grouped(one.status.offset ?? null)), el("td", { class: "num" }, lag === null ? "–" : grouped(Math.max(lag, 0))));
    }), 4, "No service is known.");
    fill(rejects.body, Object.entries(how.rejects).sort((a, b) => b[1] - a[1]).map(([code, count]) => el("tr", {}, el("td", {}, code), el("td", { class: "num" }, grouped(count)))), 2, "No order was rejected.");
  };
  let told = false;
  const again = () => look().then(() => { told = false; }).catch((error) => { if (!told) toast(error.message, true); told = true; });
  const timer = setInterval(again, 1000);
  again();
  return { end() { clearInterval(timer); }, repaint: drawRates };
}
