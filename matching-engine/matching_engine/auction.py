"""Where an auction uncrosses: one price for all.

The price at which the most trades; among those the one that leaves the least over; among those the one nearest to the
reference price; of two equally near, the lower. (Xetra Market Model 13.2, "Price determination in auctions"; Nasdaq Equity
Rule 4752(d)(2).)
"""

from dataclasses import dataclass

from matching_engine.book import Book, BookSide


@dataclass(frozen=True, slots=True)
class Uncrossing:
    """What would trade, and where."""

    price: int
    """Ticks; 0 where nothing trades."""
    quantity: int
    """Lots that trade."""
    imbalance: int
    """Lots that are left over at that price: positive for buys."""


NOTHING = Uncrossing(0, 0, 0)


def uncrossing(book: Book, reference_price: int) -> Uncrossing:
    """How `book` would uncross now. Hidden quantity counts."""
    bid, ask = book.bids.best(), book.asks.best()
    if bid is None or ask is None or bid.price < ask.price:
        return NOTHING
    buys, sells = _by_price(book.bids, ask.price), _by_price(book.asks, bid.price)
    # At a price, whoever bids that or more buys, and whoever asks that or less sells: from the lowest price up, demand
    # falls by the bids that are passed, and supply grows by the offers that are reached.
    demand, supply = sum(buys.values()), 0
    passed = 0
    best: tuple[int, int, int, int] | None = None
    result = NOTHING
    for price in _candidates(buys, sells, reference_price):
        demand -= passed
        supply += sells.get(price, 0)
        passed = buys.get(price, 0)
        quantity = min(demand, supply)
        rank = (-quantity, abs(demand - supply), abs(price - reference_price), price)
        if best is None or rank < best:
            best, result = rank, Uncrossing(price, quantity, demand - supply)
    return result


def _candidates(buys: dict[int, int], sells: dict[int, int], reference_price: int) -> list[int]:
    """The prices at which demand or supply changes, their neighbours, and the reference price: between two of these
    nothing changes but the distance to the reference."""
    lowest, highest = min(sells), max(buys)
    prices = {*buys, *sells, *(price + 1 for price in buys), *(price - 1 for price in sells), reference_price}
    return sorted(price for price in prices if lowest <= price <= highest)


def _by_price(side: BookSide, limit: int) -> dict[int, int]:
    """Open lots by price, hidden ones too, of the levels that cross `limit`."""
    lots: dict[int, int] = {}
    is_bid = side.side == "buy"
    for level in side.best_first():
        if level.price < limit if is_bid else level.price > limit:
            break
        lots[level.price] = sum(order.leaves for order in level)
    return lots
