// Keyboard shortcuts of the trade page, and the overlay that lists them.
import { el } from "./page.js";
import { showDialog } from "./dialog.js";

/** Listen to `shortcuts`: [key, description, action]. Return a function that stops it.
 * A key without a modifier has no effect in a field, except Escape, which leaves the field. */
export function useShortcuts(shortcuts) {
  const actions = new Map(shortcuts.map(([key, , action]) => [key, action]));
  const onKey = (event) => {
    if (event.repeat) return; // a key that is held down acts once
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const isField = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (isField) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const action = event.key === "?" ? () => showShortcuts(shortcuts) : actions.get(event.key.toLowerCase());
    if (!action) return;
    event.preventDefault();
    action();
  };
  addEventListener("keydown", onKey);
  return () => removeEventListener("keydown", onKey);
}

export function showShortcuts(shortcuts) {
  const rows = [...shortcuts, ["↑ ↓", "In a quantity or a price: one lot or tick more or less"], ["Enter", "In the ticket: send the order"], ["Esc", "Leave a field, close this list"], ["?", "Show this list"]];
  return showDialog("Keyboard shortcuts", el("dl", { class: "shortcuts" }, rows.map(([key, text]) => el("div", {}, el("dt", {}, el("kbd", {}, key)), el("dd", {}, text)))), [["ok", "Close", "primary"]]);
}
