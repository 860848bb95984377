"""A book as one would write it on a first afternoon: lists, sorted again and again, and nothing shared with the engine.

It knows limit, market, ioc, fok and post_only orders, icebergs, cancels and amendments, under the pricing rule `resting`,
between clients who have plenty and never meet themselves.
"""

from dataclasses import dataclass, field


@dataclass
class Entry:
    """An order."""

    number: int
    is_buy: bool
    price: int | None
    left: int
    display: int
    shown: int
    place: int
    """Its turn at its price: smaller first."""
    post: bool
    done: int = 0


@dataclass
class NaiveBook:
    """All orders in one list."""

    entries: list[Entry] = field(default_factory=list)
    turn: int = 0
    trades: list[tuple[int, int, int, int]] = field(default_factory=list)
    """(maker, taker, price, quantity)."""

    def side(self, is_buy: bool) -> list[Entry]:
        """The orders of a side, who trades first first."""
        sign = -1 if is_buy else 1
        return sorted((e for e in self.entries if e.is_buy == is_buy), key=lambda e: (sign * (e.price or 0), e.place))

    def reach(self, is_buy: bool, price: int | None) -> list[Entry]:
        """Whom an order at that limit could trade with."""
        others = self.side(not is_buy)
        if price is None:
            return others
        return [e for e in others if e.price is not None and (e.price <= price if is_buy else e.price >= price)]

    def enter(self, number: int, is_buy: bool, price: int | None, quantity: int, life: str, display: int, post: bool) -> str:
        """Enters an order: how it ends, or `rests`."""
        reach = self.reach(is_buy, price)
        if post and reach:
            return "rejected"
        if life == "fok" and sum(e.left for e in reach) < quantity:
            return "rejected"
        entry = Entry(number, is_buy, price, quantity, display, 0, 0, post)
        self.trade(entry)
        if not entry.left:
            return "filled"
        if price is None or life == "ioc":
            return "cancelled"
        self.rest(entry)
        return "rests"

    def trade(self, entry: Entry) -> None:
        """Trades what crosses."""
        while entry.left:
            reach = self.reach(entry.is_buy, entry.price)
            if not reach:
                return
            maker = reach[0]
            quantity = min(entry.left, maker.shown)
            self.trades.append((maker.number, entry.number, maker.price or 0, quantity))
            for one in (entry, maker):
                one.left -= quantity
                one.done += quantity
            maker.shown -= quantity
            if not maker.left:
                self.entries.remove(maker)
            elif not maker.shown:
                self.entries.remove(maker)
                self.rest(maker)

    def rest(self, entry: Entry) -> None:
        """Goes to the back of its price."""
        self.turn += 1
        entry.place = self.turn
        entry.shown = min(entry.display or entry.left, entry.left)
        self.entries.append(entry)

    def find(self, number: int) -> Entry | None:
        """An order that rests."""
        return next((e for e in self.entries if e.number == number), None)

    def cancel(self, number: int) -> None:
        """Takes an order out."""
        entry = self.find(number)
        if entry is not None:
            self.entries.remove(entry)

    def amend(self, number: int, quantity: int, price: int) -> None:
        """Changes an order: `quantity` is in all."""
        entry = self.find(number)
        if entry is None or quantity <= entry.done or entry.display > quantity:
            return
        left = quantity - entry.done
        if price == entry.price and left <= entry.left:
            entry.left = left
            entry.shown = min(entry.shown, left)
            return
        if entry.post and self.reach(entry.is_buy, price):
            return
        self.entries.remove(entry)
        entry.left, entry.price = left, price
        self.trade(entry)
        if entry.left:
            self.rest(entry)

    def levels(self, is_buy: bool) -> list[tuple[int, int, int]]:
        """(price, shown, orders) of a side, best first."""
        levels: dict[int, tuple[int, int]] = {}
        for e in self.side(is_buy):
            shown, count = levels.get(e.price or 0, (0, 0))
            levels[e.price or 0] = (shown + e.shown, count + 1)
        return [(price, *rest) for price, rest in levels.items()]
