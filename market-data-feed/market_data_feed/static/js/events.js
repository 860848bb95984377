// The events that a teacher causes in a round, at once or at a time of the plan: their names and the fields of their forms.

const SIDES = [["buy", "They buy"], ["sell", "They sell"]], STATES = [["halted", "Halt trading"], ["continuous", "Resume trading"]];

/** The title of each type of event, and its fields. */
export const EVENTS = {
  news: ["News", [
    { key: "headline", label: "Headline", kind: "text", required: true, maxLength: 200, wide: true },
    { key: "text", label: "Text", kind: "area", maxLength: 2000, wide: true },
    { key: "audience", kind: "audience" },
    { key: "value_changes", label: "Changes of values, for bots", kind: "changes", text: "Add a change" }]],
  state: ["Halt or resume", [
    { key: "symbol", label: "Security", kind: "symbol" },
    { key: "state", label: "Action", kind: "choice", choices: STATES }]],
  payout: ["Payout", [
    { key: "symbol", label: "Security", kind: "symbol" },
    { key: "amount", label: "Cash for a share", kind: "amount" },
    { key: "draw", label: "Or one of these amounts, at random", kind: "draw", wide: true },
    { key: "final", label: "Liquidation: takes all shares and ends trading", kind: "tick", wide: true }]],
  tender: ["Tender", [
    { key: "symbol", label: "Security", kind: "symbol" },
    { key: "side", label: "Side", kind: "choice", choices: SIDES },
    { key: "quantity", label: "Quantity", kind: "amount", required: true },
    { key: "price", label: "Price", kind: "amount", required: true },
    { key: "seconds", label: "Open for", kind: "time" },
    { key: "audience", kind: "audience" },
    { key: "auction", label: "Auction: the best price trades alone", kind: "tick", wide: true }]],
};
/** The values of a new event. */
export const NEW = { news: {}, state: { state: "halted" }, payout: {}, tender: { side: "buy", seconds: 30 } };

const GOAL = { key: "goal", label: "Goal", kind: "amount", placeholder: "number, seconds or cash" };
/** The fields of an assignment. */
export const ASSIGNMENT = [
  { key: "type", label: "Assignment", kind: "choice", choices: [["limit_orders", "Enter limit orders"], ["trades", "Trade"], ["quote_both_sides", "Quote both sides, in seconds"], ["end_flat", "End with the holdings of the start"], ["profit", "Make a profit, in cash"]] },
  GOAL,
  { key: "symbol", label: "Security", kind: "symbol", empty: "Any" },
  { key: "text", label: "Your words", kind: "text", maxLength: 200, placeholder: "the usual words", wide: true }];

/** The fields of a round. */
export const ROUND = [
  { key: "name", label: "Name", kind: "text", maxLength: 64 },
  { key: "seconds", label: "Length", kind: "time" },
  { key: "cash", label: "Cash at the start", kind: "amount", placeholder: "as it is" },
  { key: "shares", label: "Shares at the start", kind: "shares", text: "Add a security" },
  { key: "practice", label: "Practice: does not count", kind: "tick" },
  { key: "house_bots", label: "House bots trade", kind: "tick" }];
