"""The HTML page of a round or a tournament. It is one file that includes plotly's JavaScript."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go
import plotly.io

from microexchange.numbers import CASH_SCALE
from microexchange.plain_text import plain
from trading_bots.competition.record import Record
from trading_bots.competition.recording import DATA_FEED_FILE, ORDER_ENTRY_FILE, write_bodies
from trading_bots.competition.results import RankedClient, RoundResult, idle, write_round

if TYPE_CHECKING:
    from trading_bots.competition.tournament import Tournament
    from trading_bots.simulation.rounds import Round

_STYLE = """ :root { color-scheme: light; --line: #d9dee5; --soft: #5b6675; } body { font: 15px/1.5 system-ui, sans-serif;
color: #17202c; margin: 0 auto; max-width: 1180px; padding: 24px 16px 64px; } h1 { margin: 0; font-size: 28px; } h2 {
margin: 40px 0 8px; font-size: 19px; } p { color: var(--soft); margin: 4px 0 12px; } table { border-collapse: collapse;
width: 100%; font-variant-numeric: tabular-nums; } .wide { overflow-x: auto; } th, td { padding: 6px 10px; border-bottom:
1px solid var(--line); text-align: right; white-space: nowrap; } th { color: var(--soft); font-weight: 500; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; } tr.house td { color: var(--soft); } .bad { color: #b3261e; }
.good { color: #0b7a4b; } pre { overflow-x: auto; color: #b3261e; }
"""
_ABOUT_RANKING = """Profit is the equity at the end less the opening balance. It has three parts: the edge of
the client's prices against the mid price, fees, and the price changes of its inventory. House bots are
grey."""
_LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 30, "b": 60},
    "height": 380,
    "legend": {"orientation": "h", "y": 1.12},
    "font": {"family": "system-ui, sans-serif"},
}


def report(result: RoundResult, record: Record, values: Mapping[str, Sequence[float]] | None = None, about: str = "") -> str:
    """Return the HTML page of a round.

    Args:
        result: The result of the round.
        record: The record of the round.
        values: The fundamental values, second by second, if they are known.
        about: Text to add to the line of facts.
    """
    names = [client.client_id for client in result.ranking]
    played = [client.client_id for client in result.ranking if not client.house] or names
    seconds = [(at - record.times[0]) / 1e9 for at in record.times]
    sections = [
        ("Ranking", _ABOUT_RANKING, _ranking(result)),
        ("Equity", "At last prices, over the round.", _figure("equity", _equity(record, played, seconds), "cash")),
        ("Parts of the profit", "", _figure("parts", _parts(result), "cash", barmode="relative")),
        ("Fall from a peak", "The equity less its highest value before.",
         _figure("drawdown", _drawdowns(record, played, seconds), "cash")),
        *(
            (symbol, _about_market(result, symbol), _figure(
                f"price-{number}", _prices(record, symbol, seconds, (values or {}).get(symbol)), "price"))
            for number, symbol in enumerate(result.securities)
        ),
        ("Quality of the markets", "Means of the samples. Volatility is that of the mid price, scaled to a minute.",
         _quality(result)),
    ]  # fmt: skip
    faults = [
        client
        for client in result.ranking
        if client.errors or client.ended or client.note or (idle(client) and not client.house)
    ]
    if faults:
        sections.append(("Problems", "", "".join(map(_fault, faults))))
    if result.confinement:
        lines = (f"{name}: {text}" for name, text in result.confinement.items())
        sections.append(("Confinement", "The confinement of each bot's process.", "".join(map(_paragraph, lines))))
    facts = f"{result.mode}, {result.seconds:g} s, {result.orders:,} orders, {result.trades:,} trades, seed {result.seed}"
    return _page(f"{result.season}, round {result.round}", facts + about, sections)


def _escaped(text: str) -> str:
    """Return text from outside for a page, without tags and control characters."""
    return escape(plain(text))


def _page(title: str, facts: str, sections: Sequence[tuple[str, str, str]]) -> str:
    body = "".join(f"<h2>{_escaped(head)}</h2><p>{_escaped(text)}</p>{content}" for head, text, content in sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{_escaped(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<script>{plotly.offline.get_plotlyjs()}</script></head><body><h1>{_escaped(title)}</h1>"
        f"<p>{_escaped(facts)}</p>{body}</body></html>\n"
    )


def write_played(folder: Path, played: "Round") -> None:
    """Write all files of a round: those of `write_round`, the page, and the recordings."""
    write_round(folder, played.result, played.record)
    (folder / "report.html").write_text(report(played.result, played.record, played.values), encoding="utf-8")
    write_bodies(folder / ORDER_ENTRY_FILE, played.commands)
    write_bodies(folder / DATA_FEED_FILE, played.reports)


def _figure(name: str, traces: Sequence[Any], unit: str, **layout: Any) -> str:
    figure = go.Figure(list(traces), go.Layout(**{**_LAYOUT, **layout, "yaxis": {"title": unit}}))
    text: str = plotly.io.to_html(figure, include_plotlyjs=False, full_html=False, div_id=name, config={"responsive": True})
    return text


def _lines(named: Mapping[str, Sequence[Any]], seconds: Sequence[float]) -> list[Any]:
    return [go.Scatter(x=list(seconds), y=list(points), name=name, mode="lines") for name, points in named.items()]


def _cash(units: int | None) -> float | None:
    return None if units is None else units / CASH_SCALE


def _equity(record: Record, names: Sequence[str], seconds: Sequence[float]) -> list[Any]:
    return _lines({name: [_cash(units) for units in record.clients[name].equity] for name in names}, seconds)


def _drawdowns(record: Record, names: Sequence[str], seconds: Sequence[float]) -> list[Any]:
    falls: dict[str, list[float | None]] = {}
    for name in names:
        falls[name] = []
        peak: int | None = None
        for units in record.clients[name].equity:
            if units is not None:
                peak = units if peak is None else max(peak, units)
            falls[name].append(None if units is None or peak is None else _cash(units - peak))
    return _lines(falls, seconds)


def _parts(result: RoundResult) -> list[Any]:
    names = [client.client_id for client in result.ranking]
    parts = {
        "prices against the mid price": "from_spread",
        "fees": "from_fees",
        "price changes of the inventory": "from_inventory",
    }
    return [
        go.Bar(name=name, x=names, y=[float(getattr(client, field)) for client in result.ranking])
        for name, field in parts.items()
    ]


def _prices(record: Record, symbol: str, seconds: Sequence[float], values: Sequence[float] | None) -> list[Any]:
    tick = float(record.market.securities[symbol].tick_size)
    mid_prices = [None if mid_price is None else mid_price * tick for mid_price in record.tapes[symbol].mid_prices]
    traces = _lines({"mid price": mid_prices}, seconds)
    if values is not None:
        line = go.Scatter(x=list(range(len(values))), y=list(values), name="fundamental value", mode="lines")
        traces.append(line.update(line={"dash": "dot", "color": "#8a94a3"}))
    return traces


def _about_market(result: RoundResult, symbol: str) -> str:
    quality = result.securities[symbol]
    return f"{quality.trades:,} trades, {quality.volume} shares, last {quality.last}."


def _table(headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    head = "".join(f"<th>{_escaped(text)}</th>" for text in headings)
    lines = (
        f'<tr class="{row_class}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" for row_class, cells in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _money(text: str) -> str:
    amount = float(text)
    css_class = "good" if amount > 0 else "bad" if amount < 0 else ""
    return f'<span class="{css_class}">{amount:,.2f}</span>'


def _ranking(result: RoundResult) -> str:
    headings = ("", "client", "score", "equity", "profit", "spread", "fees", "inventory", "drawdown", "orders", "fills",
             "fill ratio", "rejected")  # fmt: skip
    rows = [
        (
            "house" if client.house else "",
            (
                str(client.rank),
                _escaped(client.client_id),
                f"{float(client.score):,.2f}",
                f"{float(client.equity):,.2f}",
                *map(_money, (client.profit, client.from_spread, client.from_fees, client.from_inventory)),
                f"{float(client.drawdown):,.2f}",
                f"{client.orders:,}",
                f"{client.fills:,}",
                f"{client.fill_ratio:.0%}",
                f"{client.rejected:,}",
            ),
        )
        for client in result.ranking
    ]
    return _table(headings, rows)


def _quality(result: RoundResult) -> str:
    headings = ("security", "", "spread, bps", "depth", "volatility, % a minute", "trades", "volume", "high", "low", "last")

    def shown(number: float | None) -> str:
        return "–" if number is None else f"{number:,.2f}"

    rows = [
        (
            "",
            (
                _escaped(symbol),
                "",
                *map(shown, (quality.spread_bps, quality.depth, quality.volatility)),
                f"{quality.trades:,}",
                escape(quality.volume),
                escape(quality.high or "–"),
                escape(quality.low or "–"),
                escape(quality.last),
            ),
        )
        for symbol, quality in result.securities.items()
    ]
    return _table(headings, rows)


def _fault(client: RankedClient) -> str:
    words = (client.ended, client.note, "" if client.house else idle(client))
    paragraphs = "".join(f"<p>{_escaped(text)}</p>" for text in words if text)
    errors = f"<pre>{_escaped(chr(10).join(client.errors))}</pre>" if client.errors else ""
    return f"<h3>{_escaped(client.client_id)}</h3>{paragraphs}{errors}"


def _paragraph(text: str) -> str:
    return f"<p>{_escaped(text)}</p>"


def tournament_page(
    result: "Tournament", headings: Sequence[str], rows: Sequence[Sequence[str]], paragraphs: Sequence[str] = ()
) -> str:
    """Return the HTML page of a tournament.

    Args:
        result: The result.
        headings: The headings of the columns.
        rows: The rows of the table.
        paragraphs: Sentences about the differences between contestants.
    """
    names = [place.client_id for place in result.places]
    bars = go.Bar(
        x=names,
        y=[place.mean_score for place in result.places],
        error_y={"type": "data", "array": [place.margin for place in result.places]},
    )
    beats = go.Heatmap(
        x=names,
        y=names,
        z=[[place.beats.get(name) for name in names] for place in result.places],
        zmin=0,
        zmax=1,
        colorscale="RdYlGn",
        texttemplate="%{z:.0%}",
    )
    sections = [
        (
            "Ranking",
            "By mean score. The interval is the 95 % confidence interval of the mean.",
            _table(headings, [("", list(map(_escaped, row))) for row in rows]) + "".join(map(_paragraph, paragraphs)),
        ),
        ("Mean scores", "", _figure("scores", [bars], "score")),
        (
            "Wins by pair",
            "The part of the rounds that the contestant on the left won.",
            _figure("beats", [beats], ""),
        ),
    ]
    return _page(f"{result.season}: {result.rounds} rounds", f"seed {result.seed}", sections)
