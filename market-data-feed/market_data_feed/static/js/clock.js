// The clock of the round: the name of the session, the number and the state of the round, and the time that is left.
import { el } from "./page.js";
import * as rounds from "./rounds.js";

const TICK_MS = 250, LAST_MS = 30000;
/** The name and the colour of each state of a session. */
const STATES = { lobby: ["lobby", "warn"], running: ["running", "good"], paused: ["paused", "warn"], ended: ["ended", "bad"], closed: ["closed", "bad"] };

/** Return a duration as minutes and seconds. It is rounded up, so that 0:00 is the end. */
export function duration(milliseconds) {
  const seconds = Math.ceil(milliseconds / 1000), hours = Math.floor(seconds / 3600), minutes = Math.floor(seconds / 60) % 60;
  const two = (part) => String(part).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** Return the name of a round; empty if it is the one that each round has without a name. */
export function nameOf(session) {
  const { name } = session.rounds[session.round - 1];
  return name === `Round ${session.round}` ? "" : name;
}

/** Return the clock. It is hidden while no session is planned. */
export function createClock() {
  const name = el("span", { class: "session-name" }), word = el("span", { class: "word" }, "Round "), place = el("span"), title = el("span", { class: "round-name" });
  const practice = el("span", { class: "pill practice" }, "practice"), state = el("span", { class: "pill" }), time = el("span", { class: "time num", role: "timer", "aria-label": "Time left" });
  const announced = el("span", { class: "hidden", role: "status" });
  const element = el("div", { class: "round-clock", hidden: true }, name, el("span", { class: "round-place" }, word, place), title, practice, state, time, announced);
  let last = "";

  const draw = () => {
    const { session } = rounds;
    element.hidden = !session;
    if (!session) return;
    const left = rounds.millisecondsLeft(), isLast = session.state === "running" && left <= LAST_MS;
    const [text, colour] = isLast ? ["ends soon", "bad"] : STATES[session.state];
    name.textContent = session.name;
    place.textContent = `${session.round} of ${session.rounds.length}`;
    title.textContent = nameOf(session);
    practice.hidden = !session.rounds[session.round - 1].practice;
    state.textContent = text;
    state.className = `pill ${colour}`;
    time.textContent = duration(left);
    time.classList.toggle("last", isLast);
    // A screen reader reads a change of the state, and not each second.
    const summary = `${session.name}: round ${session.round} of ${session.rounds.length}${practice.hidden ? "" : ", practice"}, ${text}`;
    if (summary !== last) announced.textContent = last = summary;
  };
  const timer = setInterval(draw, TICK_MS), off = rounds.onSession(draw);
  return { element, end() { clearInterval(timer); off(); } };
}
