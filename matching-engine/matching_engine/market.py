"""The market of one listed security: its terms, book, waiting orders and state."""

from decimal import Decimal

from matching_engine.auction import NOTHING
from matching_engine.book import Book, Order
from matching_engine.limits import BPS
from matching_engine.stops import StopBook
from microexchange.enum_terms import COLLECTING
from microexchange.enums import PricingRule
from microexchange.numbers import MAX_CASH, MAX_LOTS, MAX_TICKS, divide_half_even
from microexchange.reports import SecurityListed


class FeeRate:
    """A fee as a part of the notional."""

    __slots__ = ("bps", "per_tick")

    def __init__(self, bps: int, tick_value: int) -> None:
        units, remainder = divmod(tick_value * bps, BPS)
        self.bps = bps
        self.per_tick = None if remainder else units
        """Cash units for each tick of each lot. None if that is not a whole number: then each fee is rounded."""

    def rounded_fee(self, notional: int) -> int:
        """Return the fee for a notional, both in cash units, rounded half to even."""
        return divide_half_even(notional * self.bps, BPS)


class SecurityMarket:
    """The market of one listed security. The hot path reads copies of the listing's terms."""

    __slots__ = (
        "auction",
        "book",
        "book_sequence",
        "cost_per_tick",
        "ends_at",
        "has_band",
        "held_fee_bps",
        "high",
        "last_price",
        "listing",
        "lot_size",
        "low",
        "maker_fee",
        "max_quantity",
        "max_ticks",
        "max_value",
        "position_limit",
        "reference_price",
        "short_limit",
        "short_value",
        "state",
        "stops",
        "symbol",
        "taker_fee",
        "tick_value",
        "trades_at_resting_price",
    )

    def __init__(self, listing: SecurityListed) -> None:
        self.listing = listing
        self.symbol = listing.symbol
        self.tick_value = listing.tick_value
        self.maker_fee = FeeRate(listing.maker_fee_bps, listing.tick_value)
        self.taker_fee = FeeRate(listing.taker_fee_bps, listing.tick_value)
        self.held_fee_bps = max(listing.maker_fee_bps, listing.taker_fee_bps, 0)
        """The highest fee that an order can pay. A buy holds it."""
        fee, remainder = divmod(listing.tick_value * self.held_fee_bps, BPS)
        self.cost_per_tick = 0 if remainder else listing.tick_value + fee
        """Cash units that one tick of one lot can cost with the highest fee; 0 if this is not a whole number."""
        self.lot_size = Decimal(listing.lot_size)
        self.max_quantity = listing.max_order_quantity or MAX_LOTS
        self.max_value = listing.max_order_value or MAX_CASH
        self.max_ticks = self.max_value // listing.tick_value
        """The greatest product of price and quantity of one order, in ticks times lots."""
        self.trades_at_resting_price = listing.pricing_rule is PricingRule.RESTING
        """Whether all trades are at the resting order's price."""
        self.short_limit = listing.short_limit
        self.short_value = listing.reference_price * listing.tick_value
        """Cash units for which a short lot counts against an account's short limit."""
        self.position_limit = listing.position_limit
        self.has_band = listing.band_bps > 0
        self.book = Book()
        self.stops = StopBook()
        self.state = listing.state
        self.ends_at = 0
        """The time in nanoseconds at which the state ends by itself; 0 for never."""
        self.auction = NOTHING
        """The uncrossing of the last auction report."""
        self.book_sequence = 0
        """The number of price updates of this book so far."""
        self.last_price = 0
        """The price of the last trade in ticks; 0 before the first."""
        self.set_reference(listing.reference_price)

    def ticks_of(self, price: int) -> int | None:
        """Return a price in cash units for a share in ticks. None if it is not a whole number of them."""
        ticks, rest = divmod(price * self.lot_size, self.tick_value)
        return None if rest else int(ticks)

    def set_reference(self, price: int) -> None:
        """Set the reference price, in ticks, and the price band around it."""
        self.reference_price = price
        if self.has_band:
            band = self.listing.band_bps
            self.low = max(1, -(-price * (BPS - band) // BPS))
            self.high = price * (BPS + band) // BPS
        else:
            self.low, self.high = 1, MAX_TICKS

    @property
    def is_collecting(self) -> bool:
        """Return whether orders rest without trading."""
        return self.state in COLLECTING

    def resting_orders(self) -> list[Order]:
        """Return the orders in the book: the bids, then the asks, each in priority."""
        return [*self.book.bids, *self.book.asks]

    def open_orders(self) -> list[Order]:
        """Return the resting orders, then those that wait for a trigger, oldest first."""
        return [*self.book.bids, *self.book.asks, *self.stops]
