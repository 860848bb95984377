"""The order-entry gateway: every way into the market.

Read `requests` (what clients may say, and what it becomes) and `view` (the market as the gateway sees it) first: the core.
`desk` sends commands and waits for what they caused; `rest` and `websocket` speak with the clients; `service` ties it up.
"""
