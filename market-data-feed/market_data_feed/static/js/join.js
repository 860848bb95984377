// Join: a person types the PIN and a nickname, and gets a seat.
import { el, field, whileDisabled } from "./page.js";
import * as gate from "./session.js";

export function join(main, pinOfLink = "") {
  const pin = el("input", { required: true, inputMode: "numeric", autocomplete: "one-time-code", maxLength: 7, value: pinOfLink, class: "pin" });
  const nickname = el("input", { required: true, maxLength: 24, autocomplete: "nickname", enterKeyHint: "go" });
  const team = el("input", { maxLength: 24, autocomplete: "off" });
  const button = el("button", { class: "primary", type: "submit" }, "Join");
  const problem = el("p", { class: "sell", role: "alert" });

  function submit(event) {
    event.preventDefault();
    problem.textContent = "";
    whileDisabled(button, async () => {
      await gate.join(pin.value.replace(/\s/g, ""), nickname.value, team.value);
      location.hash = "trade";
    }, (error) => {
      problem.textContent = error.message;
      (error.field === "pin" ? pin : nickname).focus();
    });
  }

  const seated = gate.loggedIn() && gate.session.key
    ? el("p", {}, "You have joined as ", el("strong", {}, gate.session.nickname || gate.session.client), ". ", el("a", { href: "#trade" }, "Trade")) : null;
  main.replaceChildren(el("section", { class: "card join" }, el("h1", {}, "Join the market"), seated,
    el("form", { onsubmit: submit }, field("PIN", pin), field("Nickname", nickname), field("Team (optional)", team), button, problem)));
  (pinOfLink ? nickname : pin).focus();
  return { end() {} };
}
