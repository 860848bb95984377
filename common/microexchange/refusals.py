"""Every reason for which the exchange says no: a stable code, an HTTP status, a sentence.

Codes are part of the interface. A code is never renamed and never means another thing; new ones are added at the end.
"""

from enum import StrEnum


class Code(StrEnum):
    """The stable code of a refusal, as it stands in JSON, in reports and in the database."""

    # What the gateway finds wrong before a command enters the market.
    MALFORMED = "MALFORMED"
    INVALID_FIELD = "INVALID_FIELD"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    TOO_LARGE = "TOO_LARGE"
    UNAVAILABLE = "UNAVAILABLE"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    INTERNAL = "INTERNAL"

    # What the matching engine refuses.
    CLIENT_EXISTS = "CLIENT_EXISTS"
    UNKNOWN_CLIENT = "UNKNOWN_CLIENT"
    CLIENT_SUSPENDED = "CLIENT_SUSPENDED"
    SECURITY_EXISTS = "SECURITY_EXISTS"
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    ORDER_CLOSED = "ORDER_CLOSED"
    DUPLICATE_CLIENT_ORDER_ID = "DUPLICATE_CLIENT_ORDER_ID"
    INSUFFICIENT_CASH = "INSUFFICIENT_CASH"
    INSUFFICIENT_SHARES = "INSUFFICIENT_SHARES"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"

    # Why the matching engine ended an order that nobody cancelled.
    NO_LIQUIDITY = "NO_LIQUIDITY"
    SELF_TRADE = "SELF_TRADE"

    # More of what the matching engine refuses.
    MARKET_HALTED = "MARKET_HALTED"
    MARKET_CLOSED = "MARKET_CLOSED"
    NOT_IN_AUCTION = "NOT_IN_AUCTION"
    WOULD_TRADE = "WOULD_TRADE"
    NOT_FILLABLE = "NOT_FILLABLE"
    POSITION_LIMIT = "POSITION_LIMIT"
    UNKNOWN_SAVED_BOOK = "UNKNOWN_SAVED_BOOK"

    # More of why an order ended.
    PRICE_BAND = "PRICE_BAND"
    UNFILLED = "UNFILLED"
    EXPIRED = "EXPIRED"
    BOOK_LOADED = "BOOK_LOADED"

    # More of what the gateway refuses.
    RATE_LIMITED = "RATE_LIMITED"

    # Why orders ended, and are refused, in a security that is listed no more.
    DELISTED = "DELISTED"

    # What the clearinghouse refuses: each means a fault in the exchange.
    SETTLEMENT_FAULT = "SETTLEMENT_FAULT"


MEANING: dict[Code, str] = {
    Code.MALFORMED: "The body or message is not valid JSON, or not an object.",
    Code.INVALID_FIELD: "A field is missing, of the wrong type or out of range; `field` names it.",
    Code.UNKNOWN_SYMBOL: "No security of that symbol is listed.",
    Code.UNAUTHENTICATED: "No API key came with the request, or it is not valid.",
    Code.FORBIDDEN: "The key is valid but does not give access to this.",
    Code.NOT_FOUND: "There is nothing at this address.",
    Code.METHOD_NOT_ALLOWED: "The address exists but does not take this HTTP method.",
    Code.TOO_LARGE: "The request or message is larger than the limit.",
    Code.UNAVAILABLE: "The exchange cannot take this now. Nothing was done: send it again after `Retry-After` seconds.",
    Code.OUTCOME_UNKNOWN: "The command was sent; whether the market took it is not known yet. Ask for the order by its id.",
    Code.INTERNAL: "A fault in the exchange; its log has the details.",
    Code.CLIENT_EXISTS: "A client of that id already has an account.",
    Code.UNKNOWN_CLIENT: "No client of that id has an account.",
    Code.CLIENT_SUSPENDED: "The client is suspended: its orders were cancelled and new ones are refused.",
    Code.SECURITY_EXISTS: "A security of that symbol is already listed.",
    Code.UNKNOWN_ORDER: "This client has no order of that id.",
    Code.ORDER_CLOSED: "The order is filled, cancelled or rejected already, so it cannot be changed.",
    Code.DUPLICATE_CLIENT_ORDER_ID: "The client has an open order with that client_order_id.",
    Code.INSUFFICIENT_CASH: "Buying power does not cover the order: price times quantity and the highest fee.",
    Code.INSUFFICIENT_SHARES: "The client holds fewer shares than the order sells, counting what its open orders sell.",
    Code.LIMIT_EXCEEDED: "The order's value or the account's size is over the exchange's limit.",
    Code.NO_LIQUIDITY: "The rest of a market order found nothing on the other side and was cancelled.",
    Code.SELF_TRADE: "The order would have traded with the same client's own order; the newer one was cancelled.",
    Code.MARKET_HALTED: "Trading of the security is halted: only cancels are taken.",
    Code.MARKET_CLOSED: "The security is closed: only cancels are taken.",
    Code.NOT_IN_AUCTION: "An auction takes no such order: ioc, fok and post_only only make sense in continuous trading.",
    Code.WOULD_TRADE: "A post_only order would have traded on entry.",
    Code.NOT_FILLABLE: "A fok order could not be filled whole at once, so none of it was.",
    Code.POSITION_LIMIT: "With its open buys the client would hold more than the limit of the security.",
    Code.UNKNOWN_SAVED_BOOK: "No book of that security was saved under that name.",
    Code.PRICE_BAND: "The rest of a market order would have traded outside the price band and was cancelled.",
    Code.UNFILLED: "The rest of an ioc order did not trade at once and was cancelled.",
    Code.EXPIRED: "The order's time is over.",
    Code.BOOK_LOADED: "The admin has put the book back to an earlier state, which this order was not part of.",
    Code.RATE_LIMITED: "You ask more often than you may. Nothing was done: ask again after `Retry-After` seconds.",
    Code.DELISTED: "The security is listed no more.",
    Code.SETTLEMENT_FAULT: "The clearinghouse could not settle what the engine matched. The client is suspended.",
}
"""What each code means, in one sentence."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not an accident
    """The exchange refuses a request: a code, a sentence that says what would be right, and the field at fault if one is."""

    def __init__(
        self,
        code: Code,
        message: str,
        field: str | None = None,
        retry_after: float | None = None,
        limit: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retry_after = retry_after
        """Seconds after which it is of use to ask again."""
        self.limit = limit
        """How many requests a second are allowed."""

    def as_json(self) -> dict[str, object]:
        """The one shape of an error: `{"error": {"code", "message", "field"?, "retry_after"?}}`."""
        error: dict[str, object] = {"code": str(self.code), "message": self.message}
        if self.field is not None:
            error["field"] = self.field
        if self.retry_after is not None:
            error["retry_after"] = round(self.retry_after, 3)
        return {"error": error}
