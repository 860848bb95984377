"""The results of a round: the ranking, its JSON, and fills as CSV."""

import csv
import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from microexchange.numbers import cash_to_text
from microexchange.schemas import time_text
from trading_bots.competition.record import FillRow, Record, Tape
from trading_bots.competition.season import Scoring, Season

MAX_CLIENTS = 10_000
"""The most clients, and the most securities, of a result that is decoded. A bot may have written it."""
_FEW, _MANY = msgspec.Meta(max_length=200), msgspec.Meta(max_length=MAX_CLIENTS)


class RankedClient(msgspec.Struct, frozen=True):
    """A row of a ranking. Amounts of cash are decimal text."""

    rank: int
    client_id: str
    house: bool
    """Whether it is a house bot."""
    score: str
    equity: str
    profit: str
    from_spread: str
    """The cash by which its prices were better than the mid price, summed over all fills."""
    from_fees: str
    from_inventory: str
    """The rest of the profit: price changes of its inventory."""
    drawdown: str
    mean_inventory: str
    """The mean value of the difference from its initial holdings."""
    orders: int
    rejected: int
    fills: int
    fill_ratio: float
    """The part of its orders that traded, in part or whole."""
    ended: str = ""
    """Why it ended before the round did. Empty if it did not."""
    errors: Annotated[list[str], _FEW] = []
    """The different errors of the bot, each with its count."""
    reject_codes: Annotated[dict[str, int], _FEW] = {}
    """Its rejected orders by code."""
    note: str = ""
    """A further message for its author."""


class MarketQuality(msgspec.Struct, frozen=True):
    """Measures of the quality of a market."""

    trades: int
    volume: str
    last: str
    high: str | None
    low: str | None
    spread_bps: float | None
    """The mean over samples in continuous trading with both sides. Null if there is none."""
    depth: float
    """The mean quantity at both best prices together, in continuous trading."""
    volatility: float | None
    """The standard deviation of the mid price's changes between samples, scaled to a minute, in per cent."""


class RoundResult(msgspec.Struct, frozen=True):
    """The result of a round. It is stored as JSON."""

    season: str
    round: int
    seed: str
    mode: str
    """`live` or `simulation`."""
    seconds: float
    fingerprint: str
    """The fingerprint of all commands and their times. Empty for a live round."""
    orders: int
    trades: int
    ranking: Annotated[list[RankedClient], _MANY]
    securities: Annotated[dict[str, MarketQuality], _MANY]
    confinement: Annotated[dict[str, str], _MANY] = {}
    """The confinement of each contestant's process in a live round, by client id."""


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
    confinement: Mapping[str, str] | None = None,
) -> RoundResult:
    """Return the result of a round, after its last sample.

    Args:
        season: The season.
        number: The number of the round, from 1.
        mode: `live` or `simulation`.
        record: The record of the round.
        house: The client ids of house bots.
        seconds: The length of the round.
        fingerprint: The fingerprint of a simulated round.
        ended: Why a client ended early, by client id.
        errors: The errors of each bot.
        notes: Further messages, by client id.
        confinement: The confinement of each contestant, by client id.
    """
    market, rows = record.market, []
    for client_id, client in market.clients.items():
        tally = record.clients[client_id]
        equity = market.equity(client)
        profit, samples = equity - client.opened_with, max(sum(sampled is not None for sampled in tally.equity), 1)
        inventory = tally.inventory_sum // samples
        score = score_of(season.scoring, equity, profit, tally.drawdown, inventory)
        rows.append((score, client_id, tally, equity, profit, inventory))
    rows.sort(key=lambda row: (-row[0], row[1]))
    ranking = [
        RankedClient(
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
        confinement=dict(confinement or {}),
    )


def idle(client: RankedClient) -> str:
    """Return why a client has not traded. Empty if it has."""
    if client.fills:
        return ""
    if not client.orders:
        return "it has sent no order"
    codes = ", ".join(f"{code} {count:,} times" for code, count in client.reject_codes.items())
    refused = f"; {client.rejected:,} were rejected: {codes}" if client.rejected else ""
    return f"it has not traded: none of its {client.orders:,} orders was filled{refused}"


def round_seed(season: Season, number: int) -> str:
    """Return the seed of a round."""
    return f"{season.seed}/{number}"


def score_of(scoring: Scoring, equity: int, profit: int, drawdown: int, inventory: int) -> int:
    """Return the score of a client in cash units. All arguments but `scoring` are in cash units."""
    penalty = scoring.drawdown_penalty * drawdown + scoring.inventory_penalty * inventory
    return (equity if scoring.by == "equity" else profit) - round(penalty)


def _quality(record: Record, symbol: str, seconds: float) -> MarketQuality:
    tape, security = record.tapes[symbol], record.market.securities[symbol]
    bps = [10_000 * s / m for s, m in zip(tape.spreads, tape.mid_prices, strict=True) if s is not None and m]
    depths = [depth for depth in tape.depths if depth is not None]
    changes = returns_of(tape)
    step = seconds / max(len(tape.mid_prices), 1)
    spread = statistics.pstdev(changes) * (60 / step) ** 0.5 * 100 if len(changes) > 1 else None
    return MarketQuality(
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
    """Return the relative changes of the mid price between samples that both have one."""
    pairs = zip(tape.mid_prices, tape.mid_prices[1:], strict=False)
    return [after / before - 1 for before, after in pairs if before and after]


def write_round(folder: Path, result: RoundResult, record: Record) -> None:
    """Write `result.json` and `fills/<client>.csv`."""
    (folder / "fills").mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_bytes(as_json(result))
    by_client: dict[str, list[FillRow]] = {client.client_id: [] for client in result.ranking}
    for fill in record.fills:
        by_client[fill.client_id].append(fill)
    for client_id, fills in by_client.items():
        (folder / "fills" / f"{client_id}.csv").write_text(_fills_csv(fills, record))


def as_json(result: Any) -> bytes:
    """Return the JSON of a result. The same result has the same bytes."""
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
