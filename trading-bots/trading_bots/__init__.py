"""Trading bots: an SDK in which a bot is a class with callbacks, clients for scripts, and ready-made strategies.

>>> from trading_bots import Bot, run
>>> class Buyer(Bot):
...     def on_trade(self, trade):
...         self.buy(trade.symbol, 1, trade.price)
>>> run(Buyer)  # doctest: +SKIP
"""

from trading_bots.async_client import AsyncExchangeClient
from trading_bots.bot import Bot, Fill, News, Order, Tender, Trade
from trading_bots.client import ExchangeClient
from trading_bots.client_requests import ExchangeError
from trading_bots.runner import run

__all__ = [
    "AsyncExchangeClient",
    "Bot",
    "ExchangeClient",
    "ExchangeError",
    "Fill",
    "News",
    "Order",
    "Tender",
    "Trade",
    "run",
]
