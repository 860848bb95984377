// The invitation to a classroom: the link, the QR code and the PIN. Only the teacher's browser receives them.
import { el, toast } from "./page.js";
import { adminRequest, isAdmin } from "./admin.js";

/** Return the number of people who have joined, in words. */
export function countOf(participants) {
  const here = participants.filter((person) => person.seat === "joined").length;
  return here === 0 ? "Nobody is here yet" : here === 1 ? "1 person is here" : `${here} people are here`;
}

/** Return the invitation. `load()` loads it, and returns whether this is the teacher's browser. Otherwise it is hidden. */
export function createInvitation() {
  const link = el("p", { class: "link" }), pin = el("p", { class: "pin" }), code = el("div", { class: "code" });
  const element = el("section", { class: "card invitation", hidden: true }, code, el("div", {}, el("h1", {}, "Join the market"), link, el("h2", {}, "PIN"), pin));

  async function invite() {
    const found = await adminRequest("GET", "/admin/participants");
    // The picture is SVG of this exchange. It is drawn as an image, which runs no scripts.
    const source = URL.createObjectURL(await adminRequest("GET", "/admin/join.svg", undefined, "blob"));
    link.textContent = found.join_url.replace(/^https?:\/\/|\/#join$/g, "");
    pin.textContent = found.pin.replace(/(...)(...)/, "$1 $2");
    code.replaceChildren(el("img", { alt: `QR code of ${found.join_url}`, src: source, onload: () => URL.revokeObjectURL(source) }));
  }

  return {
    element,
    async load() {
      const isTeacher = isAdmin() && await invite().then(() => true, (error) => { toast(error.message, true); return false; });
      element.hidden = !isTeacher;
      return isTeacher;
    },
  };
}
