// Dialogs, and the questions before an action. The user can switch off those before an order.
import { el } from "./page.js";

export const confirms = () => localStorage.getItem("confirm") !== "off";
export function setConfirms(on) { localStorage.setItem("confirm", on ? "on" : "off"); }

/** Show a dialog with `content` and buttons. Return the value of the chosen button; empty if it was closed. */
export function showDialog(title, content, buttons) {
  return new Promise((resolve) => {
    // Enter in a field presses the first button that submits, which must not be this one.
    const back = (text) => el("button", { type: "button", onclick: () => dialog.close() }, text);
    const dialog = el("dialog", { "aria-labelledby": "dialog-title", onclose: () => { dialog.remove(); resolve(dialog.returnValue); } },
      el("form", { method: "dialog" }, el("h2", { id: "dialog-title" }, title), content, el("div", { class: "buttons" }, buttons.map(([value, text, style]) => (value ? el("button", { value, class: style ?? "" }, text) : back(text))))));
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector("input, button[value='ok']")?.focus();
  });
}

/** Ask the user, and return whether the answer is yes. */
export async function asked(title, text, style = "primary") {
  return await showDialog(title, el("p", {}, text), [["", "Back"], ["ok", title, style]]) === "ok";
}

/** Return whether the user confirms an order or a cancel, or has switched these questions off. */
export async function confirmed(title, text, style = "primary") { return !confirms() || asked(title, text, style); }
