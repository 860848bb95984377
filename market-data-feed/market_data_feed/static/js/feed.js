// The feed: one WebSocket that comes back, and the newest state of what is subscribed.

const listeners = new Map(); // "channel symbol" -> Set of functions
const wanted = new Map(); // the same key -> the subscription
const states = new Set();
let socket = null, pause = 500, login = null;
export let connected = false;

const name = ({ channel, symbol = "", interval = "" }) => `${channel} ${symbol} ${interval}`;

/** Hears `subscription` ({channel, symbol?, interval?}) from now on; returns what ends that. */
export function listen(subscription, hear) {
  const id = name(subscription);
  if (!listeners.has(id)) {
    listeners.set(id, new Set());
    wanted.set(id, subscription);
    say("subscribe", subscription);
  } else if (["book", "bbo", "ticker", "candles", "balances", "leaderboard", "status", "auction"].includes(subscription.channel)) {
    say("subscribe", subscription); // a newcomer needs the state too
  }
  listeners.get(id).add(hear);
  return () => {
    const left = listeners.get(id);
    left?.delete(hear);
    if (left && !left.size) {
      listeners.delete(id);
      wanted.delete(id);
      say("unsubscribe", subscription);
    }
  };
}

/** Asks again for a state whose changes have a gap. */
export function renew(subscription) { say("subscribe", subscription); }

/** Logs in, for the channels of one's own; {key} or, in a classroom, {client_id}. */
export function identify(who) {
  login = who;
  if (connected && login) socket.send(JSON.stringify({ op: "login", ...login }));
}

/** Hears whether the connection stands. */
export function onState(hear) { states.add(hear); hear(connected); }

function say(op, { channel, symbol, interval }) {
  if (!connected) return;
  socket.send(JSON.stringify({ op, channel, ...(symbol ? { symbols: [symbol] } : {}), ...(interval ? { interval } : {}) }));
}

function tell(id, message) { listeners.get(id)?.forEach((hear) => hear(message)); }

function hear(message) {
  if (message.op) return; // answers to what was asked
  switch (message.channel) {
    case "book": tell(name({ channel: "book", symbol: message.book?.symbol ?? message.symbol }), message); break;
    case "bbo": tell(name({ channel: "bbo", symbol: message.bbo.symbol }), message.bbo); break;
    case "trades": tell(name({ channel: "trades", symbol: message.trade.symbol }), message.trade); break;
    case "candles": tell(name(message), message); break;
    case "ticker": tell(name({ channel: "ticker", symbol: message.ticker.symbol }), message.ticker); tell(name({ channel: "ticker" }), message.ticker); break;
    case "status": case "auction": tell(name(message), message); tell(name({ channel: message.channel }), message); break;
    case "orders": case "balances": case "leaderboard": tell(name({ channel: message.channel }), message); break;
  }
}

function open() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.onopen = () => {
    connected = true;
    pause = 500;
    if (login) socket.send(JSON.stringify({ op: "login", ...login }));
    wanted.forEach((subscription) => say("subscribe", subscription));
    states.forEach((one) => one(true));
  };
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = () => {
    if (connected) states.forEach((one) => one(false));
    connected = false;
    setTimeout(open, pause);
    pause = Math.min(pause * 2, 5000);
  };
}

export function start() { open(); }

/** A book that follows its channel: prices to [quantity, orders], and a sequence without gaps. */
export class Book {
  constructor(symbol, changed) {
    this.symbol = symbol;
    this.bids = new Map();
    this.asks = new Map();
    this.sequence = null;
    this.stop = listen({ channel: "book", symbol }, (message) => { this.take(message); changed(); });
  }

  take(message) {
    if (message.type === "snapshot") {
      this.bids = new Map(message.book.bids.map(([price, ...rest]) => [price, rest]));
      this.asks = new Map(message.book.asks.map(([price, ...rest]) => [price, rest]));
      this.sequence = message.book.sequence;
      return;
    }
    if (this.sequence === null || message.sequence <= this.sequence) return;
    if (message.previous_sequence > this.sequence) {
      this.sequence = null;
      renew({ channel: "book", symbol: this.symbol });
      return;
    }
    for (const [side, [price, quantity, orders]] of message.changes) {
      const levels = side === "buy" ? this.bids : this.asks;
      if (Number(quantity)) levels.set(price, [quantity, orders]);
      else levels.delete(price);
    }
    this.sequence = message.sequence;
  }

  /** Levels as [price, quantity, orders], the best first. */
  side(of) {
    const way = of === "bids" ? -1 : 1;
    return [...this[of]].map(([price, rest]) => [price, ...rest]).sort((a, b) => way * (Number(a[0]) - Number(b[0])));
  }
}
