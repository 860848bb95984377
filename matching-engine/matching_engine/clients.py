"""The commands for a client's account: `OpenAccount`, `TransferAssets`, `SuspendClient` and `ResumeClient`."""

from matching_engine import risk
from matching_engine.account import Account
from matching_engine.cancellation import cancel_orders
from matching_engine.context import Outcome, Reason
from matching_engine.exchange import Exchange
from matching_engine.limits import MAX_ISSUED_CASH
from matching_engine.reports import accepted, rejected, unknown_client
from matching_engine.session_terms import apply_terms_late, note_transfer, transfer
from microexchange.commands import OpenAccount, ResumeClient, SuspendClient, TransferAssets
from microexchange.instructions import Transfer
from microexchange.numbers import MAX_CASH, MAX_LOTS
from microexchange.refusals import Code
from microexchange.reports import AccountOpened, ClientResumed, ClientSuspended


def open_account(exchange: Exchange, command: OpenAccount, outcome: Outcome) -> None:
    """Apply an `OpenAccount`."""
    client_id, cash, shares, credit = command.client_id, command.cash, command.shares, command.credit_limit
    refusal = _refuse_account(exchange, command)
    if refusal is not None:
        outcome.reports.append(rejected(command, client_id, *refusal))
        return
    account = Account(client_id, cash, command.self_trade_prevention, credit, command.short_limit)
    account.opened_with = (cash, shares) if command.house else None
    exchange.accounts[client_id] = account
    exchange.issued_cash += cash
    exchange.granted_credit += credit
    for symbol, lots in shares.items():
        account.holding(symbol).quantity = lots
    funding = Transfer(command.command_id, command.timestamp, client_id, cash, shares, credit_limit=credit)
    outcome.instructions.append(funding)
    note_transfer(exchange, client_id, cash, shares)
    opened = AccountOpened(command.command_id, command.timestamp, client_id, cash, shares, command.house)
    outcome.reports.append(opened)
    apply_terms_late(exchange, account, command, outcome)


def _refuse_account(exchange: Exchange, command: OpenAccount) -> Reason | None:
    """Return why an account cannot be opened, or None."""
    cash, credit = command.cash, command.credit_limit
    if command.client_id in exchange.accounts:
        return Code.CLIENT_EXISTS, f"{command.client_id} already has an account"
    if unknown := [symbol for symbol in command.shares if symbol not in exchange.markets]:
        return Code.UNKNOWN_SYMBOL, f"{unknown[0]} is not listed"
    if not all(0 <= units <= MAX_CASH for units in (cash, credit, command.short_limit)) or not all(
        0 <= lots <= MAX_LOTS for lots in command.shares.values()
    ):
        return Code.LIMIT_EXCEEDED, "an account cannot be opened with this much"
    if exchange.issued_cash + exchange.granted_credit + cash + credit > MAX_ISSUED_CASH:
        return Code.LIMIT_EXCEEDED, "the exchange has issued all the cash that it can count"
    return None


def transfer_assets(exchange: Exchange, command: TransferAssets, outcome: Outcome) -> None:
    """Apply a `TransferAssets`: a deposit, or a withdrawal of what no open order reserves."""
    client_id, cash, shares = command.client_id, command.cash, command.shares
    account = exchange.accounts.get(client_id)
    if account is None:
        outcome.reports.append(unknown_client(command, client_id))
        return
    refusal = refuse_transfer(exchange, account, cash, shares)
    if refusal is not None:
        outcome.reports.append(rejected(command, client_id, *refusal))
        return
    transfer(exchange, account, cash, shares, command.memo, command, outcome, command.command_id)
    note_transfer(exchange, client_id, cash, shares)


def refuse_transfer(exchange: Exchange, account: Account, cash: int, shares: dict[str, int]) -> Reason | None:
    """Return why the account cannot receive these assets, or pay out negative ones. None if it can."""
    if not cash and not any(shares.values()):
        return Code.INVALID_FIELD, "there is nothing to transfer"
    if abs(cash) > MAX_CASH or exchange.issued_cash + exchange.granted_credit + cash > MAX_ISSUED_CASH:
        return Code.LIMIT_EXCEEDED, "the exchange cannot count that much cash"
    refusal = risk.refuse_withdrawal(account, -cash) if cash < 0 else None
    for symbol, lots in shares.items():
        if refusal is not None:
            break
        market = exchange.markets.get(symbol)
        if market is None:
            return Code.UNKNOWN_SYMBOL, f"{symbol} is not listed"
        refusal = risk.refuse_delivery(account, market, lots)
    return refusal


def suspend_client(exchange: Exchange, command: SuspendClient, outcome: Outcome) -> None:
    """Apply a `SuspendClient`: cancel the client's open orders, and refuse new ones."""
    account = exchange.accounts.get(command.client_id)
    if account is None:
        outcome.reports.append(unknown_client(command, command.client_id))
        return
    outcome.reports.append(accepted(command))
    if account.suspended:
        return
    account.suspended = True
    outcome.reports.append(ClientSuspended(command.command_id, command.timestamp, command.client_id, command.text))
    cancel_orders(exchange, account, command, outcome.reports, Code.CLIENT_SUSPENDED, "the client was suspended")


def resume_client(exchange: Exchange, command: ResumeClient, outcome: Outcome) -> None:
    """Apply a `ResumeClient`: accept the client's orders again."""
    account = exchange.accounts.get(command.client_id)
    if account is None:
        outcome.reports.append(unknown_client(command, command.client_id))
        return
    outcome.reports.append(accepted(command))
    if account.suspended:
        account.suspended = False
        outcome.reports.append(ClientResumed(command.command_id, command.timestamp, command.client_id))
