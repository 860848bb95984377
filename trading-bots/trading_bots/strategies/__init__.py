"""The strategies that ship with the exchange. Each is a readable example and names its source."""

from trading_bots.strategies.execution import IcebergSlicer, Twap, Vwap
from trading_bots.strategies.informed_trader import InformedTrader
from trading_bots.strategies.market_maker import MarketMaker
from trading_bots.strategies.mean_reversion import MeanReversion
from trading_bots.strategies.momentum import Momentum
from trading_bots.strategies.noise_trader import NoiseTrader
from trading_bots.strategies.order_splitter import OrderSplitter
from trading_bots.strategies.pairs_arbitrage import PairsArbitrage
from trading_bots.strategies.random_walk import RandomWalk

__all__ = [
    "IcebergSlicer",
    "InformedTrader",
    "MarketMaker",
    "MeanReversion",
    "Momentum",
    "NoiseTrader",
    "OrderSplitter",
    "PairsArbitrage",
    "RandomWalk",
    "Twap",
    "Vwap",
]
