"""Small charts as SVG: axes, lines and points, in colours that are visible on light and dark pages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 420, 260, 58, 40, 30
COLOURS = ("#2f6fdb", "#d9822b", "#8a94a3")


@dataclass(frozen=True)
class Series:
    """Points of a chart, drawn in one colour."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """A chart with its series. `across` and `up` are the labels of the axes."""

    title: str
    across: str
    up: str
    series: Sequence[Series]


def write(path: Path, charts: Sequence[Chart], columns: int = 2, zero: bool = True) -> None:
    """Write the charts side by side into one file. With `zero`, the vertical axes include 0."""
    rows = math.ceil(len(charts) / columns)
    parts = [
        f'<g transform="translate({index % columns * WIDTH},{index // columns * HEIGHT})">{_svg_of(chart, zero)}</g>'
        for index, chart in enumerate(charts)
    ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{columns * WIDTH}" height="{rows * HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="11" fill="#6b7684">'
    )
    path.write_text(f"{head}{''.join(parts)}</svg>\n")


def _label(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _svg_of(chart: Chart, zero: bool) -> str:
    xs = [x for series in chart.series for x in series.x]
    ys = [y for series in chart.series for y in series.y]
    left, right, low, high = min(xs), max(xs), min(ys), max(ys)
    if zero:
        low, high = min(0.0, low), max(0.0, high)
    width, height = WIDTH - LEFT - 16, HEIGHT - BOTTOM - TOP

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - left) / ((right - left) or 1) * width
        return round(across, 1), round(TOP + (high - y) / ((high - low) or 1) * height, 1)

    ground = at(left, max(low, 0.0))[1]
    parts = [
        f'<text x="{LEFT}" y="16" font-weight="600">{escape(chart.title)}</text>',
        f'<line x1="{LEFT}" x2="{LEFT + width}" y1="{ground}" y2="{ground}" stroke="#8a94a3" stroke-width="0.8"/>',
        f'<text x="{LEFT + width / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(chart.across)}</text>',
        f'<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{_label(high)}</text>',
        f'<text x="{LEFT - 6}" y="{TOP + height + 4}" text-anchor="end">{_label(low)}</text>',
        f'<text x="{LEFT}" y="{TOP + height + 16}">{_label(left)}</text>',
        f'<text x="{LEFT + width}" y="{TOP + height + 16}" text-anchor="end">{_label(right)}</text>',
        f'<text x="12" y="{TOP + height / 2}" transform="rotate(-90 12 {TOP + height / 2})" text-anchor="middle">'
        f"{escape(chart.up)}</text>",
    ]
    for number, series in enumerate(chart.series):
        colour, points = COLOURS[number % len(COLOURS)], [at(x, y) for x, y in zip(series.x, series.y, strict=True)]
        if series.dots:
            parts += [f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>' for x, y in points]
        else:
            path = " ".join(f"{x},{y}" for x, y in points)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(
            f'<text x="{LEFT + width}" y="{TOP + 4 + 13 * number}" text-anchor="end" '
            f'fill="{colour}">{escape(series.name)}</text>'
        )
    return "".join(parts)
