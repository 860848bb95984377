"""A bot's connection to a simulated exchange."""

import inspect
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from microexchange.commands import CancelOrder
from microexchange.enums import Side, TimeInForce
from microexchange.refusals import Refusal
from microexchange.reports import CommandRejected
from order_entry_gateway.requests import AmendRequest, EntryType, OrderRequest, new_order, replace_order
from trading_bots.bot import Bot, Order, Security, Tender
from trading_bots.bot_state import MAX_OPEN_REQUESTS, TOO_MANY_REQUESTS, BotState
from trading_bots.faults import ErrorLog, comes_from
from trading_bots.simulation.watchdog import Stuck

if TYPE_CHECKING:
    from trading_bots.simulation.exchange import SimulatedExchange

SECOND = 1_000_000_000
"""Nanoseconds of a second."""
_ORDER_TYPES = {order_type.value: order_type for order_type in EntryType}
_TIMES_IN_FORCE = {time_in_force.value: time_in_force for time_in_force in TimeInForce}
_SIDES = {side.value: side for side in Side}


def order_request(order: Order) -> OrderRequest:
    """Return a bot's order as the gateway's request. It is the same as the JSON of `bot_state.order_fields`."""
    return OrderRequest(
        symbol=order.symbol,
        side=_SIDES[order.side],
        quantity=order.quantity,
        order_type=_ORDER_TYPES[order.order_type],
        price=order.price,
        trigger_price=order.trigger_price,
        time_in_force=_TIMES_IN_FORCE[order.time_in_force],
        post_only=order.post_only,
        display_quantity=order.display_quantity,
        client_order_id=order.client_order_id,
    )


class LatencyGroup:
    """All clients with the same latency. They see the same market at the same time, so they share its books."""

    def __init__(self, latency: int) -> None:
        self.latency = latency
        """One way, in nanoseconds."""
        self.securities: dict[str, Security] = {}
        self.subscribers: dict[tuple[str, str], list[BotState]] = defaultdict(list)
        """The bots that have a callback, by symbol and name of the callback."""


class Client:
    """The connection of one bot: its `Venue`."""

    def __init__(self, exchange: "SimulatedExchange", bot: Bot, client_id: str, group: LatencyGroup) -> None:
        self._exchange = exchange
        self._group = group
        self.bot = bot
        self.is_running = True
        self.end_reason = ""
        """Why the bot ended before the round did. Empty if it did not."""
        self.note = ""
        """A message for the person who runs the bot."""
        self._errors = ErrorLog(bot)
        self._open_requests = 0
        """Requests that the exchange has not admitted yet."""
        self.state = BotState(bot, self.call)
        bot.client_id, bot._venue, bot._order_prefix = client_id, self, "s"

    def call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Call a callback of the bot. An error in it does not stop the bot.

        Raises:
            Stuck: A bot did not return in time.
        """
        if not self.is_running:
            return
        watchdog = self._exchange.watchdog
        if watchdog.text:
            raise Stuck(watchdog.text)
        watchdog.bot, watchdog.is_in_bot = self.bot, True
        watchdog.count += 1
        try:
            result = callback(*arguments)
            if result is not None and inspect.iscoroutine(result):
                self._finish(result)
        except SystemExit:
            self.end_reason = "it called exit()"
            self.is_running = False
        except Exception as error:
            self._errors.add(error)
        finally:
            watchdog.is_in_bot = False

    @property
    def latency(self) -> int:
        """The latency to the exchange, one way, in nanoseconds."""
        return self._group.latency

    @property
    def errors(self) -> list[str]:
        """The texts of the bot's errors: each once, with its count."""
        return list(self._errors)

    def _finish(self, coroutine: Any) -> None:
        message = "a callback cannot wait in a simulation: use every(seconds, function)"
        try:
            coroutine.send(None)
        except StopIteration:
            return
        except RuntimeError as error:
            if comes_from(error, "asyncio"):
                raise RuntimeError(message) from error
            raise
        coroutine.close()
        raise RuntimeError(message)

    # --- Venue ----------------------------------------------------------------------------------------------

    def send_order(self, order: Order) -> None:
        """See `Venue`. If too many requests are open, the order is rejected."""
        if self._open_requests >= MAX_OPEN_REQUESTS:
            self._call_after(max(2 * self._group.latency, SECOND // 100), self.state.reject_order, order, TOO_MANY_REQUESTS)
            return
        self._send(self._enter, order)

    def send_cancel(self, order: Order) -> None:
        """See `Venue`. An order without an answer is cancelled when its answer arrives."""
        if order.order_id is not None:
            self._send(self._cancel, order)

    def send_amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        """See `Venue`. An order without an answer is not changed."""
        if order.order_id is not None:
            self._send(self._amend, order, quantity, price)

    def send_tender_answer(self, tender: Tender, accept: bool, price: Decimal | None) -> None:
        """See `Venue`. A simulation has no tenders.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError(f"tender {tender.tender_id}: a simulation has no tenders")

    def start_timer(self, seconds: float, function: Callable[[], Any]) -> None:
        """See `Venue`."""
        interval = max(int(seconds * SECOND), 1)

        def tick() -> None:
            if self.is_running:
                self._call_after(interval, tick)
                self.call(function)

        self._call_after(interval, tick)

    def now(self) -> float:
        """See `Venue`."""
        return self._exchange.now / SECOND

    def _call_after(self, interval: int, function: Callable[..., object], *arguments: Any) -> None:
        self._exchange.at(self._exchange.now + interval, function, *arguments)

    def _send(self, function: Callable[..., object], *arguments: Any) -> None:
        self._open_requests += 1
        self._call_after(self._group.latency, function, *arguments)

    # --- at the exchange ------------------------------------------------------------------------------------

    def _admitted(self, function: Callable[..., None], *arguments: Any) -> bool:
        """Return whether the rate limit admits a request now. If not, call `function` again when it does."""
        exchange = self._exchange
        seconds = exchange.limiter.take(self.bot.client_id, exchange.now / SECOND)
        if seconds:
            self._call_after(int(seconds * SECOND) + 2 * self._group.latency, function, *arguments)
        else:
            self._open_requests -= 1
        return not seconds

    def _enter(self, order: Order) -> None:
        if not self._admitted(self._enter, order):
            return
        exchange = self._exchange
        try:
            request = order_request(order)
            client_id = self.bot.client_id
            command = new_order(request, exchange.terms, client_id, exchange.next_id(), exchange.now)
        except Refusal as refusal:
            self._call_after(self._group.latency, self.state.reject_order, order, refusal.message)
            return
        exchange.apply(command)

    def _cancel(self, order: Order) -> None:
        if order.order_id is None or not self._admitted(self._cancel, order):
            return
        exchange = self._exchange
        command = CancelOrder(exchange.next_id(), exchange.now, self.bot.client_id, int(order.order_id))
        if any(isinstance(event, CommandRejected) for event in exchange.apply(command).reports):
            self._call_after(self._group.latency, self._cancel_failed, order)

    def _cancel_failed(self, order: Order) -> None:
        order.cancelling = False

    def _amend(self, order: Order, quantity: Decimal | None, price: Decimal | None) -> None:
        if order.order_id is None or not self._admitted(self._amend, order, quantity, price):
            return
        exchange = self._exchange
        request = AmendRequest(quantity=quantity, price=price)
        try:
            terms, order_id = exchange.terms[order.symbol], int(order.order_id)
            command = replace_order(request, terms, self.bot.client_id, order_id, exchange.next_id(), exchange.now)
        except Refusal:
            return
        exchange.apply(command)

    def stop(self) -> None:
        """End the bot: call `on_stop`, and no callback after it. Requests that it has sent still arrive."""
        self.call(self.bot.on_stop)
        self.is_running = False
