// The session of rounds: its state and clock, the news, and the tenders that wait for an answer. All views share them.
import { ask } from "./page.js";
import { listen, resubscribe } from "./feed.js";
import { headers, loggedIn, onSession as onLogin } from "./session.js";

const MAX_NEWS = 1000;
const ANSWERED = "answered-tenders"; // in sessionStorage
/** The session as the feed sends it; null if none is planned, undefined before the first message. */
export let session;
/** The news that the user may read, newest first. */
export let news = [];
let tenders = [], offset = 0;
const answered = new Set(JSON.parse(sessionStorage.getItem(ANSWERED) ?? "[]"));
const listeners = { session: new Set(), news: new Set(), tenders: new Set() };
const notify = (what, ...details) => listeners[what].forEach((callback) => callback(...details));

function on(what, callback) {
  listeners[what].add(callback);
  callback();
  return () => listeners[what].delete(callback);
}

/** Call `callback` now and when the state of the session changes. Return a function that stops it. */
export const onSession = (callback) => on("session", callback);
/** Call `callback` now and when the list of news changes. It receives an item that has just been published. */
export const onNews = (callback) => on("news", callback);
/** Call `callback` now and when the list of tenders changes. Return a function that stops it. */
export const onTenders = (callback) => on("tenders", callback);

/** Return the milliseconds until a time stamp, by the clock of the exchange. */
export const millisecondsUntil = (timestamp) => Date.parse(timestamp) - Date.now() - offset;

/** Return the milliseconds that are left of the round. Only those of a running round become fewer. */
export function millisecondsLeft() {
  if (!session) return 0;
  if (session.state !== "running") return session.remaining_seconds * 1000;
  return Math.min(Math.max(millisecondsUntil(session.ends_at), 0), session.rounds[session.round - 1].seconds * 1000);
}

/** Return the open tenders that the user has not answered, newest first. */
export const openTenders = () => tenders.filter((one) => !answered.has(one.tender_id) && millisecondsUntil(one.expires_at) > 0);

/** Remove a tender that the user has answered. The feed lists a tender until it expires. */
export function noteAnswer(tenderId) {
  answered.add(tenderId);
  sessionStorage.setItem(ANSWERED, JSON.stringify([...answered].slice(-1000)));
  notify("tenders");
}

/** Return the lists together, newest first, each item once. `id` names the field that identifies an item. */
function merged(id, ...lists) {
  const found = new Map(lists.flat().map((item) => [item[id], item]));
  return [...found.values()].sort((a, b) => b.timestamp.localeCompare(a.timestamp) || Number(b[id]) - Number(a[id]));
}

let loads = 0;

/** Drop everything of another client or another session. */
function clear() {
  loads += 1;
  news = []; tenders = [];
  notify("news");
  notify("tenders");
}

/** Load what was published before the subscription. */
async function load() {
  const mine = ++loads;
  const known = loggedIn(), options = known ? { headers: headers() } : {};
  const [foundNews, foundTenders] = await Promise.all([ask("/news", options), known ? ask("/tenders", options) : []]);
  if (mine !== loads) return;
  // Without a login, the browser of a classroom's admin receives the news of all clients.
  news = merged("news_id", news, foundNews.filter((item) => known || !item.private)).slice(0, MAX_NEWS);
  tenders = merged("tender_id", tenders, foundTenders);
  notify("news");
  notify("tenders");
}
const reload = () => { load().catch(() => { /* the feed sends what comes next, and the next connection loads again */ }); };

function onSessionMessage(message) {
  const isNew = session !== undefined && session?.session_id !== message.session?.session_id;
  ({ session } = message);
  if (session) offset = Date.parse(session.server_time) - Date.now();
  if (!["running", "paused"].includes(session?.state)) tenders = [];
  if (isNew) { clear(); reload(); }
  notify("session");
  notify("tenders");
}

/** Begin to follow the session. Call this once, before the feed starts. */
export function followSession() {
  listen({ channel: "session" }, onSessionMessage);
  listen({ channel: "tenders" }, ({ tender }) => {
    if (!loggedIn()) return;
    tenders = merged("tender_id", tenders, [tender]);
    notify("tenders");
  });
  // The feed confirms the subscription to news after the one to tenders. So both are loaded then.
  listen({ channel: "news" }, ({ news: item }) => {
    news = merged("news_id", news, [item]).slice(0, MAX_NEWS);
    notify("news", item);
  }, reload);
  onLogin(() => { clear(); resubscribe({ channel: "news" }); });
}
