"""The order-entry gateway: REST and WebSocket interfaces, and forwarded market data.

The core without I/O:

- `requests`: the requests of clients, and the commands that they become.
- `gateway_state`: securities, accounts and recent orders, as a fold over the engine's reports.
- `classroom`: the state of a classroom.

The services around it:

- `order_service`: numbers commands, appends them to the log, and passes on the reports that they caused. It uses
  `pending_commands`, `order_history`, `key_registry`, `subscriptions` and `market_policy`.
- `client_session`: one client's limits, requests and reports. All protocols use it.
- `administration`: the requests of the admin, and the opening of accounts.

The protocols: `rest` (`order_routes`, `account_routes`, `admin_routes`, `routing`), `websocket`, `quick_routes`,
`simple_dialect`. `market_data` forwards all other requests to the feed. `service` connects the parts.
"""
