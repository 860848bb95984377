// Who trades here, and the gateway: keys, requests, the WebSocket of orders.
import { ask } from "./page.js";
import * as feed from "./feed.js";

const config = await ask("/dashboard/config.json");
export const classroom = config.classroom;
/** Orders and market data have one address: the page's own. */
export const gateway = location.origin;

export const session = { client: localStorage.getItem("client") ?? "", key: localStorage.getItem("key") ?? "" };
const changes = new Set();

/** Hears when somebody logs in or out; returns what ends that. */
export function onSession(hear) { changes.add(hear); return () => changes.delete(hear); }

export function headers() {
  return session.key ? { Authorization: `Bearer ${session.key}` } : { "Client-ID": session.client };
}

/** What a login says. */
const credentials = () => (session.key ? { key: session.key } : session.client ? { client_id: session.client } : null);

export const loggedIn = () => Boolean(session.client);

function keep(client, key) {
  Object.assign(session, { client, key });
  for (const [name, value] of Object.entries({ client, key })) {
    if (value) localStorage.setItem(name, value);
    else localStorage.removeItem(name);
  }
  feed.identify(credentials());
  disconnect();
  if (client) connect();
  changes.forEach((hear) => hear());
}

/** Opens an account and trades with it. */
export async function register(client, invitation) {
  const body = { client_id: client, ...(invitation ? { invitation_code: invitation } : {}) };
  const account = await ask(`${gateway}/clients`, { method: "POST", body: JSON.stringify(body) });
  keep(account.client_id, account.api_key);
}

/** Trades with a key that somebody has; the key says whose it is. */
export async function useKey(key) {
  const part = key.split(".")[1] ?? "";
  let client;
  try {
    client = JSON.parse(atob(part.replace(/-/g, "+").replace(/_/g, "/"))).sub;
  } catch {
    throw new Error("That is no API key: paste the whole text that the account's opening showed.");
  }
  await ask(`${gateway}/orders?limit=1`, { headers: { Authorization: `Bearer ${key}` } });
  keep(client, key);
}

export function useName(client) { keep(client, ""); }
export function forget() { keep("", ""); }

// --- the WebSocket of orders ---

let socket = null, number = 0, pause = 500, wanted = false;
const waiting = new Map();
const reports = new Set();
const states = new Set();
export let connected = false;

/** Hears every report of one's own orders. */
export function onReport(hear) { reports.add(hear); return () => reports.delete(hear); }
/** Hears when orders can be sent, and when not. */
export function onOrders(hear) { states.add(hear); hear(connected); return () => states.delete(hear); }

/** Sends a request; its answer, or an Error with the refusal. */
export function request(message) {
  return new Promise((resolve, reject) => {
    if (!connected) { reject(new Error("The gateway cannot be reached: nothing was sent.")); return; }
    const id = ++number;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ id, ...message }));
  });
}

function connect() {
  wanted = true;
  socket = new WebSocket(`${gateway.replace("http", "ws")}/ws/orders`);
  const mine = socket;
  mine.onopen = () => mine.send(JSON.stringify({ op: "login", ...credentials() }));
  mine.onmessage = (event) => {
    const said = JSON.parse(event.data);
    if (said.op === "login") {
      connected = said.ok;
      pause = 500;
      if (!said.ok) wanted = said.error.code !== "UNAUTHENTICATED" && wanted;
      states.forEach((hear) => hear(connected, said.error?.message));
    } else if (said.op === "report") {
      reports.forEach((hear) => hear(said.report));
    } else if (waiting.has(said.id)) {
      const { resolve, reject } = waiting.get(said.id);
      waiting.delete(said.id);
      if (said.ok) resolve(said);
      else reject(Object.assign(new Error(said.error.message), { code: said.error.code, field: said.error.field }));
    }
  };
  mine.onclose = () => {
    if (mine !== socket) return;
    connected = false;
    waiting.forEach(({ reject }) => reject(new Error("The connection was lost: whether the request took effect shows below, once it is back.")));
    waiting.clear();
    states.forEach((hear) => hear(false));
    if (wanted) setTimeout(() => mine === socket && wanted && connect(), pause);
    pause = Math.min(pause * 2, 5000);
  };
}

function disconnect() {
  wanted = false;
  connected = false;
  const old = socket;
  socket = null;
  old?.close();
}

/** Begins with whom this browser remembers. */
export function begin() {
  feed.identify(credentials());
  if (loggedIn()) connect();
}
