"""The rules: a command in, events out. Deterministic, integers only, no I/O, no clock.

`Engine.apply` is the whole interface. It never raises for what a command says: it refuses, with a code. Price-time
priority and trading at the resting order's price follow the rule books of continuous order-driven markets (Nasdaq Equity
Rule 4757(a)(1), Xetra Market Model 13.2).
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from matching_engine.book import Book, Level, Order
from matching_engine.credit import BPS, Account, hold_per_lot
from microexchange.ids import gateway_of
from microexchange.messages import (
    AccountOpened,
    CancelOrder,
    ClientSuspended,
    Command,
    CommandRejected,
    Event,
    ExecType,
    Execution,
    GatewayLoggedOn,
    GatewayLogon,
    Liquidity,
    ListSecurity,
    NewOrder,
    OpenAccount,
    OrderReport,
    OrderStatus,
    OrderType,
    PriceUpdate,
    SecurityListed,
    Side,
    SuspendClient,
    Trade,
    Transfer,
)
from microexchange.numbers import (
    MAX_CASH,
    MAX_LOTS,
    MAX_TICKS,
    NotExactError,
    cash_to_text,
    divide_half_even,
    from_steps,
    tick_value,
)
from microexchange.refusals import Code

MAX_ISSUED_CASH = 90 * MAX_CASH
"""The most cash that all accounts together are given, so that any sum of balances fits 64 bits."""

_BUY, _SELL = Side.BUY, Side.SELL
_LIMIT = OrderType.LIMIT


class Market:
    """One listed security: its terms, its book, its last price."""

    __slots__ = ("book", "book_sequence", "highest_fee_bps", "last_price", "listing", "lot_size")

    def __init__(self, listing: SecurityListed) -> None:
        self.listing = listing
        self.book = Book()
        self.book_sequence = 0
        """Price updates of this book so far."""
        self.last_price = 0
        """Ticks of the last trade; 0 before the first."""
        self.highest_fee_bps = max(listing.maker_fee_bps, listing.taker_fee_bps)
        self.lot_size = Decimal(listing.lot_size)


class Engine:
    """The state of the market, and the one way to change it."""

    def __init__(self) -> None:
        self.markets: dict[str, Market] = {}
        self.accounts: dict[str, Account] = {}
        self.last_command_ids: dict[int, int] = {}
        """The highest command id seen, by gateway number."""
        self.next_trade_id = 1
        self.issued_cash = 0
        """Cash units that accounts were opened with."""
        self._handlers: dict[type, Callable[[Any], list[Event]]] = {
            NewOrder: self._new_order,
            CancelOrder: self._cancel_order,
            OpenAccount: self._open_account,
            SuspendClient: self._suspend_client,
            ListSecurity: self._list_security,
        }

    def apply(self, command: Command) -> list[Event]:
        """Applies one command, and tells all that it caused, in order. A command seen before causes nothing."""
        if isinstance(command, GatewayLogon):
            return [self._logon(command)]
        command_id = command.command_id
        gateway = gateway_of(command_id)
        if command_id <= self.last_command_ids.get(gateway, 0):
            return []
        self.last_command_ids[gateway] = command_id
        return self._handlers[type(command)](command)

    # --- gateways, accounts, securities ---------------------------------------------------------------------

    def _logon(self, command: GatewayLogon) -> GatewayLoggedOn:
        last = self.last_command_ids.get(command.gateway, 0)
        return GatewayLoggedOn(command.gateway, command.epoch, command.timestamp, last)

    def _list_security(self, command: ListSecurity) -> list[Event]:
        if command.symbol in self.markets:
            return [_rejected(command, "", Code.SECURITY_EXISTS, f"{command.symbol} is already listed")]
        try:
            value = tick_value(command.tick_size, command.lot_size)
        except NotExactError as error:
            return [_rejected(command, "", Code.INVALID_FIELD, str(error))]
        fees = (command.maker_fee_bps, command.taker_fee_bps)
        if not 1 <= command.reference_price <= MAX_TICKS or any(not 0 <= fee <= BPS for fee in fees):
            text = f"the reference price must be between 1 and {MAX_TICKS} ticks, fees between 0 and {BPS} bps"
            return [_rejected(command, "", Code.INVALID_FIELD, text)]
        listing = SecurityListed(
            command.command_id,
            command.timestamp,
            command.symbol,
            command.name,
            command.tick_size,
            command.lot_size,
            value,
            command.reference_price,
            command.maker_fee_bps,
            command.taker_fee_bps,
        )
        self.markets[command.symbol] = Market(listing)
        return [listing]

    def _open_account(self, command: OpenAccount) -> list[Event]:
        client_id, cash, shares = command.client_id, command.cash, command.shares
        refusal: tuple[Code, str] | None = None
        if client_id in self.accounts:
            refusal = Code.CLIENT_EXISTS, f"{client_id} already has an account"
        elif unknown := [symbol for symbol in shares if symbol not in self.markets]:
            refusal = Code.UNKNOWN_SYMBOL, f"{unknown[0]} is not listed"
        elif not 0 <= cash <= MAX_CASH or any(not 0 <= lots <= MAX_LOTS for lots in shares.values()):
            refusal = Code.LIMIT_EXCEEDED, "an account cannot be opened with that much"
        elif self.issued_cash + cash > MAX_ISSUED_CASH:
            refusal = Code.LIMIT_EXCEEDED, "the exchange has issued all the cash that it can count"
        if refusal is not None:
            return [_rejected(command, client_id, *refusal)]
        account = self.accounts[client_id] = Account(client_id, cash)
        self.issued_cash += cash
        for symbol, lots in shares.items():
            account.holding(symbol).quantity = lots
        return [
            Transfer(command.command_id, command.timestamp, client_id, cash, shares),
            AccountOpened(command.command_id, command.timestamp, client_id, cash, shares),
        ]

    def _suspend_client(self, command: SuspendClient) -> list[Event]:
        account = self.accounts.get(command.client_id)
        if account is None:
            text = f"{command.client_id} has no account"
            return [_rejected(command, command.client_id, Code.UNKNOWN_CLIENT, text)]
        if account.suspended:
            return []
        account.suspended = True
        events: list[Event] = [
            ClientSuspended(command.command_id, command.timestamp, command.client_id, command.text),
        ]
        for order_id in sorted(account.orders):
            order = account.orders[order_id]
            events += self._cancel(order, account, command, Code.CLIENT_SUSPENDED, "the client was suspended")
        return events

    # --- orders ---------------------------------------------------------------------------------------------

    def _cancel_order(self, command: CancelOrder) -> list[Event]:
        account = self.accounts.get(command.client_id)
        order = account.orders.get(command.order_id) if account is not None else None
        if account is None or order is None:
            text = f"{command.client_id} has no open order {command.order_id}"
            return [_rejected(command, command.client_id, Code.UNKNOWN_ORDER, text, command.order_id)]
        return self._cancel(order, account, command)

    def _cancel(
        self, order: Order, account: Account, command: Command, code: Code | None = None, text: str = ""
    ) -> list[Event]:
        """Takes a resting order out of its book."""
        market = self.markets[order.symbol]
        level = market.book.side(order.side).remove(order)
        self._release(order, account, order.leaves)
        del account.orders[order.order_id]
        account.by_client_order_id.pop(order.client_order_id, None)
        return [
            _report(order, command, ExecType.CANCELED, OrderStatus.CANCELED, 0, code=code, text=text),
            self._price_update(market, order.side, level, command.timestamp),
        ]

    def _new_order(self, command: NewOrder) -> list[Event]:
        account = self.accounts.get(command.client_id)
        market = self.markets.get(command.symbol)
        order = Order(
            command.command_id,
            command.client_id,
            command.client_order_id,
            command.symbol,
            command.side,
            command.order_type,
            command.quantity,
            command.price,
            0,
        )
        refusal = self._refuse(command, account, market)
        if refusal is not None or account is None or market is None:
            code, text = refusal or (Code.INTERNAL, "")
            return [_report(order, command, ExecType.REJECTED, OrderStatus.REJECTED, 0, code=code, text=text)]

        self._hold(order, account, market)
        events: list[Event] = [_report(order, command, ExecType.NEW, OrderStatus.NEW, order.leaves)]
        ended_by = self._match(order, account, market, command, events)
        if order.leaves and ended_by is None and order.price is not None:
            level = market.book.side(order.side).add(order, order.price)
            account.orders[order.order_id] = order
            if order.client_order_id:
                account.by_client_order_id[order.client_order_id] = order.order_id
            events.append(self._price_update(market, order.side, level, command.timestamp))
        elif order.leaves:
            self._release(order, account, order.leaves)
            code, text = ended_by or (Code.NO_LIQUIDITY, "nothing more on the other side")
            events.append(_report(order, command, ExecType.CANCELED, OrderStatus.CANCELED, 0, code=code, text=text))
        return events

    def _refuse(self, command: NewOrder, account: Account | None, market: Market | None) -> tuple[Code, str] | None:
        """Why an order cannot enter, or None. All is looked at before anything changes."""
        quantity, price = command.quantity, command.price
        if market is None:
            return Code.UNKNOWN_SYMBOL, f"{command.symbol} is not listed"
        if account is None:
            return Code.UNKNOWN_CLIENT, f"{command.client_id} has no account"
        if account.suspended:
            return Code.CLIENT_SUSPENDED, f"{command.client_id} is suspended"
        if not 1 <= quantity <= MAX_LOTS:
            return Code.LIMIT_EXCEEDED, f"quantity must be between 1 and {MAX_LOTS} lots"
        if command.order_type is _LIMIT:
            if price is None or not 1 <= price <= MAX_TICKS:
                return Code.INVALID_FIELD, f"a limit order needs a price between 1 and {MAX_TICKS} ticks"
            if price * quantity * market.listing.tick_value > MAX_CASH:
                return Code.LIMIT_EXCEEDED, f"the order's value is over {cash_to_text(MAX_CASH)}"
        elif price is not None:
            return Code.INVALID_FIELD, "a market order has no price"
        if command.client_order_id in account.by_client_order_id:
            return (
                Code.DUPLICATE_CLIENT_ORDER_ID,
                f"{command.client_order_id} is the open order {account.by_client_order_id[command.client_order_id]}",
            )
        return self._refuse_credit(command, account, market)

    def _refuse_credit(self, command: NewOrder, account: Account, market: Market) -> tuple[Code, str] | None:
        if command.side is _SELL:
            holding = account.holdings.get(command.symbol)
            sellable = 0 if holding is None else holding.sellable
            if command.quantity > sellable:
                needed, has = (from_steps(lots, market.lot_size) for lots in (command.quantity, sellable))
                missing = from_steps(command.quantity - sellable, market.lot_size)
                return Code.INSUFFICIENT_SHARES, f"the order sells {needed}, {has} can be sold: {missing} too few"
            return None
        cost = self._most_cost(command, market)
        if cost > account.buying_power:
            short = cost - account.buying_power
            return (
                Code.INSUFFICIENT_CASH,
                f"the order can cost {cash_to_text(cost)}, buying power is {cash_to_text(account.buying_power)}: "
                f"{cash_to_text(short)} too little",
            )
        return None

    @staticmethod
    def _most_cost(command: NewOrder, market: Market) -> int:
        """The most cash units that a buy can take: all at its limit, or, for a market order, what is on offer now."""
        tick_value, fee = market.listing.tick_value, market.highest_fee_bps
        if command.price is not None:
            return command.quantity * hold_per_lot(command.price, tick_value, fee)
        cost, wanted = 0, command.quantity
        for level in market.book.asks.in_priority():
            lots = min(wanted, level.quantity)
            cost += lots * hold_per_lot(level.price, tick_value, fee)
            wanted -= lots
            if not wanted:
                break
        return cost

    # --- matching -------------------------------------------------------------------------------------------

    def _match(
        self, taker: Order, account: Account, market: Market, command: Command, events: list[Event]
    ) -> tuple[Code, str] | None:
        """Trades `taker` with the other side: best price first, oldest first, while its limit allows.

        Returns why the rest of the order must end now, or None.
        """
        opposite = market.book.opposite(taker.side)
        limit = taker.price
        is_buy = taker.side is _BUY
        touched: list[Level] = []
        ended_by: tuple[Code, str] | None = None
        while taker.leaves and ended_by is None:
            level = opposite.best()
            if level is None or (limit is not None and (level.price > limit if is_buy else level.price < limit)):
                break
            touched.append(level)
            while taker.leaves and (maker := level.head) is not None:
                if maker.client_id == taker.client_id:
                    ended_by = Code.SELF_TRADE, f"it would have traded with this client's order {maker.order_id}"
                    break
                self._trade(taker, account, maker, level, market, command, events)
        events.extend(self._price_update(market, opposite.side, level, command.timestamp) for level in touched)
        return ended_by

    def _trade(
        self,
        taker: Order,
        taker_account: Account,
        maker: Order,
        level: Level,
        market: Market,
        command: Command,
        events: list[Event],
    ) -> None:
        """One trade, at the resting order's price."""
        price = level.price
        quantity = min(taker.leaves, maker.leaves)
        maker_account = self.accounts[maker.client_id]
        listing = market.listing
        notional = price * quantity * listing.tick_value
        maker_fee = divide_half_even(notional * listing.maker_fee_bps, BPS)
        taker_fee = divide_half_even(notional * listing.taker_fee_bps, BPS)
        trade_id = self.next_trade_id
        self.next_trade_id = trade_id + 1
        market.last_price = price
        timestamp = command.timestamp

        level.quantity -= quantity
        for order, account, fee in ((maker, maker_account, maker_fee), (taker, taker_account, taker_fee)):
            order.leaves -= quantity
            order.notional += notional
            self._release(order, account, quantity)
            holding = account.holding(order.symbol)
            if order.side is _BUY:
                account.cash -= notional + fee
                holding.quantity += quantity
            else:
                account.cash += notional - fee
                holding.quantity -= quantity
        if not maker.leaves:
            market.book.side(maker.side).remove(maker)
            del maker_account.orders[maker.order_id]
            maker_account.by_client_order_id.pop(maker.client_order_id, None)

        if taker.side is _BUY:
            buy, buy_fee, sell, sell_fee = taker, taker_fee, maker, maker_fee
        else:
            buy, buy_fee, sell, sell_fee = maker, maker_fee, taker, taker_fee
        events += (
            Execution(
                trade_id,
                timestamp,
                taker.symbol,
                quantity,
                price,
                taker.side,
                buy.order_id,
                buy.client_id,
                sell.order_id,
                sell.client_id,
                notional,
                notional,
                buy_fee,
                sell_fee,
            ),
            Trade(
                trade_id,
                timestamp,
                taker.symbol,
                price,
                quantity,
                taker.side,
                maker.order_id,
                taker.order_id,
                maker_fee,
                taker_fee,
            ),
            _fill(maker, command, quantity, price, maker_fee, trade_id, Liquidity.MAKER),
            _fill(taker, command, quantity, price, taker_fee, trade_id, Liquidity.TAKER),
        )

    # --- credit ---------------------------------------------------------------------------------------------

    @staticmethod
    def _hold(order: Order, account: Account, market: Market) -> None:
        """Holds what an entering order needs. A market buy trades at once or not at all: it holds nothing."""
        if order.side is _SELL:
            account.holding(order.symbol).offered += order.leaves
        elif order.price is not None:
            order.hold_per_lot = hold_per_lot(order.price, market.listing.tick_value, market.highest_fee_bps)
            account.held += order.leaves * order.hold_per_lot

    @staticmethod
    def _release(order: Order, account: Account, quantity: int) -> None:
        """Gives back what `quantity` lots of the order hold: they have traded or are cancelled."""
        if order.side is _SELL:
            account.holding(order.symbol).offered -= quantity
        else:
            account.held -= quantity * order.hold_per_lot

    @staticmethod
    def _price_update(market: Market, side: Side, level: Level, timestamp: int) -> PriceUpdate:
        market.book_sequence += 1
        return PriceUpdate(
            market.listing.symbol, market.book_sequence, timestamp, side, level.price, level.quantity, level.count
        )


def _rejected(command: Command, client_id: str, code: Code, text: str, order_id: int = 0) -> CommandRejected:
    return CommandRejected(command.command_id, command.timestamp, client_id, code, text, order_id)


def _report(
    order: Order,
    command: Command,
    exec_type: ExecType,
    status: OrderStatus,
    leaves: int,
    *,
    code: Code | None = None,
    text: str = "",
) -> OrderReport:
    """An order report that is not a fill."""
    return OrderReport(
        order.order_id,
        command.command_id,
        command.timestamp,
        order.client_id,
        order.client_order_id,
        order.symbol,
        order.side,
        order.order_type,
        order.quantity,
        order.price,
        exec_type,
        status,
        leaves,
        order.quantity - order.leaves,
        order.notional,
        code="" if code is None else code.value,
        text=text,
    )


def _fill(
    order: Order, command: Command, quantity: int, price: int, fee: int, trade_id: int, liquidity: Liquidity
) -> OrderReport:
    """The report of one fill."""
    return OrderReport(
        order.order_id,
        command.command_id,
        command.timestamp,
        order.client_id,
        order.client_order_id,
        order.symbol,
        order.side,
        order.order_type,
        order.quantity,
        order.price,
        ExecType.TRADE,
        OrderStatus.PARTIALLY_FILLED if order.leaves else OrderStatus.FILLED,
        order.leaves,
        order.quantity - order.leaves,
        order.notional,
        quantity,
        price,
        fee,
        trade_id,
        liquidity,
    )
