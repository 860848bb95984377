"""The rules: a command in, events out. Deterministic, integers only, no I/O, no clock.

`Engine.apply` is the whole interface. It never raises for what a command says: it refuses, with a code. docs/rulebook.md
says each rule in words, with its source.
"""

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, assert_never

import msgspec

from matching_engine.auction import NOTHING, uncrossing
from matching_engine.book import BookSide, Level, Order
from matching_engine.credit import BPS, Account, hold_per_lot
from matching_engine.market import Market
from microexchange.batches import Batch, gateway_name
from microexchange.commands import (
    CancelAll,
    CancelOrder,
    Command,
    GatewayLogon,
    ListSecurity,
    LoadBook,
    NewOrder,
    OpenAccount,
    ReplaceOrder,
    ResumeClient,
    SaveBook,
    SetTradingState,
    SuspendClient,
    TimeTick,
    TransferAssets,
)
from microexchange.enums import ExecType, Liquidity, OrderStatus, OrderType, PricingRule, Side, TimeInForce, TradingState
from microexchange.ids import COUNTER_BITS, MAX_GATEWAY, IdSequence
from microexchange.instructions import Execution, Transfer
from microexchange.kinds import (
    AT_ONCE,
    ORDER_KINDS,
    PASSING,
    PREVENTIONS,
    SELF_TRADING,
    STATES,
    TIMES_IN_FORCE,
    WHOLE,
    WITH_PRICE,
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
from microexchange.reports import (
    AccountOpened,
    AssetsTransferred,
    AuctionUpdate,
    BookLoaded,
    BookSaved,
    ClientResumed,
    ClientSuspended,
    CommandAccepted,
    CommandRejected,
    Event,
    GatewayLoggedOn,
    OrderReport,
    PriceUpdate,
    SecurityListed,
    Trade,
    TradingStateChanged,
)

MAX_ISSUED_CASH = 90 * MAX_CASH
"""The most cash that all accounts together are given, so that any sum of balances fits 64 bits."""

MAX_SAVED_BOOKS = 100
MAX_AUCTION_SECONDS = 86_400
MAX_INT = (1 << 63) - 1
"""What an id, and every other number in a report, may be at most: the databases count in 64 bits."""
MAX_NOW = MAX_INT - MAX_AUCTION_SECONDS * 1_000_000_000
"""The latest time that a command may tell."""

_BUY, _SELL = Side.BUY, Side.SELL
_LIMIT, _MARKET = OrderType.LIMIT, OrderType.MARKET
_GTC = TimeInForce.GTC
_NEW, _TRADE, _CANCELED = ExecType.NEW, ExecType.TRADE, ExecType.CANCELED
_CONTINUOUS = TradingState.CONTINUOUS
_MAKER, _TAKER, _NEITHER = Liquidity.MAKER, Liquidity.TAKER, Liquidity.NONE
_S_NEW, _S_PARTIAL, _S_FILLED = OrderStatus.NEW, OrderStatus.PARTIALLY_FILLED, OrderStatus.FILLED

_HALF = BPS // 2

Reason = tuple[Code, str]
"""Why something is refused or has ended: a code and a sentence."""


class Engine:
    """The state of the market, and the one way to change it."""

    def __init__(self) -> None:
        self.markets: dict[str, Market] = {}
        self.accounts: dict[str, Account] = {}
        self.last_command_ids: dict[int, int] = {}
        """The highest command id seen, by gateway number."""
        self.gateway_tokens: dict[str, int] = {}
        """The fencing_token in which each gateway has logged on last, by its name."""
        self.next_trade_id = 1
        self.next_arrival = 1
        self.issued_cash = 0
        """Cash units that accounts were given."""
        self.granted_credit = 0
        """Cash units that all clients together may owe."""
        self.now = 0
        """The latest time that a command has told."""
        self.saved_books: dict[tuple[str, str], list[NewOrder]] = {}
        """Orders that rested when a book was saved, in priority, by symbol and name."""
        self._timers: list[tuple[int, str, int]] = []
        """(time, client or symbol, order id or 0): what ends by itself, the soonest first. Some of it has ended before."""
        self._handlers: dict[type, Callable[[Any], list[Event]]] = {
            NewOrder: self._new_order,
            CancelOrder: self._cancel_order,
            ReplaceOrder: self._replace_order,
            CancelAll: self._cancel_all,
            OpenAccount: self._open_account,
            TransferAssets: self._transfer_assets,
            SuspendClient: self._suspend_client,
            ResumeClient: self._resume_client,
            ListSecurity: self._list_security,
            GatewayLogon: self._logon,
            SetTradingState: self._set_trading_state,
            SaveBook: self._save_book,
            LoadBook: self._load_book,
            TimeTick: self._time_tick,
        }

    def fresh(self, batch: Batch[Command]) -> Sequence[Command]:
        """The commands of `batch`, to be applied in order. None if its gateway's process has been replaced: what that one
        had under way nobody was promised, and its ids may come again."""
        return () if batch.fencing_token < self.gateway_tokens.get(batch.producer, 0) else batch.records

    def apply(self, command: Command) -> list[Event]:
        """Applies one command, and tells all that it caused, in order.

        A command seen before causes nothing, and neither does one whose id or time no gateway could have given.
        """
        command_id, now, last_ids = command.command_id, command.timestamp, self.last_command_ids
        gateway = (command_id >> COUNTER_BITS) & MAX_GATEWAY  # as gateway_of says, without a call for each command
        if not (last_ids.get(gateway, 0) < command_id <= MAX_INT and 0 <= now <= MAX_NOW):
            return self._logon(command) if isinstance(command, GatewayLogon) else []
        last_ids[gateway] = command_id
        if now > self.now:
            self.now = now
            if self._timers and self._timers[0][0] <= self.now:
                events = self._end_what_is_due(command)
                events += self._handlers[type(command)](command)
                return events
        return self._handlers[type(command)](command)

    # --- gateways, accounts, securities -----------------------------------------------------------------------

    def _logon(self, command: GatewayLogon) -> list[Event]:
        self.gateway_tokens[gateway_name(command.gateway)] = command.fencing_token
        last = self.last_command_ids.get(command.gateway, 0)
        return [GatewayLoggedOn(command.gateway, command.fencing_token, command.timestamp, last)]

    def _list_security(self, command: ListSecurity) -> list[Event]:
        if command.symbol in self.markets:
            return [_rejected(command, "", Code.SECURITY_EXISTS, f"{command.symbol} is already listed")]
        try:
            value = tick_value(command.tick_size, command.lot_size)
        except NotExactError as error:
            return [_rejected(command, "", Code.INVALID_FIELD, str(error))]
        if not _terms_are_sensible(command):
            text = (
                f"the reference price must be between 1 and {MAX_TICKS} ticks, fees between {-BPS} and {BPS} bps and "
                f"together not negative, the band below {BPS} bps, limits and times in range, the state one to begin in"
            )
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
            command.pricing_rule,
            command.band_bps,
            command.auction_seconds,
            command.max_order_quantity,
            command.max_order_value,
            command.short_limit,
            command.position_limit,
            command.state,
        )
        self.markets[command.symbol] = Market(listing)
        return [listing]

    def _open_account(self, command: OpenAccount) -> list[Event]:
        client_id, cash, shares, credit = command.client_id, command.cash, command.shares, command.credit_limit
        short = command.short_limit
        refusal: Reason | None = None
        if client_id in self.accounts:
            refusal = Code.CLIENT_EXISTS, f"{client_id} already has an account"
        elif unknown := [symbol for symbol in shares if symbol not in self.markets]:
            refusal = Code.UNKNOWN_SYMBOL, f"{unknown[0]} is not listed"
        elif not all(0 <= units <= MAX_CASH for units in (cash, credit, short)) or not all(
            0 <= lots <= MAX_LOTS for lots in shares.values()
        ):
            refusal = Code.LIMIT_EXCEEDED, "an account cannot be opened with that much"
        elif self.issued_cash + self.granted_credit + cash + credit > MAX_ISSUED_CASH:
            refusal = Code.LIMIT_EXCEEDED, "the exchange has issued all the cash that it can count"
        if refusal is not None:
            return [_rejected(command, client_id, *refusal)]
        account = self.accounts[client_id] = Account(client_id, cash, command.self_trade_prevention, credit, short)
        self.issued_cash += cash
        self.granted_credit += credit
        for symbol, lots in shares.items():
            account.holding(symbol).quantity = lots
        return [
            Transfer(command.command_id, command.timestamp, client_id, cash, shares, credit_limit=credit),
            AccountOpened(command.command_id, command.timestamp, client_id, cash, shares, command.house),
        ]

    def _transfer_assets(self, command: TransferAssets) -> list[Event]:
        client_id, cash, shares = command.client_id, command.cash, command.shares
        account = self.accounts.get(client_id)
        if account is None:
            return [_unknown_client(command, client_id)]
        refusal = self._refuse_transfer(account, cash, shares)
        if refusal is not None:
            return [_rejected(command, client_id, *refusal)]
        account.cash += cash
        self.issued_cash += cash
        for symbol, lots in shares.items():
            account.holding(symbol).quantity += lots
        return [
            Transfer(command.command_id, command.timestamp, client_id, cash, shares, False, command.memo),
            AssetsTransferred(command.command_id, command.timestamp, client_id, cash, shares, command.memo),
        ]

    def _refuse_transfer(self, account: Account, cash: int, shares: dict[str, int]) -> Reason | None:
        """Why the account cannot be given that, or have that taken from it, or None. What open orders hold stays."""
        if not cash and not any(shares.values()):
            return Code.INVALID_FIELD, "there is nothing to transfer"
        if abs(cash) > MAX_CASH or self.issued_cash + self.granted_credit + cash > MAX_ISSUED_CASH:
            return Code.LIMIT_EXCEEDED, "the exchange cannot count that much cash"
        own = max(account.cash - account.held, 0)  # credit is to trade with
        if cash < 0 and -cash > own:
            return (
                Code.INSUFFICIENT_CASH,
                f"{cash_to_text(-cash)} cannot be withdrawn: {cash_to_text(own)} is free",
            )
        for symbol, lots in shares.items():
            if symbol not in self.markets:
                return Code.UNKNOWN_SYMBOL, f"{symbol} is not listed"
            holding = account.holdings.get(symbol)
            has, offered = (0, 0) if holding is None else (holding.quantity, holding.offered)
            if not -MAX_LOTS <= has + lots <= MAX_LOTS:
                return Code.LIMIT_EXCEEDED, f"an account cannot hold that much of {symbol}"
            if lots < 0 and -lots > has - offered:
                size = self.markets[symbol].lot_size
                wanted, free = from_steps(-lots, size), from_steps(max(has - offered, 0), size)
                return Code.INSUFFICIENT_SHARES, f"{wanted} {symbol} cannot be withdrawn: {free} are free"
        return None

    def _suspend_client(self, command: SuspendClient) -> list[Event]:
        account = self.accounts.get(command.client_id)
        if account is None:
            return [_unknown_client(command, command.client_id)]
        if account.suspended:
            return [_accepted(command)]
        account.suspended = True
        events: list[Event] = [
            _accepted(command),
            ClientSuspended(command.command_id, command.timestamp, command.client_id, command.text),
        ]
        for order_id in sorted(account.orders):
            events += self._cancel(account.orders[order_id], command, Code.CLIENT_SUSPENDED, "the client was suspended")
        return events

    def _resume_client(self, command: ResumeClient) -> list[Event]:
        account = self.accounts.get(command.client_id)
        if account is None:
            return [_unknown_client(command, command.client_id)]
        if not account.suspended:
            return [_accepted(command)]
        account.suspended = False
        return [_accepted(command), ClientResumed(command.command_id, command.timestamp, command.client_id)]

    # --- the end of orders ------------------------------------------------------------------------------------

    def _cancel_order(self, command: CancelOrder) -> list[Event]:
        account = self.accounts.get(command.client_id)
        order = None if account is None else account.orders.get(command.order_id)
        return [_unknown_order(command)] if order is None else self._cancel(order, command)

    def _cancel_all(self, command: CancelAll) -> list[Event]:
        account = self.accounts.get(command.client_id)
        if account is None:
            return [_unknown_client(command, command.client_id)]
        events: list[Event] = [_accepted(command)]
        for order_id in sorted(account.orders):
            order = account.orders[order_id]
            if command.symbol in ("", order.entry.symbol) and command.side in (None, order.entry.side):
                events += self._cancel(order, command)
        return events

    def _cancel(
        self,
        order: Order,
        command: Command,
        code: Code | None = None,
        text: str = "",
        exec_type: ExecType = _CANCELED,
        status: OrderStatus = OrderStatus.CANCELED,
    ) -> list[Event]:
        """Ends an order that rests or waits."""
        market, side = self.markets[order.entry.symbol], order.entry.side
        _release(order, order.leaves)
        order.account.drop(order)
        report = _report(order, command, exec_type, status, 0, code or "", text)
        if order.level is None:
            market.stops.remove(order)
            return [report]
        price, own = order.level.price, market.book.bids if side is _BUY else market.book.asks
        own.remove(order)
        return [report, _price_update(market, own, price, command.timestamp)]

    def _expire(self, order: Order, command: Command) -> list[Event]:
        return self._cancel(order, command, Code.EXPIRED, "its time is over", ExecType.EXPIRED, OrderStatus.EXPIRED)

    def _end_what_is_due(self, command: Command) -> list[Event]:
        """Expires orders and ends auctions whose time has come."""
        events: list[Event] = []
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            at, name, order_id = heappop(timers)
            if order_id:
                order = self.accounts[name].orders.get(order_id)
                if order is not None and order.entry.expire_at == at:
                    events += self._expire(order, command)
            elif self.markets[name].ends_at == at:
                events += self._enter_state(self.markets[name], _CONTINUOUS, command, "the auction is over")
        return events

    def _time_tick(self, command: TimeTick) -> list[Event]:
        """Time has passed: what is due has ended before this. Tells where auctions stand, if that has changed."""
        events: list[Event] = []
        for market in self.markets.values():
            if market.is_collecting:
                now = uncrossing(market.book, market.reference_price)
                if now != market.auction:
                    market.auction = now
                    events.append(AuctionUpdate(market.symbol, command.timestamp, now.price, now.quantity, now.imbalance))
        return events

    # --- entering an order ------------------------------------------------------------------------------------

    def _new_order(self, command: NewOrder) -> list[Event]:
        account = self.accounts.get(command.client_id)
        market = self.markets.get(command.symbol)
        if market is None:
            return _turned_away(command, Code.UNKNOWN_SYMBOL, f"{command.symbol} is not listed")
        if account is None:
            return _turned_away(command, Code.UNKNOWN_CLIENT, f"{command.client_id} has no account")
        order = Order(command, account)
        refusal = self._refuse(order, account, market)
        if refusal is not None:
            return _turned_away(command, *refusal)

        if command.side is _SELL:  # as _hold does, without a call for each order
            order.holding.offered += order.leaves
        else:
            order.holding.bid += order.leaves
            account.held += order.leaves * order.hold_per_lot
        events: list[Event] = [_report(order, command, _NEW, _S_NEW, order.leaves)]
        if order.trigger_price is not None:
            self._wait(order, market)
        elif market.state is _CONTINUOUS:
            self._execute(order, market, command, events)
        else:
            self._rest(order, market, command, events)
            return events
        if market.stops.orders:
            self._fire(market, command, events)
        return events

    def _refuse(self, order: Order, account: Account, market: Market) -> Reason | None:
        """Why an order cannot enter, or None. All is looked at before anything changes."""
        if account.suspended:
            return Code.CLIENT_SUSPENDED, f"{account.client_id} is suspended"
        entry = order.entry
        quantity, price, kind = entry.quantity, entry.price, entry.order_type
        if not 1 <= quantity <= market.max_quantity:
            most = from_steps(market.max_quantity, market.lot_size)
            return Code.LIMIT_EXCEEDED, f"quantity must be at most {most}, and one lot at least"
        if kind is _LIMIT or kind in WITH_PRICE:
            if price is None or not 1 <= price <= MAX_TICKS:
                return Code.INVALID_FIELD, f"a {kind} order needs a price between 1 and {MAX_TICKS} ticks"
            if price * quantity * market.tick_value > market.max_value:
                return Code.LIMIT_EXCEEDED, f"the order's value is over {cash_to_text(market.max_value)}"
        elif price is not None:
            return Code.INVALID_FIELD, f"a {kind} order has no price"
        refusal = None
        if (
            kind is not _LIMIT
            or entry.time_in_force is not _GTC
            or entry.post_only
            or entry.display_quantity
            or entry.trigger_price is not None
            or entry.expire_at
        ):
            refusal = self._refuse_instructions(order, market)
        if refusal is None and market.state is not _CONTINUOUS:
            refusal = _refuse_in_state(order, market)
        if refusal is not None:
            return refusal
        if entry.client_order_id and entry.client_order_id in account.by_client_order_id:
            open_id = account.by_client_order_id[entry.client_order_id]
            return Code.DUPLICATE_CLIENT_ORDER_ID, f"{entry.client_order_id} is the open order {open_id}"
        if price is not None or entry.trigger_price is None or entry.side is _SELL:
            refusal = self._refuse_credit(order, market, quantity, 0, 0)
        life = entry.time_in_force
        if refusal is None and life is not _GTC and life in WHOLE and not self._is_fillable(order, market):
            return Code.NOT_FILLABLE, "not all of it could trade at once"
        return refusal

    def _refuse_instructions(self, order: Order, market: Market) -> Reason | None:
        """What is wrong with an order's time in force, trigger and display, or None."""
        kind, life = order.entry.order_type, order.entry.time_in_force
        row, lasts = ORDER_KINDS[kind], TIMES_IN_FORCE[life]
        if (row.trigger is not None) != (order.trigger_price is not None):
            need = "has no" if row.trigger is None else "needs a"
            return Code.INVALID_FIELD, f"a {kind} order {need} trigger price"
        if order.trigger_price is not None and not 1 <= order.trigger_price <= MAX_TICKS:
            return Code.INVALID_FIELD, f"the trigger price must be between 1 and {MAX_TICKS} ticks"
        if lasts.has_end != (order.entry.expire_at != 0):
            need = "must say when it ends" if lasts.has_end else "does not say when it ends: leave expire_at out"
            return Code.INVALID_FIELD, f"a {life} order {need}"
        if lasts.has_end and not self.now < order.entry.expire_at <= MAX_INT:
            return Code.INVALID_FIELD, f"a {life} order must end in the future"
        if not 0 <= order.entry.display_quantity <= order.quantity:
            return Code.INVALID_FIELD, "the display quantity must be between one lot and the quantity"
        if life not in row.times_in_force:
            return Code.INVALID_FIELD, f"a {kind} order cannot be {life}: enter it with another time in force"
        if order.entry.post_only and not row.post_only:
            return Code.INVALID_FIELD, f"a {kind} order cannot be post_only: leave it out"
        if order.entry.display_quantity and not row.display:
            return Code.INVALID_FIELD, f"a {kind} order cannot show a part of itself: leave display_quantity out"
        if not lasts.rests and (order.entry.post_only or order.entry.display_quantity):
            return Code.INVALID_FIELD, "an order that never rests can be neither post_only nor show a part of itself"
        if order.entry.post_only and market.state is _CONTINUOUS and self._would_trade(order, market):
            return Code.WOULD_TRADE, "it would trade on entry, and is post_only"
        return None

    @staticmethod
    def _would_trade(order: Order, market: Market) -> bool:
        best = market.book.opposite(order.entry.side).best()
        if best is None or order.price is None:
            return False
        return best.price <= order.price if order.entry.side is _BUY else best.price >= order.price

    def _refuse_credit(
        self, order: Order, market: Market, lots: int, released_cash: int, released_lots: int, grows: bool = True
    ) -> Reason | None:
        """Whether the client can bear `lots` of the order, where the order gives back what it holds already. One that does
        not grow makes nobody come to hold more."""
        holding = order.holding
        if order.entry.side is _SELL:
            sellable = holding.quantity - holding.offered + market.short_limit + released_lots
            if lots > sellable and order.account.short_limit:
                sellable += self._short_room(order.account, market)
            if lots > sellable:
                needed, has, short = (from_steps(n, market.lot_size) for n in (lots, sellable, lots - sellable))
                return Code.INSUFFICIENT_SHARES, f"the order sells {needed}, {has} can be sold: {short} too few"
            return None
        limit = market.position_limit
        if limit and grows:
            exposure = lots - released_lots + holding.quantity + holding.bid
            if exposure > limit:
                return (
                    Code.POSITION_LIMIT,
                    f"it could come to hold {from_steps(exposure, market.lot_size)}, the limit is "
                    f"{from_steps(limit, market.lot_size)}",
                )
        if order.price is not None:
            # As hold_per_lot says, without a call for each buy.
            value = order.price * market.tick_value
            order.hold_per_lot = value - (-value * market.held_fee_bps) // BPS
            cost = lots * order.hold_per_lot
        else:
            cost = self._cost_on_offer(order.account, market, lots)
        account = order.account
        power = account.cash - account.held + account.credit_limit + released_cash
        if cost > power:
            return (
                Code.INSUFFICIENT_CASH,
                f"the order can cost {cash_to_text(cost)}, buying power is {cash_to_text(power)}: "
                f"{cash_to_text(cost - power)} too little",
            )
        return None

    def _short_room(self, account: Account, market: Market) -> int:
        """Lots of one security that the account may be short, beyond the security's own limit: what its positions in the
        others leave of its short limit."""
        used = 0
        for symbol, holding in account.holdings.items():
            if holding.offered > holding.quantity and symbol != market.symbol:
                other = self.markets[symbol]
                used += max(holding.offered - holding.quantity - other.short_limit, 0) * other.short_value
        return min(max(account.short_limit - used, 0) // market.short_value, MAX_LOTS)

    @staticmethod
    def _cost_on_offer(account: Account, market: Market, lots: int) -> int:
        """The most cash units that a buy without a limit can take: what is on offer now, within the band."""
        cost = 0
        passing = account.self_trade_prevention in PASSING
        for level in market.book.asks.best_first():
            if level.price > market.high:
                break
            for resting in level:
                if passing and resting.account is account:
                    continue  # it is cancelled, and the buy goes on to what may cost more
                taken = min(lots, resting.leaves)
                cost += taken * hold_per_lot(level.price, market.tick_value, market.held_fee_bps)
                lots -= taken
                if not lots:
                    return cost
        return cost

    @staticmethod
    def _is_fillable(order: Order, market: Market) -> bool:
        """Whether the whole of a fok order would trade at once: within its limit and the band, self-trades counted as the
        client's prevention has it."""
        wanted, limit, is_buy = order.leaves, order.price, order.entry.side is _BUY
        prevention = order.account.self_trade_prevention
        for level in market.book.opposite(order.entry.side).best_first():
            price = level.price
            if limit is not None and (price > limit if is_buy else price < limit):
                return False
            if not market.low <= price <= market.high:
                return False
            for resting in level:
                if resting.account is order.account and prevention not in SELF_TRADING:
                    if prevention in PASSING:
                        continue
                    return False
                wanted -= resting.leaves
                if wanted <= 0:
                    return True
        return False

    def _execute(self, order: Order, market: Market, command: Command, events: list[Event]) -> None:
        """Trades what can trade now; the rest rests, or ends."""
        ended_by = None
        is_buy, limit = order.entry.side is _BUY, order.price
        opposite = market.book.asks if is_buy else market.book.bids
        level = opposite.best()
        if level is not None and (limit is None or (level.price <= limit if is_buy else level.price >= limit)):
            ended_by = self._match(order, level, opposite, market, command, events)
        if not order.leaves:
            if order.arrival:
                order.account.drop(order)
        elif ended_by is None and limit is not None and ((life := order.entry.time_in_force) is _GTC or life not in AT_ONCE):
            self._rest(order, market, command, events)
        else:
            if ended_by is None:
                ended_by = (
                    (Code.NO_LIQUIDITY, "nothing more on the other side")
                    if limit is None
                    else (Code.UNFILLED, "what did not trade at once is cancelled")
                )
            _release(order, order.leaves)
            order.account.drop(order)
            events.append(_report(order, command, _CANCELED, OrderStatus.CANCELED, 0, *ended_by))
        if market.has_band and market.state is _CONTINUOUS and market.book.is_crossed:
            reason = f"a trade would have left the band {market.low} to {market.high}"
            events += self._enter_state(market, TradingState.VOLATILITY_AUCTION, command, reason)

    def _rest(self, order: Order, market: Market, command: Command, events: list[Event]) -> None:
        """Puts what is left of an order into the book."""
        assert order.price is not None, "only a limit can rest"  # noqa: S101
        order.arrival = self.next_arrival
        self.next_arrival += 1
        entry = order.entry
        order.account.orders[entry.command_id] = order  # all that _keep does for most orders
        if entry.client_order_id or entry.expire_at:
            self._keep(order)
        own = market.book.bids if entry.side is _BUY else market.book.asks
        own.add(order, order.price)
        events.append(_price_update(market, own, order.price, command.timestamp))

    def _wait(self, order: Order, market: Market) -> None:
        """Lets an order wait for its trigger."""
        order.arrival = self.next_arrival
        self.next_arrival += 1
        self._keep(order)
        market.stops.add(order)

    def _keep(self, order: Order) -> None:
        """The order is to be found under its ids, and ends at its time if it has one."""
        account, entry = order.account, order.entry
        account.orders[entry.command_id] = order
        if entry.client_order_id:
            account.by_client_order_id[entry.client_order_id] = entry.command_id
        if entry.expire_at:
            heappush(self._timers, (entry.expire_at, entry.client_id, entry.command_id))

    def plan_end(self, market: Market, ends_at: int) -> None:
        """The state of `market` ends by itself at that time; at 0 it does not."""
        market.ends_at = ends_at
        if ends_at:
            heappush(self._timers, (ends_at, market.symbol, 0))

    def put_back(self, order: Order, rests: bool) -> None:
        """Puts an order of a snapshot where it was: behind all that were put back before it."""
        market = self.markets[order.entry.symbol]
        _set_hold(order, market)
        _hold(order)
        if rests:
            assert order.price is not None, "only a limit can rest"  # noqa: S101
            market.book.side(order.entry.side).add(order, order.price)
        else:
            market.stops.add(order)
        self._keep(order)

    def _fire(self, market: Market, command: Command, events: list[Event]) -> None:
        """Enters the waiting orders whose trigger is touched, and those that their trades touch. Each fires once, so this
        ends."""
        while market.state is _CONTINUOUS and (touched := market.stops.take(market.last_price)):
            for order in touched:
                if market.state is not _CONTINUOUS:
                    market.stops.add(order)
                    continue
                if order.entry.command_id not in order.account.orders:
                    continue
                events.append(_report(order, command, ExecType.TRIGGERED, _S_NEW, order.leaves))
                refusal = None
                if order.price is None and order.entry.side is _BUY:
                    refusal = self._refuse_credit(order, market, order.leaves, 0, order.leaves)
                if refusal is not None:
                    _release(order, order.leaves)
                    order.account.drop(order)
                    events.append(_report(order, command, _CANCELED, OrderStatus.CANCELED, 0, *refusal))
                else:
                    self._execute(order, market, command, events)

    # --- changing an order ------------------------------------------------------------------------------------

    def _replace_order(self, command: ReplaceOrder) -> list[Event]:
        account = self.accounts.get(command.client_id)
        order = None if account is None else account.orders.get(command.order_id)
        if order is None:
            return [_unknown_order(command)]
        market = self.markets[order.entry.symbol]
        traded = order.quantity - order.leaves
        quantity = order.quantity if command.quantity is None else command.quantity
        price = order.price if command.price is None else command.price
        trigger = order.trigger_price if command.trigger_price is None else command.trigger_price
        refusal = self._refuse_replace(order, market, command, quantity, price, trigger)
        if refusal is not None:
            return [_rejected(command, command.client_id, *refusal, order.entry.command_id)]

        leaves = quantity - traded
        level = order.level
        events: list[Event] = []
        if level is not None and price == order.price and leaves <= order.leaves:
            # Less of the same keeps its place.
            _release(order, order.leaves - leaves)
            level.quantity -= order.visible
            order.quantity, order.leaves = quantity, leaves
            order.visible = min(order.visible, leaves)
            level.quantity += order.visible
            events.append(_report(order, command, ExecType.REPLACED, _status(order), leaves))
            events.append(_price_update(market, market.book.side(order.entry.side), level.price, command.timestamp))
            return events

        if level is not None:
            market.book.side(order.entry.side).remove(order)
        else:
            market.stops.remove(order)
        _release(order, order.leaves)
        order.account.drop(order)
        order.quantity, order.leaves, order.price, order.trigger_price = quantity, leaves, price, trigger
        _set_hold(order, market)
        order.visible = min(order.entry.display_quantity or leaves, leaves)
        _hold(order)
        events.append(_report(order, command, ExecType.REPLACED, _status(order), leaves))
        if level is not None:
            events.append(_price_update(market, market.book.side(order.entry.side), level.price, command.timestamp))
        if level is None:
            self._wait(order, market)
        elif market.state is _CONTINUOUS:
            self._execute(order, market, command, events)
        else:
            self._rest(order, market, command, events)
        if market.stops.orders:
            self._fire(market, command, events)
        return events

    def _refuse_replace(
        self,
        order: Order,
        market: Market,
        command: ReplaceOrder,
        quantity: int,
        price: int | None,
        trigger: int | None,
    ) -> Reason | None:
        """Why an order cannot be changed so, or None."""
        traded = order.quantity - order.leaves
        waits = order.level is None
        if order.account.suspended:
            return Code.CLIENT_SUSPENDED, f"{order.account.client_id} is suspended"
        if not traded < quantity <= market.max_quantity:
            return (
                Code.INVALID_FIELD,
                f"the new quantity must be more than the {from_steps(traded, market.lot_size)} that have traded, and at "
                f"most {from_steps(market.max_quantity, market.lot_size)}",
            )
        if command.price is not None and order.price is None:
            return Code.INVALID_FIELD, f"a {order.entry.order_type} order has no price"
        if command.trigger_price is not None and not waits:
            return Code.INVALID_FIELD, "the order has no trigger to wait for"
        if any(ticks is not None and not 1 <= ticks <= MAX_TICKS for ticks in (price, trigger)):
            return Code.INVALID_FIELD, f"prices must be between 1 and {MAX_TICKS} ticks"
        leaves = quantity - traded
        if price is not None and price * leaves * market.tick_value > market.max_value:
            return Code.LIMIT_EXCEEDED, f"the value of what is left is over {cash_to_text(market.max_value)}"
        if quantity < order.entry.display_quantity <= order.quantity:
            # An order that has less than that already, because it was decremented or put back, may become anything.
            return Code.INVALID_FIELD, "the new quantity must not be less than the display quantity"
        refusal = _refuse_all_in_state(market)
        if refusal is not None:
            return refusal
        before, held_per_lot = order.price, order.hold_per_lot
        order.price = price
        try:
            if order.entry.post_only and market.state is _CONTINUOUS and self._would_trade(order, market):
                return Code.WOULD_TRADE, "it would trade on entry, and is post_only"
            if waits and order.entry.side is _BUY and price is None:
                return None
            released = order.leaves * held_per_lot
            return self._refuse_credit(order, market, leaves, released, order.leaves, grows=leaves > order.leaves)
        finally:
            order.price, order.hold_per_lot = before, held_per_lot

    # --- saved books --------------------------------------------------------------------------------------------

    def _save_book(self, command: SaveBook) -> list[Event]:
        market = self.markets.get(command.symbol)
        if market is None:
            return [_rejected(command, "", Code.UNKNOWN_SYMBOL, f"{command.symbol} is not listed")]
        key = (command.symbol, command.name)
        if key not in self.saved_books and len(self.saved_books) >= MAX_SAVED_BOOKS:
            return [_rejected(command, "", Code.LIMIT_EXCEEDED, f"{MAX_SAVED_BOOKS} books are saved already")]
        resting = [*market.book.bids, *market.book.asks]
        self.saved_books[key] = [
            msgspec.structs.replace(order.entry, quantity=order.leaves, price=order.price, trigger_price=order.trigger_price)
            for order in resting
        ]
        saved = BookSaved(command.command_id, command.timestamp, command.symbol, command.name, len(resting))
        return [_accepted(command), saved]

    def _load_book(self, command: LoadBook) -> list[Event]:
        market = self.markets.get(command.symbol)
        saved = self.saved_books.get((command.symbol, command.name))
        if market is not None and market.state is TradingState.DELISTED:
            return [_rejected(command, "", Code.DELISTED, f"{command.symbol} is listed no more")]
        if market is None or saved is None:
            text = f"no book of {command.symbol} was saved as {command.name}"
            return [_rejected(command, "", Code.UNKNOWN_SAVED_BOOK, text)]
        events: list[Event] = [_accepted(command)]
        for order in [*market.book.bids, *market.book.asks]:
            events += self._cancel(order, command, Code.BOOK_LOADED, f"the book was put back to {command.name}")
        # The orders that were saved have ended or were just cancelled: those that rest again are new ones.
        ids = IdSequence(MAX_GATEWAY, self.last_command_ids.get(MAX_GATEWAY, 0))
        refused = 0
        for entry in saved:
            order_id = self.last_command_ids[MAX_GATEWAY] = ids.next(self.now)
            account = self.accounts[entry.client_id]
            order = Order(msgspec.structs.replace(entry, command_id=order_id), account)
            # A saved book was not crossed where it traded, and must not trade on its way back: it enters as a collection.
            refusal = self._refuse_credit(order, market, order.leaves, 0, 0)
            if account.suspended:
                refusal = Code.CLIENT_SUSPENDED, f"{account.client_id} is suspended"
            elif entry.client_order_id in account.by_client_order_id:
                refusal = Code.DUPLICATE_CLIENT_ORDER_ID, f"{entry.client_order_id} is another open order by now"
            elif entry.expire_at and entry.expire_at <= self.now:
                refusal = Code.EXPIRED, "its time is over"
            if refusal is not None:
                refused += 1
                events.append(_report(order, command, ExecType.REJECTED, OrderStatus.REJECTED, 0, *refusal))
                continue
            _hold(order)
            events.append(_report(order, command, _NEW, _S_NEW, order.leaves))
            self._rest(order, market, command, events)
        events.append(
            BookLoaded(command.command_id, command.timestamp, market.symbol, command.name, len(saved) - refused, refused)
        )
        if market.state is _CONTINUOUS:
            # A book that was saved while it collected may be crossed.
            self._uncross(market, command, events)
            if market.stops.orders:
                self._fire(market, command, events)
        return events

    # --- matching ---------------------------------------------------------------------------------------------

    def _match(
        self, taker: Order, best: Level, opposite: BookSide, market: Market, command: Command, events: list[Event]
    ) -> Reason | None:
        """Trades `taker` with the other side: from its best price on, oldest first, while limit and band allow.

        Returns why the rest of the order must end now, or None.
        """
        limit, is_buy, account = taker.price, taker.entry.side is _BUY, taker.account
        touched: list[int] = []
        ended_by: Reason | None = None
        first_trade = self.next_trade_id
        level: Level | None = best
        while level is not None:
            price = level.price
            if limit is not None and (price > limit if is_buy else price < limit):
                break
            if market.has_band and not market.low <= price <= market.high:
                if limit is None:
                    ended_by = Code.PRICE_BAND, "the rest would have traded outside the price band"
                break
            touched.append(price)
            while taker.leaves and (maker := level.head) is not None:
                if maker.account is account and account.self_trade_prevention not in SELF_TRADING:
                    ended_by = self._prevent(taker, maker, market, command, events)
                    if ended_by is not None:
                        break
                elif market.rests:
                    self._trade(taker, maker, level, market, command, events, price, price, price)
                else:
                    self._trade_by_rule(taker, maker, level, market, command, events)
            if not taker.leaves or ended_by is not None:
                break
            level = opposite.best()
        for price in touched:
            events.append(_price_update(market, opposite, price, command.timestamp))
        if not market.has_band:
            market.reference_price = market.last_price or market.reference_price
        elif self.next_trade_id != first_trade:
            market.set_reference(market.last_price)
        return ended_by

    def _prevent(self, taker: Order, maker: Order, market: Market, command: Command, events: list[Event]) -> Reason | None:
        """Keeps a client's orders from trading with each other. Returns why the taker must end, or None."""
        prevention = PREVENTIONS[taker.account.self_trade_prevention]
        text = f"it would have traded with this client's order {taker.entry.command_id}"
        reason = Code.SELF_TRADE, f"it would have traded with this client's order {maker.entry.command_id}"
        if prevention.decrements:
            smaller = min(taker.leaves, maker.leaves)
            for order in (maker, taker):
                _release(order, smaller)
                order.quantity -= smaller
                order.leaves -= smaller
            taker.visible = min(taker.entry.display_quantity or taker.leaves, taker.leaves)
            if taker.leaves:
                events.append(_report(taker, command, ExecType.RESTATED, _status(taker), taker.leaves, Code.SELF_TRADE))
            self._shrink(maker, market, command, events, text)
            if taker.leaves:
                return None
            events.append(_report(taker, command, _CANCELED, OrderStatus.CANCELED, 0, *reason))
            return reason
        if prevention.cancels_resting:
            market.book.side(maker.entry.side).remove(maker)
            _release(maker, maker.leaves)
            maker.account.drop(maker)
            events.append(_report(maker, command, _CANCELED, OrderStatus.CANCELED, 0, Code.SELF_TRADE, text))
        return reason if prevention.cancels_entering else None

    @staticmethod
    def _shrink(maker: Order, market: Market, command: Command, events: list[Event], text: str) -> None:
        """The maker has lost lots without a trade: it ends, or stays where it is with what is left."""
        level = maker.level
        assert level is not None, "the maker rests"  # noqa: S101
        if not maker.leaves:
            market.book.side(maker.entry.side).remove(maker)
            maker.account.drop(maker)
            events.append(_report(maker, command, _CANCELED, OrderStatus.CANCELED, 0, Code.SELF_TRADE, text))
        else:
            level.quantity -= maker.visible
            maker.visible = min(maker.visible, maker.leaves)
            level.quantity += maker.visible
            events.append(_report(maker, command, ExecType.RESTATED, _status(maker), maker.leaves, Code.SELF_TRADE, text))

    def _trade_by_rule(
        self, taker: Order, maker: Order, level: Level, market: Market, command: Command, events: list[Event]
    ) -> None:
        """One trade of an entering order, at the price that the security's rule says."""
        price = level.price
        taker_price = price
        if taker.price is not None:
            match market.listing.pricing_rule:
                case PricingRule.RESTING:
                    pass
                case PricingRule.MIDPOINT:
                    price = taker_price = divide_half_even(price + taker.price, 2)
                case PricingRule.SPREAD_CAPTURE:
                    taker_price = taker.price
                case unknown:
                    assert_never(unknown)
        self._trade(taker, maker, level, market, command, events, price, price, taker_price)

    def _trade(
        self,
        taker: Order,
        maker: Order,
        level: Level,
        market: Market,
        command: Command,
        events: list[Event],
        price: int,
        maker_price: int,
        taker_price: int,
        taker_level: Level | None = None,
    ) -> None:
        """Books one trade at `price` ticks, for which each side pays or receives its own price."""
        # In an auction nobody takes: both trade what they show, and pay the maker's fee.
        if taker_level is None:
            quantity, taker_fee_bps = taker.leaves, market.taker_fee_bps
        else:
            quantity, taker_fee_bps = taker.visible, market.maker_fee_bps
        if maker.visible < quantity:
            quantity = maker.visible
        lot_value = market.tick_value * quantity
        maker_notional, taker_notional = maker_price * lot_value, taker_price * lot_value
        # Half-even, as divide_half_even, without two calls for each trade: rounded half up, and an odd tie goes down.
        scaled = maker_notional * market.maker_fee_bps + _HALF
        maker_fee = scaled // BPS
        if maker_fee & 1 and not scaled % BPS:
            maker_fee -= 1
        scaled = taker_notional * taker_fee_bps + _HALF
        taker_fee = scaled // BPS
        if taker_fee & 1 and not scaled % BPS:
            taker_fee -= 1
        trade_id = self.next_trade_id
        self.next_trade_id = trade_id + 1
        market.last_price = price
        timestamp, symbol = command.timestamp, market.symbol
        command_id, maker_entry, taker_entry = command.command_id, maker.entry, taker.entry

        maker.leaves -= quantity
        maker.notional += maker_notional
        taker.leaves -= quantity
        taker.notional += taker_notional
        if taker_entry.side is _BUY:
            buy, buy_notional, buy_fee = taker, taker_notional, taker_fee
            sell, sell_notional, sell_fee = maker, maker_notional, maker_fee
        else:
            buy, buy_notional, buy_fee = maker, maker_notional, maker_fee
            sell, sell_notional, sell_fee = taker, taker_notional, taker_fee
        buyer, seller = buy.account, sell.account
        buyer.held -= quantity * buy.hold_per_lot
        buyer.cash -= buy_notional + buy_fee
        bought = buy.holding
        bought.quantity += quantity
        bought.bid -= quantity
        seller.cash += sell_notional - sell_fee
        sold = sell.holding
        sold.quantity -= quantity
        sold.offered -= quantity

        short_limit = market.short_limit
        if sold.quantity < 0:
            short_limit += seller.short_limit // market.short_value

        maker.visible -= quantity
        level.quantity -= quantity
        if not maker.visible:
            _show_more(maker, level, market)
        if taker_level is not None:
            taker.visible -= quantity
            taker_level.quantity -= quantity
            if not taker.visible:
                _show_more(taker, taker_level, market)
        else:
            taker.visible = taker.leaves
            if taker_entry.display_quantity:
                taker.visible = min(taker_entry.display_quantity, taker.leaves)
        events += (
            Execution(
                trade_id,
                timestamp,
                symbol,
                quantity,
                price,
                taker_entry.side,
                buy.entry.command_id,
                buyer.client_id,
                sell.entry.command_id,
                seller.client_id,
                buy_notional,
                sell_notional,
                buy_fee,
                sell_fee,
                short_limit,
            ),
            Trade(
                trade_id,
                timestamp,
                symbol,
                price,
                quantity,
                taker_entry.side,
                maker_entry.command_id,
                taker_entry.command_id,
                maker_fee,
                taker_fee,
            ),
            OrderReport(
                maker_entry.command_id,
                command_id,
                timestamp,
                maker_entry.client_id,
                maker_entry.client_order_id,
                symbol,
                maker_entry.side,
                maker_entry.order_type,
                maker.quantity,
                maker.price,
                _TRADE,
                _S_PARTIAL if maker.leaves else _S_FILLED,
                maker.leaves,
                maker.quantity - maker.leaves,
                maker.notional,
                quantity,
                maker_price,
                maker_fee,
                trade_id,
                _MAKER,
                "",
                "",
                maker_entry.time_in_force,
                maker_entry.expire_at,
                maker.trigger_price,
                maker_entry.post_only,
                maker_entry.display_quantity,
            ),
            OrderReport(
                taker_entry.command_id,
                command_id,
                timestamp,
                taker_entry.client_id,
                taker_entry.client_order_id,
                symbol,
                taker_entry.side,
                taker_entry.order_type,
                taker.quantity,
                taker.price,
                _TRADE,
                _S_PARTIAL if taker.leaves else _S_FILLED,
                taker.leaves,
                taker.quantity - taker.leaves,
                taker.notional,
                quantity,
                taker_price,
                taker_fee,
                trade_id,
                _TAKER,
                "",
                "",
                taker_entry.time_in_force,
                taker_entry.expire_at,
                taker.trigger_price,
                taker_entry.post_only,
                taker_entry.display_quantity,
            ),
        )

    # --- states and auctions ----------------------------------------------------------------------------------

    def _set_trading_state(self, command: SetTradingState) -> list[Event]:
        market = self.markets.get(command.symbol)
        if market is None:
            return [_rejected(command, "", Code.UNKNOWN_SYMBOL, f"{command.symbol} is not listed")]
        if market.state is command.state:
            return [_accepted(command)]
        if market.state is TradingState.DELISTED:
            return [_rejected(command, "", Code.DELISTED, f"{command.symbol} is listed no more")]
        return [_accepted(command), *self._enter_state(market, command.state, command, "")]

    def _enter_state(self, market: Market, state: TradingState, command: Command, reason: str) -> list[Event]:
        """Moves a market to another state. Whoever comes to trade continuously, or closes after an auction, uncrosses
        first: a book in continuous trading is never crossed."""
        before, market.state = market.state, state
        market.auction = NOTHING
        lasts = market.listing.auction_seconds * 1_000_000_000
        self.plan_end(market, self.now + lasts if state is TradingState.VOLATILITY_AUCTION else 0)
        changed = TradingStateChanged(market.symbol, command.timestamp, state, market.ends_at, reason)
        events: list[Event] = [changed]
        if state is _CONTINUOUS or (state is TradingState.CLOSED and before is TradingState.CLOSING_AUCTION):
            self._uncross(market, command, events)
        if state is TradingState.DELISTED:
            for order in [*market.book.bids, *market.book.asks, *market.stops]:
                events += self._cancel(order, command, Code.DELISTED, f"{market.symbol} is listed no more")
        elif state is TradingState.CLOSED:
            for order in [*market.book.bids, *market.book.asks, *market.stops]:
                if TIMES_IN_FORCE[order.entry.time_in_force].is_session:
                    events += self._expire(order, command)
        elif state is _CONTINUOUS and market.stops.orders:
            self._fire(market, command, events)
        return events

    def _uncross(self, market: Market, command: Command, events: list[Event]) -> None:
        """Trades what crosses, all at one price. The order that was there first is the maker of each trade."""
        result = uncrossing(market.book, market.reference_price)
        if not result.quantity:
            return
        touched: dict[tuple[Side, int], None] = {}
        """Sides and prices, each once, in the order in which they traded first."""
        left = result.quantity
        while left:
            bids, asks = market.book.bids.best(), market.book.asks.best()
            assert bids is not None and asks is not None, "there is volume"  # noqa: S101, PT018
            touched[_BUY, bids.price] = touched[_SELL, asks.price] = None
            buy, sell = bids.head, asks.head
            assert buy is not None and sell is not None, "a live level has orders"  # noqa: S101, PT018
            before = buy.leaves
            price = result.price
            if buy.arrival < sell.arrival:
                self._trade(sell, buy, bids, market, command, events, price, price, price, asks)
            else:
                self._trade(buy, sell, asks, market, command, events, price, price, price, bids)
            left -= before - buy.leaves
        market.set_reference(result.price)
        for side, price in touched:
            events.append(_price_update(market, market.book.side(side), price, command.timestamp))


# --- credit: what an order holds, and gives back -----------------------------------------------------------------


def _hold(order: Order) -> None:
    """Holds what an order needs while it lives: for a buy, as much for each lot as its credit check has found. A buy without
    a limit trades at once or not at all, and holds nothing."""
    if order.entry.side is _SELL:
        order.holding.offered += order.leaves
    else:
        order.holding.bid += order.leaves
        order.account.held += order.leaves * order.hold_per_lot


def _set_hold(order: Order, market: Market) -> None:
    """What one lot of the order holds, at its price."""
    if order.entry.side is _BUY and order.price is not None:
        order.hold_per_lot = hold_per_lot(order.price, market.tick_value, market.held_fee_bps)


def _release(order: Order, quantity: int) -> None:
    """Gives back what `quantity` lots of the order hold: they are cancelled."""
    if order.entry.side is _SELL:
        order.holding.offered -= quantity
    else:
        order.holding.bid -= quantity
        order.account.held -= quantity * order.hold_per_lot


def _show_more(order: Order, level: Level, market: Market) -> None:
    """All that showed of a resting order has traded: an iceberg shows its next slice, behind the others; an order without
    any left leaves."""
    if order.leaves:
        order.visible = min(order.entry.display_quantity, order.leaves)
        level.quantity += order.visible
        level.move_back(order)
    else:
        (market.book.bids if order.entry.side is _BUY else market.book.asks).remove(order)
        order.account.drop(order)


# --- refusals ----------------------------------------------------------------------------------------------------


def _terms_are_sensible(command: ListSecurity) -> bool:
    fees = (command.maker_fee_bps, command.taker_fee_bps)
    lots = (command.max_order_quantity, command.short_limit, command.position_limit)
    return (
        1 <= command.reference_price <= MAX_TICKS
        and all(-BPS <= fee <= BPS for fee in fees)
        and sum(fees) >= 0
        and 0 <= command.band_bps < BPS
        and all(0 <= limit <= MAX_LOTS for limit in lots)
        and 0 <= command.max_order_value <= MAX_CASH
        and 0 <= command.auction_seconds <= MAX_AUCTION_SECONDS
        and STATES[command.state].can_begin
    )


def _refuse_all_in_state(market: Market) -> Reason | None:
    """Why no order can enter or change in the market's state, or None."""
    refusal = STATES[market.state].refusal
    return None if refusal is None else (refusal[0], refusal[1].format(symbol=market.symbol))


def _refuse_in_state(order: Order, market: Market) -> Reason | None:
    """Why an order cannot enter in the market's state, or None."""
    refusal = _refuse_all_in_state(market)
    if refusal is not None:
        return refusal
    if order.trigger_price is None and (
        order.price is None or order.entry.post_only or order.entry.time_in_force in AT_ONCE
    ):
        return Code.NOT_IN_AUCTION, f"{market.symbol} collects orders for an auction: enter a limit order that can rest"
    return None


def _turned_away(command: NewOrder, code: Code, text: str) -> list[Event]:
    """The report of a refused order, its numbers brought into the range that a report can carry."""
    numbers = {}
    for name in ("quantity", "price", "trigger_price", "expire_at", "display_quantity"):
        number = getattr(command, name)
        if number is not None and abs(number) > MAX_INT:
            numbers[name] = MAX_INT if number > 0 else -MAX_INT
    entry = msgspec.structs.replace(command, **numbers) if numbers else command
    order = Order(entry, Account(command.client_id, 0))
    return [_report(order, command, ExecType.REJECTED, OrderStatus.REJECTED, 0, code, text)]


def _accepted(command: Command) -> CommandAccepted:
    return CommandAccepted(command.command_id, command.timestamp)


def _rejected(command: Command, client_id: str, code: Code, text: str, order_id: int = 0) -> CommandRejected:
    return CommandRejected(command.command_id, command.timestamp, client_id, code, text, order_id)


def _unknown_client(command: Command, client_id: str) -> CommandRejected:
    return _rejected(command, client_id, Code.UNKNOWN_CLIENT, f"{client_id} has no account")


def _unknown_order(command: CancelOrder | ReplaceOrder) -> CommandRejected:
    text = "this client has no open order of that id"
    return CommandRejected(
        command.command_id, command.timestamp, command.client_id, Code.UNKNOWN_ORDER, text, command.order_id
    )


# --- reports -----------------------------------------------------------------------------------------------------


def _price_update(market: Market, side: BookSide, price: int, timestamp: int) -> PriceUpdate:
    """How a price stands now, as it is found in the book after what has changed it."""
    market.book_sequence = sequence = market.book_sequence + 1
    level = side.levels.get(price)
    if level is None:
        return PriceUpdate(market.symbol, sequence, timestamp, side.side, price, 0, 0)
    return PriceUpdate(market.symbol, sequence, timestamp, side.side, price, level.quantity, level.count)


def _status(order: Order) -> OrderStatus:
    """The state of an order that lives."""
    return _S_NEW if order.leaves == order.quantity else _S_PARTIAL


def _report(
    order: Order,
    command: Command,
    exec_type: ExecType,
    status: OrderStatus,
    leaves: int,
    code: str = "",
    text: str = "",
) -> OrderReport:
    """How an order stands, and what happened to it other than a fill: those `Engine._trade` reports."""
    entry = order.entry
    return OrderReport(
        entry.command_id,
        command.command_id,
        command.timestamp,
        entry.client_id,
        entry.client_order_id,
        entry.symbol,
        entry.side,
        entry.order_type,
        order.quantity,
        order.price,
        exec_type,
        status,
        leaves,
        order.quantity - order.leaves,
        order.notional,
        0,
        0,
        0,
        0,
        _NEITHER,
        code,
        text,
        entry.time_in_force,
        entry.expire_at,
        order.trigger_price,
        entry.post_only,
        entry.display_quantity,
    )
