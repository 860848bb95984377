"""Double-entry settlement: every instruction is a set of legs that sum to zero, and either all of them are booked or none.

Pure: balances in memory, no I/O, no clock. Cash in units of 1e-8, shares in lots.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from exchange_db.accounts import FEES, ISSUER, SPREAD
from microexchange.enums import SettlementStatus
from microexchange.instructions import Execution, Instruction, Transfer
from microexchange.reports import SettlementReport


@dataclass(frozen=True, slots=True)
class Legs:
    """What an instruction moves. The cash legs sum to zero, and so do those of each symbol."""

    cash: list[tuple[str, int]]
    """(account, units)."""
    shares: list[tuple[str, str, int]]
    """(account, symbol, lots)."""


def legs_of(instruction: Instruction) -> Legs:
    """The legs of `instruction`."""
    if isinstance(instruction, Execution):
        e = instruction
        return Legs(
            cash=[
                (e.buyer, -e.buyer_pays - e.buyer_fee),
                (e.seller, e.seller_receives - e.seller_fee),
                (FEES, e.buyer_fee + e.seller_fee),
                (SPREAD, e.buyer_pays - e.seller_receives),
            ],
            shares=[(e.seller, e.symbol, -e.quantity), (e.buyer, e.symbol, e.quantity)],
        )
    t = instruction
    return Legs(
        cash=[(ISSUER, -t.cash), (t.client_id, t.cash)],
        shares=[leg for symbol, lots in t.shares.items() for leg in ((ISSUER, symbol, -lots), (t.client_id, symbol, lots))],
    )


@dataclass(slots=True)
class Ledger:
    """Balances of all accounts, and by how much they have moved since `clear_moves`."""

    cash: dict[str, int] = field(default_factory=lambda: {ISSUER: 0, FEES: 0, SPREAD: 0})
    holdings: dict[tuple[str, str], int] = field(default_factory=dict)
    cash_moves: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    share_moves: defaultdict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    credit_limits: dict[str, int] = field(default_factory=dict)
    """Cash units that clients may owe, of those that may."""
    short_limits: dict[tuple[str, str], int] = field(default_factory=dict)
    """How far below zero the holdings that moved may be, where they may."""
    new_accounts: set[str] = field(default_factory=set)
    new_holdings: set[tuple[str, str]] = field(default_factory=set)

    def settle(self, number: int, instruction: Instruction) -> SettlementReport:
        """Books the instruction with that sequence number, or refuses it whole. The report has the clients' balances after.

        A refusal means that the engine matched what its credit check should have stopped: a fault in the exchange.
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
        """What the rules have against the legs, or None."""
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
                return f"{client} has {missing} units of cash too little"
            missing = -shares[client, instruction.symbol] - self.holdings.get((client, instruction.symbol), 0)
            missing -= instruction.short_limit
            if missing > 0 and shares[client, instruction.symbol] < 0:
                return f"{client} holds {missing} lots of {instruction.symbol} too few"
        return None

    def _fault_of_transfer(self, transfer: Transfer) -> str | None:
        client = transfer.client_id
        if transfer.opens:
            return f"{client} has an account already" if client in self.cash else None
        if client not in self.cash:
            return f"{client} has no account"
        if transfer.cash < 0 and self.cash[client] + transfer.cash < 0:
            return f"{client} has {-self.cash[client] - transfer.cash} units of cash too little"
        for symbol, lots in transfer.shares.items():
            missing = -lots - self.holdings.get((client, symbol), 0)
            if lots < 0 and missing > 0:
                return f"{client} holds {missing} lots of {symbol} too few"
        return None

    def clear_moves(self) -> None:
        """The moves were written: forgets them."""
        for moved in (self.cash_moves, self.share_moves, self.short_limits, self.new_accounts, self.new_holdings):
            moved.clear()
