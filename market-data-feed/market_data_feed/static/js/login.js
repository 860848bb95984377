// The forms that open an account and log in with a key.
import { el, field, whileDisabled } from "./page.js";
import * as gate from "./session.js";

export function loginForms() {
  const submit = (button, work) => (event) => {
    event.preventDefault();
    whileDisabled(button, work);
  };
  const name = el("input", { required: true, maxLength: 32, pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]*", autocomplete: "username", title: "Letters, digits, _ . -" });
  const code = el("input", { autocomplete: "off" });
  const key = el("input", { required: true, autocomplete: "off", spellcheck: false });
  const open = el("button", { class: "primary", type: "submit" }, gate.classroom ? "Log in" : "Open account");
  const use = el("button", { type: "submit" }, "Log in");
  const withPin = gate.classroom ? el("p", {}, "If the teacher shows a PIN, ", el("a", { href: "#join" }, "join with the PIN"), ".") : null;
  return el("div", { class: "grid" }, withPin,
    el("section", { class: "card" }, el("header", {}, el("h2", {}, gate.classroom ? "Log in" : "Open an account")),
      el("form", { class: "ticket", onsubmit: submit(open, async () => (gate.classroom ? gate.useName(name.value) : gate.register(name.value, code.value))) },
        field("Name", name), gate.classroom ? null : field("Invitation code (if required)", code), open)),
    gate.classroom ? null : el("section", { class: "card" }, el("header", {}, el("h2", {}, "Log in with an API key")),
      el("form", { class: "ticket", onsubmit: submit(use, () => gate.useKey(key.value.trim())) }, field("API key", key), use,
        el("p", { class: "soft" }, "This browser stores the key until you log out."))));
}
