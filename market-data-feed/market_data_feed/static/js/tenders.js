// Tenders: the offers of the exchange that wait for the user's answer.
import { ask, el, field, toast, whileDisabled } from "./page.js";
import { money, number } from "./format.js";
import { duration } from "./clock.js";
import * as rounds from "./rounds.js";
import * as gate from "./session.js";

const TICK_MS = 250, OVER = ["TENDER_CLOSED", "UNKNOWN_TENDER"];
const NAMES = { buy: "Buy", sell: "Sell" };
const LIMITS = { buy: "at most", sell: "at least" };

/** Send an answer. `price` is the bid of an auction. */
async function send(tender, accept, price) {
  const body = { accept, ...(price === undefined ? {} : { price }) };
  try {
    await ask(`${gate.gateway}/tenders/${tender.tender_id}/answer`, { method: "POST", headers: gate.headers(), body: JSON.stringify(body) });
    toast(!accept ? "Offer declined" : tender.auction ? `Your price ${number(price)} is in the auction. The best price wins when the time is over.` : `${NAMES[tender.side]} ${number(tender.quantity)} ${tender.symbol} at ${number(tender.price)}: accepted`);
    rounds.noteAnswer(tender.tender_id);
  } catch (error) {
    toast(error.message, true);
    if (OVER.includes(error.code)) rounds.noteAnswer(tender.tender_id);
  }
}

/** Return the card of one tender. `drawTime` shows the time that is left. */
function createCard(tender) {
  const { side, symbol } = tender, whole = Number(tender.price) * Number(tender.quantity);
  const time = el("span", { class: "num time", role: "timer", "aria-label": "Time to answer" });
  const bid = el("input", { required: true, inputMode: "decimal", autocomplete: "off", pattern: "[0-9]*[.]?[0-9]+", title: "A number", value: tender.price });
  const accept = el("button", { type: "submit", class: `primary ${side}s` }, tender.auction ? "Send price" : "Accept");
  const decline = el("button", { type: "button", onclick: () => whileDisabled(decline, () => send(tender, false)) }, "Decline");
  const submit = (event) => {
    event.preventDefault();
    whileDisabled(accept, () => send(tender, true, tender.auction ? bid.value : undefined));
  };
  const terms = tender.auction ? "An auction of the exchange. The best price wins when the time is over." : `The exchange offers ${number(tender.price)} each, ${money(whole)} in all.`;
  const element = el("section", { class: `card tender ${side}-side`, "aria-label": `Offer: ${side} ${symbol}` },
    el("header", {}, el("h2", {}, `${NAMES[side]} ${number(tender.quantity)} ${symbol}`), tender.private ? el("span", { class: "pill warn" }, "only for you") : null, time), el("p", { class: "soft" }, terms),
    el("form", { class: "answer", onsubmit: submit }, tender.auction ? field(`Your price, ${LIMITS[side]} ${number(tender.price)}`, bid) : null, accept, decline));
  const drawTime = () => { time.textContent = duration(Math.max(rounds.millisecondsUntil(tender.expires_at), 0)); };
  return { element, drawTime };
}

/** Return the cards of the open tenders. The element is hidden without one. */
export function createTenders() {
  const cards = new Map();
  const element = el("div", { class: "tenders", "aria-live": "polite", hidden: true });
  const draw = () => {
    const open = rounds.openTenders(), ids = new Set(open.map((one) => one.tender_id));
    for (const [id, card] of cards) if (!ids.has(id)) { card.element.remove(); cards.delete(id); }
    for (const tender of open) {
      if (cards.has(tender.tender_id)) continue;
      cards.set(tender.tender_id, createCard(tender));
      element.append(cards.get(tender.tender_id).element);
    }
    cards.forEach((card) => card.drawTime());
    element.hidden = !cards.size;
  };
  const timer = setInterval(draw, TICK_MS), off = rounds.onTenders(draw);
  return { element, end() { clearInterval(timer); off(); } };
}
