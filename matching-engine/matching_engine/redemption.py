"""The redemption of units at the end of a round: their private values become cash (Smith, 1962).

A buyer delivers the units that it has bought net in the round, and receives their values. A seller receives the units that
it has sold net, and pays their costs. So both have the holdings that they began with, and their profit is the gain from
trade.
"""

from itertools import accumulate

from matching_engine.account import Account
from matching_engine.context import Outcome
from matching_engine.exchange import Exchange
from matching_engine.limits import MAX_ISSUED_CASH
from matching_engine.session import Session
from matching_engine.session_terms import transfer
from microexchange.commands import Command
from microexchange.induced_values import SELLER
from microexchange.numbers import MAX_CASH, MAX_LOTS


def redeem(exchange: Exchange, session: Session, command: Command, outcome: Outcome) -> list[tuple[str, str, int, int]]:
    """Redeem the units of all clients with values. No order is open.

    Return the changes of their accounts: (client id, symbol, cash units, lots).
    """
    changes = []
    for client_id, by_symbol in sorted(session.values.items()):
        account = exchange.accounts[client_id]
        for symbol, values in sorted(by_symbol.items()):
            cash, lots = _change(exchange, session, account, symbol, values)
            if lots:
                transfer(exchange, account, cash, {symbol: lots}, f"values of {symbol}", command, outcome)
                changes.append((client_id, symbol, cash, lots))
    return changes


def _change(exchange: Exchange, session: Session, account: Account, symbol: str, values: list[int]) -> tuple[int, int]:
    """Return the cash units and the lots that an account receives for its units.

    A seller buys back as many units as it can pay. No change passes the limits of an account or of the exchange.
    """
    holding, tick_value = account.holdings.get(symbol), exchange.markets[symbol].tick_value
    held = 0 if holding is None else holding.quantity
    bought = held - session.start_lots.get(account.client_id, {}).get(symbol, 0)
    is_seller = session.roles[account.client_id] == SELLER
    units = min(-bought if is_seller else min(bought, held), len(values))
    limit = max(account.cash, 0) if is_seller else MAX_ISSUED_CASH - exchange.issued_cash - exchange.granted_credit
    limit = min(limit, MAX_CASH)
    totals = [0, *accumulate(values)]
    while units > 0 and (totals[units] * tick_value > limit or (is_seller and held + units > MAX_LOTS)):
        units -= 1
    if units <= 0:
        return 0, 0
    cash = totals[units] * tick_value
    return (-cash, units) if is_seller else (cash, -units)
