// The feed: one WebSocket that reconnects, and its subscriptions.

const listeners = new Map(); // "channel symbol interval" -> Set of functions
const subscriptions = new Map(); // the same key -> the subscription
const confirmed = new Map(); // the same key -> Set of functions
const stateListeners = new Set();
let socket = null, pause = 500, login = null;
export let connected = false;

const name = ({ channel, symbol = "", interval = "" }) => `${channel} ${symbol} ${interval}`;

/**
 * Call `callback` with the messages of a subscription ({channel, symbol?, interval?}). Return a function that ends it.
 * `load` is called each time the feed has begun to send them. What it then requests has everything that was sent before.
 */
export function listen(subscription, callback, load) {
  const id = name(subscription);
  if (load) confirmed.set(id, (confirmed.get(id) ?? new Set()).add(load));
  if (!listeners.has(id)) {
    listeners.set(id, new Set());
    subscriptions.set(id, subscription);
    send("subscribe", subscription);
  } else if (load || ["book", "bbo", "ticker", "candles", "balances", "positions", "leaderboard", "status", "auction", "session"].includes(subscription.channel)) {
    send("subscribe", subscription); // the feed answers, which the new listener needs
  }
  listeners.get(id).add(callback);
  return () => {
    const left = listeners.get(id);
    left?.delete(callback);
    confirmed.get(id)?.delete(load);
    if (left && !left.size) {
      listeners.delete(id);
      subscriptions.delete(id);
      send("unsubscribe", subscription);
    }
  };
}

/** Subscribe again. The feed sends a new snapshot of a state, and listeners load again. */
export function resubscribe(subscription) { send("subscribe", subscription); }

/** Log in, for the private channels. `credentials` is {key} or, in a classroom, {client_id}. */
export function logIn(credentials) {
  const had = login;
  login = credentials;
  if (!connected) return;
  // The feed keeps the first client of a connection. The next connection has the new client.
  if (had) socket.close();
  else if (login) socket.send(JSON.stringify({ op: "login", ...login }));
}

/** Call `callback` now and at each change, with whether the feed is connected. */
export function onState(callback) { stateListeners.add(callback); callback(connected); }

function send(op, { channel, symbol, interval }) {
  // The socket of a client that has logged out is closing. The next connection subscribes again.
  if (!connected || socket.readyState !== WebSocket.OPEN) return;
  socket.send(JSON.stringify({ op, channel, ...(symbol ? { symbols: [symbol] } : {}), ...(interval ? { interval } : {}) }));
}

function dispatch(id, message) { listeners.get(id)?.forEach((callback) => callback(message)); }

function onMessage(message) {
  if (message.op === "subscribed") {
    for (const symbol of message.symbols.length ? message.symbols : [""]) confirmed.get(name({ channel: message.channel, symbol }))?.forEach((load) => load());
  }
  if (message.op) return; // an answer to a request
  switch (message.channel) {
    case "book": dispatch(name({ channel: "book", symbol: message.book?.symbol ?? message.symbol }), message); break;
    case "bbo": dispatch(name({ channel: "bbo", symbol: message.bbo.symbol }), message.bbo); break;
    case "trades": dispatch(name({ channel: "trades", symbol: message.trade.symbol }), message.trade); break;
    case "candles": dispatch(name(message), message); break;
    case "ticker": dispatch(name({ channel: "ticker", symbol: message.ticker.symbol }), message.ticker); dispatch(name({ channel: "ticker" }), message.ticker); break;
    case "status": case "auction": dispatch(name(message), message); dispatch(name({ channel: message.channel }), message); break;
    case "orders": case "balances": case "positions": case "leaderboard": case "session": case "news": case "tenders": dispatch(name({ channel: message.channel }), message); break;
  }
}

function open() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.onopen = () => {
    connected = true;
    pause = 500;
    if (login) socket.send(JSON.stringify({ op: "login", ...login }));
    subscriptions.forEach((subscription) => send("subscribe", subscription));
    stateListeners.forEach((callback) => callback(true));
  };
  socket.onmessage = (event) => onMessage(JSON.parse(event.data));
  socket.onclose = () => {
    if (connected) stateListeners.forEach((callback) => callback(false));
    connected = false;
    setTimeout(open, pause);
    pause = Math.min(pause * 2, 5000);
  };
}

export function start() { open(); }

/** A book that follows its channel. It maps prices to [quantity, orders], and checks that the sequence has no gaps. */
export class Book {
  constructor(symbol, changed) {
    this.symbol = symbol;
    this.bids = new Map();
    this.asks = new Map();
    this.sorted = {}; // the sides, until the next change
    this.sequence = null;
    this.stop = listen({ channel: "book", symbol }, (message) => { this.apply(message); changed(); });
  }

  apply(message) {
    this.sorted = {};
    if (message.type === "snapshot") {
      this.bids = new Map(message.book.bids.map(([price, ...rest]) => [price, rest]));
      this.asks = new Map(message.book.asks.map(([price, ...rest]) => [price, rest]));
      this.sequence = message.book.sequence;
      return;
    }
    if (this.sequence === null || message.sequence <= this.sequence) return;
    if (message.previous_sequence > this.sequence) {
      this.sequence = null;
      resubscribe({ channel: "book", symbol: this.symbol });
      return;
    }
    for (const [side, [price, quantity, orders]] of message.changes) {
      const levels = side === "buy" ? this.bids : this.asks;
      if (Number(quantity)) levels.set(price, [quantity, orders]);
      else levels.delete(price);
    }
    this.sequence = message.sequence;
  }

  /** Return the best price of "bids" or "asks"; undefined if the side is empty. */
  best(name) { return this.side(name)[0]?.[0]; }

  /** Return the levels of "bids" or "asks" as [price, quantity, orders], best first. */
  side(name) {
    const direction = name === "bids" ? -1 : 1;
    return this.sorted[name] ??= [...this[name]].map(([price, rest]) => [price, ...rest]).sort((a, b) => direction * (Number(a[0]) - Number(b[0])));
  }
}
