"""Tests of settlement: the legs of an instruction sum to zero and are booked completely or not at all."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from clearinghouse.ledger import Ledger, legs_of
from exchange_db.accounts import FEES, ISSUER, SPREAD
from microexchange.enums import SettlementStatus, Side
from microexchange.instructions import Execution, Transfer

EXECUTION = Execution(7, 1, "X", 3, 1000, Side.BUY, 11, "a", 12, "b", 3000, 2900, 6, 3)


def open_ledger() -> Ledger:
    ledger = Ledger()
    for number, client in enumerate("ab", 1):
        ledger.settle(number, Transfer(number, 1, client, 10_000, {"X": 5}))
    ledger.clear_moves()
    return ledger


def test_the_legs_of_every_instruction_sum_to_zero() -> None:
    for instruction in (EXECUTION, Transfer(1, 1, "a", 500, {"X": 5, "Y": 6})):
        legs = legs_of(instruction)
        assert sum(units for _, units in legs.cash) == 0
        for symbol in ("X", "Y"):
            assert sum(lots for _, leg_symbol, lots in legs.shares if leg_symbol == symbol) == 0


def test_the_opening_balance_is_transferred_from_the_issuer() -> None:
    ledger = Ledger()
    report = ledger.settle(1, Transfer(9, 1, "a", 500, {"X": 5}))
    assert (report.status, report.instruction, report.transfer_id, report.trade_id) == (SettlementStatus.SETTLED, 1, 9, 0)
    assert (ledger.cash["a"], ledger.cash[ISSUER]) == (500, -500)
    assert (ledger.holdings["a", "X"], ledger.holdings[ISSUER, "X"]) == (5, -5)


def test_a_trade_moves_cash_shares_fees_and_the_spread() -> None:
    ledger = open_ledger()
    report = ledger.settle(3, EXECUTION)
    assert report.status is SettlementStatus.SETTLED
    assert report.cash == [("a", 10_000 - 3006), ("b", 10_000 + 2897)]
    assert report.holdings == [("a", "X", 8), ("b", "X", 2)]
    assert (ledger.cash[FEES], ledger.cash[SPREAD]) == (9, 100)
    assert sum(ledger.cash.values()) == 0


def test_only_changed_balances_are_written() -> None:
    ledger = open_ledger()
    ledger.settle(3, EXECUTION)
    assert ledger.cash_moves == {"a": -3006, "b": 2897, FEES: 9, SPREAD: 100}
    assert ledger.share_moves == {("a", "X"): 3, ("b", "X"): -3}
    assert not ledger.new_accounts
    ledger.clear_moves()
    assert not ledger.cash_moves
    assert not ledger.share_moves


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"buyer_pays": 10_000, "seller_receives": 10_000}, "a lacks 6 cash units"),
        ({"quantity": 6}, "b lacks 1 lots of X"),
        ({"buyer": "nobody"}, "nobody has no account"),
        ({"seller": "nobody"}, "nobody has no account"),
        ({"seller_receives": 0, "seller_fee": 10_001}, "b lacks 1 cash units"),
    ],
)
def test_a_forbidden_instruction_is_rejected_and_changes_no_balance(change: dict[str, Any], message: str) -> None:
    ledger = open_ledger()
    before = replace(ledger, cash=dict(ledger.cash), holdings=ledger.holdings.copy())
    report = ledger.settle(3, msgspec.structs.replace(EXECUTION, **change))
    assert (report.status, report.text) == (SettlementStatus.REJECTED, message)
    assert (ledger.cash, ledger.holdings) == (before.cash, before.holdings)
    assert not ledger.cash_moves


def test_a_second_opening_of_an_account_is_rejected() -> None:
    ledger = open_ledger()
    assert ledger.settle(3, Transfer(9, 1, "a", 1, {})).status is SettlementStatus.REJECTED
    assert ledger.cash["a"] == 10_000


def test_cash_may_fall_to_the_credit_limit_and_not_below() -> None:
    ledger = Ledger()
    ledger.settle(1, Transfer(1, 1, "a", 1000, {}, credit_limit=2006))
    ledger.settle(2, Transfer(2, 1, "b", 0, {"X": 6}))
    assert ledger.settle(3, EXECUTION).status is SettlementStatus.SETTLED
    assert ledger.cash["a"] == -2006
    report = ledger.settle(4, msgspec.structs.replace(EXECUTION, trade_id=8, quantity=1))
    assert (report.status, report.text) == (SettlementStatus.REJECTED, "a lacks 3006 cash units")


def test_a_deposit_and_a_withdrawal_change_an_open_account() -> None:
    ledger = open_ledger()
    assert ledger.settle(3, Transfer(9, 1, "a", 100, {"X": 2}, False)).status is SettlementStatus.SETTLED
    assert ledger.settle(4, Transfer(10, 1, "a", -10_100, {"X": -7}, False)).cash == [("a", 0)]
    assert sum(ledger.cash.values()) == 0


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (Transfer(9, 1, "nobody", 1, {}, False), "nobody has no account"),
        (Transfer(9, 1, "a", -10_001, {}, False), "a lacks 1 cash units"),
        (Transfer(9, 1, "a", 0, {"X": -6}, False), "a lacks 1 lots of X"),
    ],
)
def test_a_withdrawal_of_more_than_the_balance_is_rejected(transfer: Transfer, message: str) -> None:
    ledger = open_ledger()
    report = ledger.settle(3, transfer)
    assert (report.status, report.text) == (SettlementStatus.REJECTED, message)
    assert ledger.cash["a"] == 10_000


def test_a_client_may_pay_with_the_proceeds_of_the_same_trade() -> None:
    ledger = open_ledger()
    own = msgspec.structs.replace(EXECUTION, seller="a", buyer_pays=20_000, seller_receives=20_000)
    assert ledger.settle(3, own).status is SettlementStatus.SETTLED
    assert ledger.cash["a"] == 10_000 - 9
