"""The price at which an auction uncrosses.

It is the price at which the greatest quantity trades. If there are several, it is the one with the smallest imbalance, then
the one nearest to the reference price, then the lower one. (Xetra Market Model 13.2, "Price determination in auctions";
Nasdaq Equity Rule 4752(d)(2).)
"""

from dataclasses import dataclass

from matching_engine.book import Book, BookSide


@dataclass(frozen=True, slots=True)
class Uncrossing:
    """The price, quantity and imbalance of an uncrossing."""

    price: int
    """Ticks; 0 if nothing trades."""
    quantity: int
    """Lots that trade."""
    imbalance: int
    """Lots that do not trade at that price: positive for buys, negative for sells."""


NOTHING = Uncrossing(0, 0, 0)


def uncrossing(book: Book, reference_price: int) -> Uncrossing:
    """Return how `book` would uncross now. Hidden quantity counts."""
    bid, ask = book.bids.best(), book.asks.best()
    if bid is None or ask is None or bid.price < ask.price:
        return NOTHING
    buys, sells = _by_price(book.bids, ask.price), _by_price(book.asks, bid.price)
    # At a price, bids at it or above buy, and offers at it or below sell. From the lowest price up, demand falls by the bids
    # below the price, and supply grows by the offers at the price.
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
    """Return the prices at which demand or supply changes, their neighbours, and the reference price, lowest first.

    Between two of these prices only the distance to the reference price changes.
    """
    lowest, highest = min(sells), max(buys)
    prices = {*buys, *sells, *(price + 1 for price in buys), *(price - 1 for price in sells), reference_price}
    return sorted(price for price in prices if lowest <= price <= highest)


def _by_price(side: BookSide, limit: int) -> dict[int, int]:
    """Return the open lots by price, with hidden lots, of the levels that cross `limit`."""
    lots: dict[int, int] = {}
    is_bid = side.side == "buy"
    for level in side.best_first():
        if level.price < limit if is_bid else level.price > limit:
            break
        lots[level.price] = sum(order.leaves for order in level)
    return lots
