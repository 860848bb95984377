"""The strategies that ship with the exchange: each a readable example, its source named."""

from trading_bots.strategies.market_maker import MarketMaker
from trading_bots.strategies.momentum import Momentum
from trading_bots.strategies.noise_trader import NoiseTrader

__all__ = ["MarketMaker", "Momentum", "NoiseTrader"]
