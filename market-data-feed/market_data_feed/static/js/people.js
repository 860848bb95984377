// The participants of a classroom, and what the teacher does with them: a roster, names, seats.
import { ask, el, field, toast } from "./page.js";
import { asked, showDialog } from "./dialog.js";
import { adminRequest } from "./admin.js";
import { countOf } from "./invitation.js";

const REFRESH_MS = 2000;
const SEATS = { invited: "not here yet", joined: "", removed: "removed" };

/** Return the list of participants. `manages()` is true while the teacher may change them. `onList` receives each new list. */
export function createPeople(manages, onList = () => {}) {
  const count = el("h2", {}, "Nobody is here yet"), people = el("ul", { class: "people" });
  const roster = el("input", { type: "file", accept: ".csv,text/csv", "aria-label": "Roster as CSV: nickname,team", onchange: upload });
  const rosterField = el("label", { hidden: true }, "Roster (CSV with nickname,team)", roster);
  let shown = "";

  const change = (path, method, body) => adminRequest(method, `/admin/participants${path}`, body).catch((error) => toast(error.message, true)).finally(refresh);

  async function upload() {
    const [file] = roster.files;
    if (file) await change("", "POST", { csv: await file.text() });
    roster.value = "";
  }

  async function rename(person) {
    const nickname = el("input", { required: true, maxLength: 24, autocomplete: "off", value: person.nickname });
    const answer = await showDialog(`Rename ${person.nickname}`, field("New nickname", nickname), [["", "Back"], ["ok", "Rename", "primary"]]);
    if (answer === "ok") change(`/${person.client_id}`, "PUT", { nickname: nickname.value, team: person.team });
  }

  async function remove(person) {
    if (await asked(`Remove ${person.nickname}`, "The orders are cancelled, and the key ends.", "primary sells")) change(`/${person.client_id}`, "DELETE");
  }

  const button = (text, label, onclick) => el("button", { type: "button", class: "small", "aria-label": label, onclick }, text);
  const buttons = (person) => (manages() ? [
    button("Rename", `Rename ${person.nickname}`, () => rename(person)),
    person.seat === "invited" ? null : button("Free", `Free the seat of ${person.nickname}`, () => change(`/${person.client_id}/free`, "POST")),
    person.seat === "removed" ? null : button("Remove", `Remove ${person.nickname}`, () => remove(person))] : []);

  function draw(all) {
    // The list is the same at most refreshes. To draw it again would lose the focus and a click on a button.
    const newest = JSON.stringify([all, manages()]);
    if (newest === shown) return;
    shown = newest;
    rosterField.hidden = !manages();
    count.textContent = countOf(all);
    people.replaceChildren(...all.map((person) => el("li", { class: person.seat }, el("strong", {}, person.nickname),
      person.team ? el("span", { class: "pill" }, person.team) : null, el("small", { class: "soft" }, SEATS[person.seat]), ...buttons(person))));
    onList(all);
  }

  function refresh() { return ask("/lobby").then((found) => draw(found.participants)).catch(() => { /* the next attempt is soon */ }); }

  const timer = setInterval(refresh, REFRESH_MS);
  refresh();
  return { count, people, rosterField, refresh, end() { clearInterval(timer); } };
}
