"""The stable codes of refusals, and their meanings.

Codes are part of the interface. A code is never renamed and never changes its meaning. New codes are added at the end.
"""

from enum import StrEnum


class Code(StrEnum):
    """The stable code of a refusal, in JSON, in reports and in the database."""

    # The gateway refuses before it sends a command.
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

    # The engine refuses.
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

    # The engine ends an order without a cancel.
    NO_LIQUIDITY = "NO_LIQUIDITY"
    SELF_TRADE = "SELF_TRADE"

    # The engine refuses, continued.
    HOUSE_CLOSED = "HOUSE_CLOSED"
    MARKET_HALTED = "MARKET_HALTED"
    MARKET_CLOSED = "MARKET_CLOSED"
    NOT_IN_AUCTION = "NOT_IN_AUCTION"
    WOULD_TRADE = "WOULD_TRADE"
    NOT_FILLABLE = "NOT_FILLABLE"
    POSITION_LIMIT = "POSITION_LIMIT"
    UNKNOWN_SAVED_BOOK = "UNKNOWN_SAVED_BOOK"

    # The engine ends an order, continued.
    PRICE_BAND = "PRICE_BAND"
    UNFILLED = "UNFILLED"
    EXPIRED = "EXPIRED"
    BOOK_LOADED = "BOOK_LOADED"

    # The gateway refuses, continued.
    RATE_LIMITED = "RATE_LIMITED"

    # The engine ends and refuses orders in a delisted security.
    DELISTED = "DELISTED"

    # The clearinghouse refuses. It means a fault in the exchange.
    SETTLEMENT_FAULT = "SETTLEMENT_FAULT"

    # The gateway refuses, continued.
    DISK_FULL = "DISK_FULL"
    # The gateway and the feed refuse, continued.
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    FOREIGN_ORIGIN = "FOREIGN_ORIGIN"
    # The engine refuses actions on a session, and ends orders with it.
    NO_SESSION = "NO_SESSION"
    SESSION_STATE = "SESSION_STATE"
    ROUND_ENDED = "ROUND_ENDED"
    PAID_OUT = "PAID_OUT"
    UNKNOWN_TENDER = "UNKNOWN_TENDER"
    TENDER_CLOSED = "TENDER_CLOSED"


MEANING: dict[Code, str] = {
    Code.MALFORMED: "The body or message is not valid JSON, or not an object.",
    Code.INVALID_FIELD: "A field is missing, of the wrong type or out of range; `field` names it.",
    Code.UNKNOWN_SYMBOL: "No security with that symbol is listed.",
    Code.UNAUTHENTICATED: "The request has no API key, or the key is not valid.",
    Code.FORBIDDEN: "The key is valid but does not give access to this.",
    Code.NOT_FOUND: "There is nothing at this address.",
    Code.METHOD_NOT_ALLOWED: "The address exists but does not accept this HTTP method.",
    Code.TOO_LARGE: "The request or message is larger than the limit.",
    Code.UNAVAILABLE: "The exchange cannot do this now. Nothing was done: send it again after `Retry-After` seconds.",
    Code.OUTCOME_UNKNOWN: "The command was sent, and its outcome is not known yet. Request the order by its id.",
    Code.INTERNAL: "A fault in the exchange; its log has the details.",
    Code.CLIENT_EXISTS: "A client with that id already has an account.",
    Code.UNKNOWN_CLIENT: "No client with that id has an account.",
    Code.CLIENT_SUSPENDED: "The client is suspended. Its orders were cancelled, and new ones are refused.",
    Code.SECURITY_EXISTS: "A security with that symbol is already listed.",
    Code.UNKNOWN_ORDER: "This client has no order with that id.",
    Code.ORDER_CLOSED: "The order is filled, cancelled or rejected already, so it cannot be changed.",
    Code.DUPLICATE_CLIENT_ORDER_ID: "Another order of yours, open or of the last day, has that client_order_id.",
    Code.INSUFFICIENT_CASH: "Buying power does not cover the order: price times quantity and the highest fee.",
    Code.INSUFFICIENT_SHARES: "The client holds fewer shares than the order sells, counting what its open orders sell.",
    Code.LIMIT_EXCEEDED: "The order's value, the account's size or its number of API keys is over the exchange's limit.",
    Code.NO_LIQUIDITY: "The other side was empty, so the rest of a market order was cancelled.",
    Code.SELF_TRADE: "The order would have traded with the client's own order. The newer one was cancelled.",
    Code.HOUSE_CLOSED: "The accounts of the house do not trade in this round of the session.",
    Code.MARKET_HALTED: "Trading of the security is halted. Only cancels are accepted.",
    Code.MARKET_CLOSED: "The market of the security is closed. Only cancels are accepted.",
    Code.NOT_IN_AUCTION: "An auction does not accept ioc, fok and post_only orders. Send them in continuous trading.",
    Code.WOULD_TRADE: "A post_only order would have traded on entry.",
    Code.NOT_FILLABLE: "A fok order could not be filled completely at once, so it was not filled at all.",
    Code.POSITION_LIMIT: "With its open buys, the client would hold more than the security's position limit.",
    Code.UNKNOWN_SAVED_BOOK: "The security has no saved book with that name.",
    Code.PRICE_BAND: "The rest of a market order would have traded outside the price band and was cancelled.",
    Code.UNFILLED: "The rest of an ioc order did not trade at once and was cancelled.",
    Code.EXPIRED: "The order's time in force has ended.",
    Code.BOOK_LOADED: "The admin loaded a saved book that does not have this order.",
    Code.RATE_LIMITED: "You send too many requests, or have too many connections. Nothing was done: send it again after "
    "`Retry-After` seconds, or close connections.",
    Code.DELISTED: "The security is delisted.",
    Code.SETTLEMENT_FAULT: "The clearinghouse could not settle a trade. The client is suspended.",
    Code.DISK_FULL: "A disk of the exchange is nearly full. Nothing was done, and only cancels are accepted.",
    Code.UNSUPPORTED_MEDIA_TYPE: "A classroom takes bodies in JSON only: send the header `Content-Type: application/json`.",
    Code.FOREIGN_ORIGIN: "A classroom refuses a request from a page of another origin, and one with a foreign `Host`.",
    Code.NO_SESSION: "No session is planned. The admin plans one with `POST /admin/session`.",
    Code.SESSION_STATE: "The session is in a state in which this is not possible. The message names the possible actions.",
    Code.ROUND_ENDED: "The order was cancelled at the end of a round, or before the start of one.",
    Code.PAID_OUT: "The order was cancelled by a final payout, or because its client must pay for a short position.",
    Code.UNKNOWN_TENDER: "No tender with that id was offered to this client in this round.",
    Code.TENDER_CLOSED: "The tender has expired, or the client has answered it already.",
}
"""The meaning of each code."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error
    """The exchange refuses a request, with a code, a message that names the fix, and the field if one is wrong."""

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
        """Seconds after which the client may send the request again."""
        self.limit = limit
        """Requests a second that are allowed."""

    def as_json(self) -> dict[str, object]:
        """Return the JSON form: `{"error": {"code", "message", "field"?, "retry_after"?}}`."""
        error: dict[str, object] = {"code": str(self.code), "message": self.message}
        if self.field is not None:
            error["field"] = self.field
        if self.retry_after is not None:
            error["retry_after"] = round(self.retry_after, 3)
        return {"error": error}
