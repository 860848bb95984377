"""The market-data feed: live market data and history.

Read `market` first. It is the core: a fold over all reports. `store` stores the result in Postgres, and `hub` sends it to
subscribers. `rest` and `websocket` are the interfaces. `service` connects the parts. It publishes first and stores later.
"""
