// Lobby: the link, the PIN and the QR code for the big screen, and the participants.
import { el } from "./page.js";
import { onAdmin } from "./admin.js";
import { createInvitation } from "./invitation.js";
import { createPeople } from "./people.js";

/** Show the lobby. Only the teacher's browser receives the PIN and the link. */
export function lobby(main) {
  const invitation = createInvitation();
  let isTeacher = false;
  const manages = el("input", { type: "checkbox", onchange: () => list.refresh() });
  const list = createPeople(() => isTeacher && manages.checked);
  const tools = el("div", { class: "tools", hidden: true }, list.rosterField, el("label", { class: "tick" }, manages, "Manage"));
  main.replaceChildren(el("div", { class: "grid lobby" }, invitation.element, el("section", { class: "card" }, el("header", {}, list.count, tools), list.people)));

  /** Show the invitation and the tools to the teacher, and the list alone to everybody else. */
  async function update() {
    isTeacher = await invitation.load();
    tools.hidden = !isTeacher;
    list.refresh();
  }

  const off = onAdmin(update);
  update();
  return { end() { list.end(); off(); } };
}
