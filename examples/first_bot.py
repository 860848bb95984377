"""A bot in twenty lines. Start an exchange with `./mx up`, then run `.venv/bin/python examples/first_bot.py`."""

from trading_bots import Bot, Fill, run


class FirstBot(Bot):
    """Buys a little below the market price, and sells a little above its purchase price."""

    def on_start(self) -> None:
        print(f"{self.client_id} has {self.cash} in cash, and its equity is {self.equity}")
        self.cancel_all()
        self.every(2, self.bid)

    def bid(self) -> None:
        self.cancel_all("AAPL")
        self.buy("AAPL", 1, self.mid("AAPL") * 999 / 1000)

    def on_fill(self, fill: Fill) -> None:
        print(f"{fill.side} {fill.quantity} {fill.symbol} at {fill.price}, equity {self.equity:.2f}")
        if fill.side == "buy":
            self.sell("AAPL", 1, fill.price * 1002 / 1000)


if __name__ == "__main__":
    run(FirstBot)
