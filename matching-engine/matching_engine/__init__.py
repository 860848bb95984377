"""The matching engine: commands in, instructions and reports out.

The core has no I/O, no clock and no logging. Read it in this order:

- Data: `book` (price-time priority), `market` (one security), `stops` (orders that wait for a trigger), `account` and
  `exchange` (the whole state).
- Rules that only read: `auction` (the price of an uncrossing), `liquidity` (the orders that an order would trade with),
  `validation` (checks of orders).
- `risk`: what orders reserve, and the settlement of a trade.
- `matching`, `self_trade`, `placement` and `triggers`: the path of an order through a market.
- Commands: `order_entry`, `amendment`, `cancellation`, `trading_states`, `timers`, `saved_books`, `clients`, `listings`.
- `engine`: the dispatcher. `reports` makes the reports, `state` takes and restores the state, `limits` has the bounds.

`snapshots` and `service` are the shell: files, logs and the clock.
"""
