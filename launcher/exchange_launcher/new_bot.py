"""The first version of a bot, as `bot new` writes it."""

from pathlib import Path

from exchange_launcher.terminal import bad_use, console, program_name

_TEMPLATE = '''"""{name}: a bot for microexchange. Run it with: {program} bot {file}:{name}"""

from trading_bots import Bot, Fill, Order, Trade


class {name}(Bot):
    """Buys a little below the market price, and sells a little above its purchase price. Change it."""

    symbols = ()
    """The securities that the bot follows, for example ("AAPL", "MSFT"). Empty for all listed securities."""
    timer = 2.0
    """The time between two calls of on_timer, in seconds."""
    max_securities = 5
    """The number of securities in which the bot trades at the same time."""

    def on_start(self) -> None:
        # The bot is connected. It can use self.cash, self.position(symbol), self.book(symbol) and self.open_orders.
        print(f"{{self.client_id}} has {{self.cash}} in cash, and its equity is {{self.equity}}")
        self.cancel_all()

    def on_timer(self) -> None:
        for order in self.open_orders:
            if order.side == "buy":
                self.cancel(order)
        for symbol in self.busy()[: self.max_securities]:
            price = self.mid(symbol) * 999 / 1000
            if price < self.free_cash:
                self.buy(symbol, 1, price)

    def busy(self) -> list[str]:
        """Return the securities that trade now and have orders on both sides."""
        return [
            symbol
            for symbol in self.securities
            if self.state(symbol) == "continuous" and self.best_bid(symbol) and self.best_ask(symbol)
        ]

    def on_fill(self, fill: Fill) -> None:
        print(f"{{fill.side}} {{fill.quantity}} {{fill.symbol}} at {{fill.price}}, equity {{self.equity:.2f}}")
        if fill.side == "buy":
            self.sell(fill.symbol, fill.quantity, fill.price * 1002 / 1000)

    def on_reject(self, order: Order) -> None:
        print(f"rejected: {{order.reason}}")

    # All following methods are optional. Each may be a plain or an async function.

    def on_book(self, symbol: str) -> None:
        """A book has changed."""

    def on_bbo(self, symbol: str) -> None:
        """The best bid or offer has changed."""

    def on_trade(self, trade: Trade) -> None:
        """Two orders have traded in the market."""

    def on_order(self, order: Order) -> None:
        """One of your orders has changed."""

    def on_state(self, symbol: str, state: str) -> None:
        """The trading state of a security has changed: a halt, an auction, or continuous trading."""

    def on_stop(self) -> None:
        """The bot stops."""
'''


def write_new_bot(name: str) -> None:
    """Write a bot file, and print the command that runs it.

    Raises:
        CommandError: No class can have that name, or the file exists already.
    """
    stem = Path(name).stem
    class_name = "".join(part.capitalize() for part in stem.replace("-", "_").split("_"))
    if not class_name.isidentifier():
        raise bad_use(f"a bot cannot have the name {name[:64]!r}: a class cannot have it", "Use letters, digits and _")
    path = Path(name).with_suffix(".py")
    if path.exists():
        raise bad_use(f"{path} cannot be written: it exists already", "Choose another name, or remove the file")
    text = _TEMPLATE.format(name=class_name, file=path.name, program=program_name())
    path.write_text(text, encoding="utf-8")
    console.print(f"{path} is written. Run it with: {program_name()} bot {path}:{class_name}", soft_wrap=True)
