"""The assets of accounts at the start and at the end of a round.

All assets come from the issuer and go to it by transfers, so the clearinghouse settles them as deposits and withdrawals.
"""

from matching_engine.account import Account
from matching_engine.context import Outcome, Reason
from matching_engine.exchange import Exchange
from matching_engine.limits import MAX_INT, MAX_ISSUED_CASH
from matching_engine.session import Session
from microexchange.commands import Command
from microexchange.instructions import Transfer
from microexchange.refusals import Code
from microexchange.reports import AssetsTransferred
from microexchange.session_commands import RoundPlan, SessionState


def transfer(
    exchange: Exchange,
    account: Account,
    cash: int,
    shares: dict[str, int],
    memo: str,
    command: Command,
    outcome: Outcome,
    transfer_id: int | None = None,
) -> None:
    """Move cash units and lots from the issuer to an account. The caller has checked that the account can pay.

    Without a `transfer_id` the transfer gets a new one.
    """
    account.cash += cash
    exchange.issued_cash += cash
    for symbol, lots in shares.items():
        account.holding(symbol).quantity += lots
    fields = (exchange.new_id() if transfer_id is None else transfer_id, command.timestamp, account.client_id, cash, shares)
    outcome.instructions.append(Transfer(*fields, False, memo))
    outcome.reports.append(AssetsTransferred(*fields, memo))


def _changes(account: Account, round_plan: RoundPlan) -> tuple[int, dict[str, int]]:
    """Return the cash and the lots that bring an account to the start terms of a round. It has no open orders.

    A house account begins with its opening balance.
    """
    terms = account.opened_with or (round_plan.cash or 0, round_plan.shares or {})
    cash = 0 if round_plan.cash is None else terms[0] - account.cash
    if round_plan.shares is None:
        return cash, {}
    symbols = sorted({*account.holdings, *terms[1]})  # a restored account has its holdings in another order
    held = {symbol: holding.quantity for symbol, holding in account.holdings.items()}
    changes = {symbol: terms[1].get(symbol, 0) - held.get(symbol, 0) for symbol in symbols}
    return cash, {symbol: lots for symbol, lots in changes.items() if lots}


def refuse_terms(exchange: Exchange, round_plan: RoundPlan) -> Reason | None:
    """Return why the accounts cannot be brought to the start terms of a round, or None."""
    given = sum(_changes(account, round_plan)[0] for account in exchange.accounts.values())
    if exchange.issued_cash + exchange.granted_credit + given > MAX_ISSUED_CASH:
        return Code.LIMIT_EXCEEDED, f"the exchange cannot count the cash of round {round_plan.name!r} for all accounts"
    return None


def apply_terms(exchange: Exchange, round_plan: RoundPlan, command: Command, outcome: Outcome) -> None:
    """Bring all accounts to the start terms of a round. No account has open orders."""
    for account in exchange.accounts.values():
        cash, shares = _changes(account, round_plan)
        if cash or shares:
            transfer(exchange, account, cash, shares, f"start of {round_plan.name}", command, outcome)


def apply_terms_late(exchange: Exchange, account: Account, command: Command, outcome: Outcome) -> None:
    """Bring a client that opens its account during a round to the start terms. Do nothing if the issuer cannot."""
    session = exchange.session
    if (
        session is None
        or session.state not in (SessionState.RUNNING, SessionState.PAUSED)
        or account.opened_with is not None
    ):
        return
    cash, shares = _changes(account, session.round)
    if (cash or shares) and exchange.issued_cash + exchange.granted_credit + cash <= MAX_ISSUED_CASH:
        transfer(exchange, account, cash, shares, f"start of {session.round.name}", command, outcome)
        note_transfer(exchange, account.client_id, cash, shares)


def value_of(exchange: Exchange, cash: int, shares: dict[str, int]) -> int:
    """Return cash and lots at the last price, or at the reference price of the listing before any trade, in cash units.

    A value that 64 bits cannot count becomes the nearest that they can.
    """
    value = cash
    for symbol, lots in shares.items():
        market = exchange.markets[symbol]
        value += lots * (market.last_price or market.listing.reference_price) * market.tick_value
    return max(-MAX_INT, min(value, MAX_INT))


def account_value(exchange: Exchange, account: Account) -> int:
    """Return the cash and the holdings of an account in cash units."""
    shares = {symbol: holding.quantity for symbol, holding in account.holdings.items() if holding.quantity}
    return value_of(exchange, account.cash, shares)


def note_transfer(exchange: Exchange, client_id: str, cash: int, shares: dict[str, int]) -> None:
    """Add a transfer of the admin in a round to the start value of the account. It is not a profit."""
    session = exchange.session
    if session is not None and session.state in (SessionState.RUNNING, SessionState.PAUSED):
        values = session.start_values
        values[client_id] = value_of(exchange, values.get(client_id, 0) + cash, shares)
        note_lots(session, client_id, shares)


def note_lots(session: Session, client_id: str, shares: dict[str, int]) -> None:
    """Add lots that a client has not traded to its holdings at the start of the round."""
    start = session.start_lots.setdefault(client_id, {})
    for symbol, lots in shares.items():
        start[symbol] = start.get(symbol, 0) + lots
