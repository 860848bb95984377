// The session of the client: API key, requests, and the WebSocket of orders.
import { ask } from "./page.js";
import { config } from "./config.js";
import * as feed from "./feed.js";

export const classroom = config.classroom;
/** The fields of each order type, and the terms of each time in force. */
export const { order_types: orderTypes, times_in_force: timesInForce } = config;
/** The address of orders and market data. It is the page's own. */
export const gateway = location.origin;

export const session = { client: localStorage.getItem("client") ?? "", key: localStorage.getItem("key") ?? "", nickname: localStorage.getItem("nickname") ?? "" };
const sessionListeners = new Set();

/** Call `callback` when the client logs in or out. Return a function that stops it. */
export function onSession(callback) { sessionListeners.add(callback); return () => sessionListeners.delete(callback); }

export function headers() {
  return session.key ? { Authorization: `Bearer ${session.key}` } : { "Client-ID": session.client };
}

/** Return the credentials of a login; null if nobody is logged in. */
const credentials = () => (session.key ? { key: session.key } : session.client ? { client_id: session.client } : null);

export const loggedIn = () => Boolean(session.client);

function saveSession(client, key, nickname = "") {
  Object.assign(session, { client, key, nickname });
  for (const [name, value] of Object.entries(session)) {
    if (value) localStorage.setItem(name, value);
    else localStorage.removeItem(name);
  }
  feed.logIn(credentials());
  disconnect();
  if (client) connect();
  sessionListeners.forEach((callback) => callback());
}

/** Open an account and log in with it. */
export async function register(client, invitation) {
  const body = { client_id: client, ...(invitation ? { invitation_code: invitation } : {}) };
  const account = await ask(`${gateway}/clients`, { method: "POST", body: JSON.stringify(body) });
  saveSession(account.client_id, account.api_key);
}

/** Take a seat in a classroom, and log in with its key. */
export async function join(pin, nickname, team) {
  const seat = await ask(`${gateway}/join`, { method: "POST", body: JSON.stringify({ pin, nickname, team }) });
  saveSession(seat.client_id, seat.api_key, seat.nickname);
}

/** Log in with an existing key. The key has the name of its client. */
export async function useKey(key) {
  const part = key.split(".")[1] ?? "";
  let client;
  try {
    client = JSON.parse(atob(part.replace(/-/g, "+").replace(/_/g, "/"))).sub;
  } catch {
    throw new Error("This is not an API key. Paste the whole key that you received when the account was opened.");
  }
  await ask(`${gateway}/orders?limit=1`, { headers: { Authorization: `Bearer ${key}` } });
  saveSession(client, key);
}

export function useName(client) { saveSession(client, ""); }
export function forget() { saveSession("", ""); }

// --- the WebSocket of orders ---

let socket = null, number = 0, pause = 500, reconnects = false;
const waiting = new Map();
const reportListeners = new Set();
const stateListeners = new Set();
export let connected = false;

/** Call `callback` with every report of the client's orders. */
export function onReport(callback) { reportListeners.add(callback); return () => reportListeners.delete(callback); }
/** Call `callback` now and at each change, with whether orders can be sent and the reason if they cannot. */
export function onOrders(callback) { stateListeners.add(callback); callback(connected); return () => stateListeners.delete(callback); }

/** Send a request and return its answer. A refusal rejects the promise. */
export function request(message) {
  return new Promise((resolve, reject) => {
    if (!connected) { reject(new Error("No connection to the gateway. The request was not sent.")); return; }
    const id = ++number;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ id, ...message }));
  });
}

function connect() {
  reconnects = true;
  socket = new WebSocket(`${gateway.replace("http", "ws")}/ws/orders`);
  const mine = socket;
  mine.onopen = () => mine.send(JSON.stringify({ op: "login", ...credentials() }));
  mine.onmessage = (event) => {
    const message = JSON.parse(event.data);
    if (message.op === "login") {
      connected = message.ok;
      pause = 500;
      if (!message.ok) reconnects = message.error.code !== "UNAUTHENTICATED" && reconnects;
      stateListeners.forEach((callback) => callback(connected, message.error?.message));
    } else if (message.op === "report") {
      reportListeners.forEach((callback) => callback(message.report));
    } else if (waiting.has(message.id)) {
      const { resolve, reject } = waiting.get(message.id);
      waiting.delete(message.id);
      if (message.ok) resolve(message);
      else reject(Object.assign(new Error(message.error.message), { code: message.error.code, field: message.error.field }));
    }
  };
  mine.onclose = () => {
    if (mine !== socket) return;
    connected = false;
    waiting.forEach(({ reject }) => reject(new Error("Connection lost. After reconnection, the tables show the result of the request.")));
    waiting.clear();
    stateListeners.forEach((callback) => callback(false));
    if (reconnects) setTimeout(() => mine === socket && reconnects && connect(), pause);
    pause = Math.min(pause * 2, 5000);
  };
}

function disconnect() {
  reconnects = false;
  connected = false;
  const old = socket;
  socket = null;
  old?.close();
}

/** Log in with the credentials that this browser stores. */
export function restoreSession() {
  feed.logIn(credentials());
  if (loggedIn()) connect();
}
