"""The market-data feed: everything that happened, live and afterwards.

Read `market` first, the core: a fold over all reports. `store` keeps it in Postgres, `hub` brings it to subscribers, `rest`
and `websocket` speak with them, and `service` ties it up: fan-out first, storage after it.
"""
