"""What came of a round or a season: the ranking, a JSON of record, fills as CSV."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from microexchange.numbers import cash_to_text
from microexchange.schemas import time_text
from trading_bots.competition.record import FillRow, Record, Tape
from trading_bots.competition.season import Scoring, Season


class Standing(msgspec.Struct, frozen=True):
    """How a client ended. Amounts of cash as decimal text."""

    rank: int
    client_id: str
    house: bool
    """Whether it is a bot of the house."""
    score: str
    equity: str
    profit: str
    from_spread: str
    """By how much its prices were better than the middle of the market, all fills together."""
    from_fees: str
    from_inventory: str
    """The rest of the profit: what the prices of its shares did."""
    drawdown: str
    mean_inventory: str
    """The mean value of what it held more or less than at the beginning."""
    orders: int
    rejected: int
    fills: int
    fill_ratio: float
    """The part of its orders that traded at all."""
    ended: str = ""
    """Why it did not play to the end."""
    errors: list[str] = []
    """What went wrong in the bot: each kind once, with its count."""
    reject_codes: dict[str, int] = {}
    """Its rejected orders by code."""
    note: str = ""
    """What else its author should know."""


class Quality(msgspec.Struct, frozen=True):
    """How good a market was."""

    trades: int
    volume: str
    last: str
    high: str | None
    low: str | None
    spread_bps: float | None
    """Mean of the samples in which the market traded and both sides were there; null without one."""
    depth: float
    """Mean quantity at the two best prices together, while the market trades."""
    volatility: float | None
    """Standard deviation of the middle's changes from sample to sample, scaled to a minute, in per cent."""


class RoundResult(msgspec.Struct, frozen=True):
    """The JSON of record of a round."""

    season: str
    round: int
    seed: str
    mode: str
    """`live` or `simulation`."""
    seconds: float
    fingerprint: str
    """Of everything that was ordered, and when; in a live round, empty."""
    orders: int
    trades: int
    ranking: list[Standing]
    securities: dict[str, Quality]


def result_of(
    season: Season,
    number: int,
    mode: str,
    record: Record,
    *,
    house: set[str],
    seconds: float,
    fingerprint: str = "",
    ended: Mapping[str, str] | None = None,
    errors: Mapping[str, list[str]] | None = None,
    notes: Mapping[str, str] | None = None,
) -> RoundResult:
    """The result of a round whose last sample was taken."""
    market, rows = record.market, []
    for client_id, client in market.clients.items():
        tally = record.clients[client_id]
        equity = market.equity(client)
        profit, samples = equity - client.opened_with, max(sum(one is not None for one in tally.equity), 1)
        inventory = tally.held_off // samples
        score = score_of(season.scoring, equity, profit, tally.drawdown, inventory)
        rows.append((score, client_id, tally, equity, profit, inventory))
    rows.sort(key=lambda row: (-row[0], row[1]))
    ranking = [
        Standing(
            rank=rank,
            client_id=client_id,
            house=client_id in house,
            score=cash_to_text(score),
            equity=cash_to_text(equity),
            profit=cash_to_text(profit),
            from_spread=cash_to_text(tally.edge),
            from_fees=cash_to_text(-tally.fees),
            from_inventory=cash_to_text(profit - tally.edge + tally.fees),
            drawdown=cash_to_text(tally.drawdown),
            mean_inventory=cash_to_text(inventory),
            orders=tally.orders,
            rejected=tally.rejected,
            fills=tally.fills,
            fill_ratio=round(tally.filled_orders / tally.orders, 4) if tally.orders else 0.0,
            ended=(ended or {}).get(client_id, ""),
            errors=(errors or {}).get(client_id, []),
            reject_codes=dict(sorted(tally.rejects.items())),
            note=(notes or {}).get(client_id, ""),
        )
        for rank, (score, client_id, tally, equity, profit, inventory) in enumerate(rows, 1)
    ]
    return RoundResult(
        season=season.name,
        round=number,
        seed=round_seed(season, number),
        mode=mode,
        seconds=seconds,
        fingerprint=fingerprint,
        orders=market.totals.orders,
        trades=market.totals.trades,
        ranking=ranking,
        securities={symbol: _quality(record, symbol, seconds) for symbol in market.securities},
    )


def idle(standing: Standing) -> str:
    """Why a client has not traded at all, in words; empty for one that has."""
    if standing.fills:
        return ""
    if not standing.orders:
        return "it has sent no order"
    codes = ", ".join(f"{code} {count:,} times" for code, count in standing.reject_codes.items())
    refused = f"; {standing.rejected:,} were rejected: {codes}" if standing.rejected else ""
    return f"it has not traded: none of its {standing.orders:,} orders was filled{refused}"


def round_seed(season: Season, number: int) -> str:
    """The seed of a round."""
    return f"{season.seed}/{number}"


def score_of(scoring: Scoring, equity: int, profit: int, drawdown: int, inventory: int) -> int:
    """Cash units that a client is ranked by."""
    penalty = scoring.drawdown_penalty * drawdown + scoring.inventory_penalty * inventory
    return (equity if scoring.by == "equity" else profit) - round(penalty)


def _quality(record: Record, symbol: str, seconds: float) -> Quality:
    tape, security = record.tapes[symbol], record.market.securities[symbol]
    bps = [10_000 * s / m for s, m in zip(tape.spreads, tape.middles, strict=True) if s is not None and m]
    depths = [one for one in tape.depths if one is not None]
    changes = returns_of(tape)
    step = seconds / max(len(tape.middles), 1)
    spread = statistics.pstdev(changes) * (60 / step) ** 0.5 * 100 if len(changes) > 1 else None
    return Quality(
        trades=tape.trades,
        volume=security.quantity_text(tape.volume),
        last=security.price_text(record.market.mark(symbol)),
        high=security.price_text(tape.high) if tape.trades else None,
        low=security.price_text(tape.low) if tape.trades else None,
        spread_bps=round(statistics.fmean(bps), 3) if bps else None,
        depth=round(statistics.fmean(depths) * float(security.lot_size), 3) if depths else 0.0,
        volatility=None if spread is None else round(spread, 4),
    )


def returns_of(tape: Tape) -> list[float]:
    """Relative changes of the middle from sample to sample, where it is known at both."""
    pairs = zip(tape.middles, tape.middles[1:], strict=False)
    return [after / before - 1 for before, after in pairs if before and after]


def write_round(folder: Path, result: RoundResult, record: Record) -> None:
    """Writes `result.json` and `fills/<client>.csv`."""
    (folder / "fills").mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_bytes(as_json(result))
    by_client: dict[str, list[FillRow]] = {standing.client_id: [] for standing in result.ranking}
    for fill in record.fills:
        by_client[fill.client_id].append(fill)
    for client_id, fills in by_client.items():
        (folder / "fills" / f"{client_id}.csv").write_text(_fills_csv(fills, record))


def as_json(result: Any) -> bytes:
    """The bytes of record: the same result, the same bytes."""
    return msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n"


def _fills_csv(fills: Sequence[FillRow], record: Record) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("timestamp", "trade_id", "order_id", "symbol", "side", "price", "quantity", "fee", "liquidity", "edge"))
    for fill in fills:
        security = record.market.securities[fill.symbol]
        writer.writerow(
            (
                time_text(fill.timestamp),
                fill.trade_id,
                fill.order_id,
                fill.symbol,
                fill.side.value,
                security.price_text(fill.price),
                security.quantity_text(fill.quantity),
                cash_to_text(fill.fee),
                fill.liquidity,
                cash_to_text(fill.edge),
            )
        )
    return text.getvalue()
