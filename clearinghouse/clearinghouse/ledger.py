"""Double-entry settlement: an instruction has legs that sum to zero, and either all of them are booked or none.

Pure: balances are in memory, and there is no I/O and no clock. Cash is in units of 1e-8, and shares are in lots.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from exchange_db.accounts import FEES, ISSUER, SPREAD
from microexchange.enums import SettlementStatus
from microexchange.instructions import Execution, Instruction, Transfer
from microexchange.reports import SettlementReport


@dataclass(frozen=True, slots=True)
class Legs:
    """The legs of an instruction. The cash legs sum to zero, and the share legs of each symbol too."""

    cash: list[tuple[str, int]]
    """(account, cash units)."""
    shares: list[tuple[str, str, int]]
    """(account, symbol, lots)."""


def legs_of(instruction: Instruction) -> Legs:
    """Return the legs of `instruction`."""
    if isinstance(instruction, Execution):
        trade = instruction
        return Legs(
            cash=[
                (trade.buyer, -trade.buyer_pays - trade.buyer_fee),
                (trade.seller, trade.seller_receives - trade.seller_fee),
                (FEES, trade.buyer_fee + trade.seller_fee),
                (SPREAD, trade.buyer_pays - trade.seller_receives),
            ],
            shares=[(trade.seller, trade.symbol, -trade.quantity), (trade.buyer, trade.symbol, trade.quantity)],
        )
    client = instruction.client_id
    return Legs(
        cash=[(ISSUER, -instruction.cash), (client, instruction.cash)],
        shares=[
            leg for symbol, lots in instruction.shares.items() for leg in ((ISSUER, symbol, -lots), (client, symbol, lots))
        ],
    )


@dataclass(slots=True)
class Ledger:
    """The balances of all accounts, and their changes since `clear_moves`."""

    cash: dict[str, int] = field(default_factory=lambda: {ISSUER: 0, FEES: 0, SPREAD: 0})
    holdings: dict[tuple[str, str], int] = field(default_factory=dict)
    cash_moves: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    share_moves: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    credit_limits: dict[str, int] = field(default_factory=dict)
    """Cash units by which the cash of a client may be below zero. Clients without credit are left out."""
    short_limits: dict[tuple[str, str], int] = field(default_factory=dict)
    """Lots by which a changed holding may be below zero. Holdings that cannot be negative are left out."""
    new_accounts: set[str] = field(default_factory=set)
    new_holdings: set[tuple[str, str]] = field(default_factory=set)

    def settle(self, number: int, instruction: Instruction) -> SettlementReport:
        """Book all legs of the instruction with sequence `number`, or none. The report has the balances of its clients.

        A rejection means that the engine's credit check did not work: it is a fault in the exchange.
        """
        legs = legs_of(instruction)
        fault = self._fault(instruction, legs)
        if fault is None:
            for account, units in legs.cash:
                if account not in self.cash:
                    self.cash[account] = 0
                    self.new_accounts.add(account)
                self.cash[account] += units
                self.cash_moves[account] += units
            for account, symbol, lots in legs.shares:
                key = (account, symbol)
                if key not in self.holdings:
                    self.holdings[key] = 0
                    self.new_holdings.add(key)
                self.holdings[key] += lots
                self.share_moves[key] += lots
            if isinstance(instruction, Transfer) and instruction.opens and instruction.credit_limit:
                self.credit_limits[instruction.client_id] = instruction.credit_limit
            if isinstance(instruction, Execution) and instruction.short_limit:
                self.short_limits[instruction.seller, instruction.symbol] = instruction.short_limit
        if isinstance(instruction, Execution):
            clients = dict.fromkeys((instruction.buyer, instruction.seller))
            symbols = [instruction.symbol]
            trade_id, transfer_id = instruction.trade_id, 0
        else:
            clients = {instruction.client_id: None}
            symbols = list(instruction.shares)
            trade_id, transfer_id = 0, instruction.transfer_id
        return SettlementReport(
            number,
            instruction.timestamp,
            SettlementStatus.SETTLED if fault is None else SettlementStatus.REJECTED,
            trade_id,
            transfer_id,
            [(client, self.cash.get(client, 0)) for client in clients],
            [(client, symbol, self.holdings.get((client, symbol), 0)) for client in clients for symbol in symbols],
            fault or "",
        )

    def _fault(self, instruction: Instruction, legs: Legs) -> str | None:
        """Return the reason why the legs cannot be booked, or None."""
        if isinstance(instruction, Transfer):
            return self._fault_of_transfer(instruction)
        cash: defaultdict[str, int] = defaultdict(int)
        shares: defaultdict[tuple[str, str], int] = defaultdict(int)
        for account, units in legs.cash:
            cash[account] += units
        for account, symbol, lots in legs.shares:
            shares[account, symbol] += lots
        for client in (instruction.buyer, instruction.seller):
            if client not in self.cash:
                return f"{client} has no account"
            missing = -self.cash[client] - cash[client] - self.credit_limits.get(client, 0)
            if cash[client] < 0 and missing > 0:
                return f"{client} lacks {missing} cash units"
            missing = -shares[client, instruction.symbol] - self.holdings.get((client, instruction.symbol), 0)
            missing -= instruction.short_limit
            if missing > 0 and shares[client, instruction.symbol] < 0:
                return f"{client} lacks {missing} lots of {instruction.symbol}"
        return None

    def _fault_of_transfer(self, transfer: Transfer) -> str | None:
        client = transfer.client_id
        if transfer.opens:
            return f"{client} already has an account" if client in self.cash else None
        if client not in self.cash:
            return f"{client} has no account"
        if transfer.cash < 0 and self.cash[client] + transfer.cash < 0:
            return f"{client} lacks {-self.cash[client] - transfer.cash} cash units"
        for symbol, lots in transfer.shares.items():
            missing = -lots - self.holdings.get((client, symbol), 0)
            if lots < 0 and missing > 0:
                return f"{client} lacks {missing} lots of {symbol}"
        return None

    def clear_moves(self) -> None:
        """Drop the recorded changes, once they are in the database."""
        for moved in (self.cash_moves, self.share_moves, self.short_limits, self.new_accounts, self.new_holdings):
            moved.clear()
