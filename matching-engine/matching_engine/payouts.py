"""`PayOut`: a dividend, or the liquidation of a security."""

from matching_engine.account import Account
from matching_engine.cancellation import cancel_orders
from matching_engine.context import Outcome, Reason
from matching_engine.exchange import Exchange
from matching_engine.limits import MAX_INT, MAX_ISSUED_CASH
from matching_engine.reports import accepted, rejected
from matching_engine.session_checks import faults_of_payout
from matching_engine.session_news import report_skipped
from matching_engine.session_terms import note_lots, transfer
from matching_engine.trading_states import stop_market
from microexchange.commands import Command
from microexchange.enums import TradingState
from microexchange.refusals import Code
from microexchange.session_commands import PayOut, ScheduledPayout
from microexchange.session_reports import PaidOut


def pay_out(exchange: Exchange, command: PayOut, outcome: Outcome) -> None:
    """Apply a `PayOut`."""
    refusal = refuse_payout(exchange, command)
    if refusal is not None:
        outcome.reports.append(rejected(command, "", *refusal))
        return
    outcome.reports.append(accepted(command))
    _pay(exchange, command, command.command_id, command, outcome)


def pay_scheduled(exchange: Exchange, payout: ScheduledPayout, command: Command, outcome: Outcome) -> None:
    """Apply a payout of the plan. If its cash would exceed `MAX_ISSUED_CASH`, the admin receives news instead."""
    refusal = refuse_payout(exchange, payout)
    if refusal is None:
        _pay(exchange, payout, exchange.new_id(), command, outcome)
    else:
        report_skipped(exchange, f"the payout on {payout.symbol}: {refusal[1]}", command, outcome)


def refuse_payout(exchange: Exchange, payout: PayOut | ScheduledPayout) -> Reason | None:
    """Return why a payout is not possible, or None."""
    if (fault := next(faults_of_payout(exchange, payout, ""), None)) is not None:
        return fault
    lots = sum(max(_lots(account, payout.symbol), 0) for account in exchange.accounts.values())
    if exchange.issued_cash + exchange.granted_credit + lots * payout.cash_per_lot > MAX_ISSUED_CASH:
        return Code.LIMIT_EXCEEDED, "the exchange cannot count that much cash"
    return None


def _lots(account: Account, symbol: str) -> int:
    holding = account.holdings.get(symbol)
    return 0 if holding is None else holding.quantity


def _pay(exchange: Exchange, payout: PayOut | ScheduledPayout, payout_id: int, command: Command, outcome: Outcome) -> None:
    """Pay the holders. In a final payout, halt the market and take the holdings."""
    market, payments, shortfall = exchange.markets[payout.symbol], list[tuple[str, int, int]](), 0
    if payout.final:
        text = f"{payout.symbol} is paid out"
        exchange.keep_state(payout.symbol, TradingState.HALTED)
        stop_market(exchange, market, command, outcome, Code.PAID_OUT, text)
    for account in exchange.accounts.values():
        lots = _lots(account, payout.symbol)
        cash = lots * payout.cash_per_lot
        if cash < 0:
            paid = _collect(exchange, account, -cash, command, outcome)
            shortfall -= cash + paid
            cash = -paid
        taken = {payout.symbol: -lots} if payout.final and lots else {}
        if cash or taken:
            transfer(exchange, account, cash, taken, f"payout on {payout.symbol}", command, outcome)
            if exchange.session is not None:
                note_lots(exchange.session, account.client_id, taken)
            payments.append((account.client_id, cash, taken.get(payout.symbol, 0)))
    terms = payout.symbol, payout.cash_per_lot, payout.final
    outcome.reports.append(PaidOut(payout_id, command.timestamp, *terms, payments, min(shortfall, MAX_INT)))


def _collect(exchange: Exchange, account: Account, owed: int, command: Command, outcome: Outcome) -> int:
    """Return the cash units that a short holder can pay, up to `owed`. Open orders that hold this cash are cancelled."""
    if owed > account.cash - account.held:
        text = "the client must pay for a short position"
        cancel_orders(exchange, account, command, outcome.reports, Code.PAID_OUT, text)
    return min(owed, max(account.cash - account.held, 0))
