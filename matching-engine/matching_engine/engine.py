"""The engine: a deterministic function from commands to instructions and reports.

It uses integers only, no I/O and no clock. `Engine.apply` is the whole interface. It never raises because of a command's
values: it refuses the command with a code. docs/rulebook.md states each rule with its source.
"""

from collections.abc import Callable, Sequence
from typing import Any

from matching_engine.amendment import replace_order
from matching_engine.cancellation import cancel_all, cancel_order
from matching_engine.clients import open_account, resume_client, suspend_client, transfer_assets
from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.limits import MAX_INT, MAX_NOW
from matching_engine.listings import list_security
from matching_engine.order_entry import new_order
from matching_engine.payouts import pay_out
from matching_engine.saved_books import load_book, save_book
from matching_engine.session_news import assign_role, publish_news
from matching_engine.sessions import control_session, plan_session
from matching_engine.tenders import answer_tender, offer_tender
from matching_engine.timers import end_due, time_tick
from matching_engine.trading_states import set_trading_state
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
from microexchange.ids import COUNTER_BITS, MAX_GATEWAY
from microexchange.reports import GatewayLoggedOn
from microexchange.session_commands import (
    AnswerTender,
    AssignRole,
    ControlSession,
    OfferTender,
    PayOut,
    PlanSession,
    PublishNews,
)

Handler = Callable[[Exchange, Any, Outcome], None]
"""Applies a command of one type to the exchange, and appends its records to the outcome."""


def gateway_logon(exchange: Exchange, command: GatewayLogon, outcome: Outcome) -> None:
    """Apply a `GatewayLogon`: store the gateway's fencing token, and report the last command id from it."""
    exchange.gateway_tokens[gateway_name(command.gateway)] = command.fencing_token
    last_id = exchange.last_command_ids.get(command.gateway, 0)
    outcome.reports.append(GatewayLoggedOn(command.gateway, command.fencing_token, command.timestamp, last_id))


HANDLERS: dict[type, Handler] = {
    NewOrder: new_order,
    CancelOrder: cancel_order,
    ReplaceOrder: replace_order,
    CancelAll: cancel_all,
    OpenAccount: open_account,
    TransferAssets: transfer_assets,
    SuspendClient: suspend_client,
    ResumeClient: resume_client,
    ListSecurity: list_security,
    GatewayLogon: gateway_logon,
    SetTradingState: set_trading_state,
    SaveBook: save_book,
    LoadBook: load_book,
    TimeTick: time_tick,
    PlanSession: plan_session,
    ControlSession: control_session,
    PublishNews: publish_news,
    AssignRole: assign_role,
    PayOut: pay_out,
    OfferTender: offer_tender,
    AnswerTender: answer_tender,
}


class Engine(Exchange):
    """The state of the exchange, and the way to change it."""

    def fresh(self, batch: Batch[Command]) -> Sequence[Command]:
        """Return the commands of `batch` that are to be applied, in order: all of them, or none.

        A batch of a replaced gateway process has none. That process confirmed none of these commands to a client, and its
        successor can use their ids again.
        """
        return () if batch.fencing_token < self.gateway_tokens.get(batch.producer, 0) else batch.records

    def apply(self, command: Command) -> Outcome:
        """Apply one command, and return all that it caused.

        The outcome is empty if the command's id is not new, or if no gateway can have given it that id or time. A
        `GatewayLogon` is applied in any case.
        """
        outcome = Outcome([], [])
        command_id, now, last_ids = command.command_id, command.timestamp, self.last_command_ids
        gateway = (command_id >> COUNTER_BITS) & MAX_GATEWAY  # as gateway_of, without a call for each command
        if not (last_ids.get(gateway, 0) < command_id <= MAX_INT and 0 <= now <= MAX_NOW):
            if isinstance(command, GatewayLogon):
                gateway_logon(self, command, outcome)
            return outcome
        last_ids[gateway] = command_id
        if now > self.now:
            self.now = now
            if self.timers and self.timers[0][0] <= now:
                end_due(self, command, outcome)
        HANDLERS[type(command)](self, command, outcome)
        return outcome
