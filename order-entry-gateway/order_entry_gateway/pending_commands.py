"""The commands that the engine has not answered yet.

A command waits as an entry in a table, not as a task. One check for all commands finds those that have waited for too long,
since a timer for each command costs more than the command.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator

from microexchange.commands import Command, NewOrder
from microexchange.records import Record
from microexchange.refusals import Code, Refusal

OnResult = Callable[[list[Record] | Refusal], None]
"""Receives all reports that a command caused, in order, or the reason why they are not known. It must not raise."""
TIMEOUT_CHECK_INTERVAL_SECONDS = 0.05
PENDING_REPORT_DELAY_SECONDS = 0.5
"""Time after which the gateway reports an order that is on the log and that the engine has not answered. A shorter delay
would add a report for each order under load."""


class PendingCommand:
    """A command that the engine has not answered yet."""

    __slots__ = ("command", "confirmed_at", "on_result", "sent_at")

    def __init__(self, command: Command, on_result: OnResult, sent_at: float) -> None:
        self.command = command
        self.on_result = on_result
        self.sent_at = sent_at
        """Seconds on the clock `time.perf_counter`. The event loop's own clock has a resolution of milliseconds."""
        self.confirmed_at = 0.0
        """The time at which the log confirmed it, on the same clock; 0 before that."""


class PendingCommands:
    """Commands by id, in the order of sending."""

    def __init__(self, timeout_seconds: float) -> None:
        self.by_id: dict[int, PendingCommand] = {}
        """The commands by id. `OrderService` removes the answered ones."""
        self._timeout_seconds = timeout_seconds
        self._confirmed_orders: deque[PendingCommand] = deque()
        """Orders that are on the log, oldest first, until their pending report is due."""

    def add(self, command: Command, on_result: OnResult) -> PendingCommand:
        """Add a command that is sent now."""
        pending = self.by_id[command.command_id] = PendingCommand(command, on_result, time.perf_counter())
        return pending

    def confirm(self, pending: PendingCommand) -> None:
        """Record that the command is on the log."""
        pending.confirmed_at = time.perf_counter()
        if isinstance(pending.command, NewOrder):
            self._confirmed_orders.append(pending)

    def withdraw(self, pending: PendingCommand) -> None:
        """Remove a command that is certainly not on the log, and refuse it."""
        if self.by_id.pop(pending.command.command_id, None) is not None:
            pending.on_result(Refusal(Code.UNAVAILABLE, "the exchange's log is not available: nothing was sent"))

    def expire(self, now: float) -> None:
        """Remove and refuse the commands that have waited for too long."""
        while self.by_id:
            command_id, oldest = next(iter(self.by_id.items()))
            if oldest.sent_at + self._timeout_seconds > now:
                break
            del self.by_id[command_id]
            oldest.on_result(
                Refusal(
                    Code.OUTCOME_UNKNOWN,
                    f"the market has not answered within {self._timeout_seconds:g} s; the command may still take effect. "
                    f"Its id is {command_id}: call GET /orders/{command_id}. "
                    "An order with a client_order_id can be sent again under it",
                )
            )

    def due_for_report(self, now: float) -> Iterator[PendingCommand]:
        """Remove and yield the orders whose pending report is due. Some may have been answered."""
        confirmed = self._confirmed_orders
        while confirmed and confirmed[0].confirmed_at + PENDING_REPORT_DELAY_SECONDS <= now:
            yield confirmed.popleft()
