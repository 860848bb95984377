"""A contestant that buys a little below the market price, and sells a little above its purchase price."""

from trading_bots import Bot, Fill


class First(Bot):
    def on_start(self) -> None:
        self.every(2, self.bid)

    def bid(self) -> None:
        for order in self.open_orders:
            if order.side == "buy":
                self.cancel(order)
        for symbol in self.securities:
            if self.state(symbol) == "continuous":
                self.buy(symbol, 1, self.mid(symbol) * 998 / 1000)

    def on_fill(self, fill: Fill) -> None:
        if fill.side == "buy":
            self.sell(fill.symbol, fill.quantity, fill.price * 1003 / 1000)
