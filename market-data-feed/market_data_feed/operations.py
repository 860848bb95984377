"""How the exchange does: rates, latencies, rejects, and what each service says of itself."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from microexchange.batches import ENGINE, Batch
from microexchange.enums import ExecType, OrderStatus
from microexchange.latency import LatencyWindow
from microexchange.records import Record
from microexchange.reports import OrderReport, Trade

NANOSECONDS = 1_000_000_000
HISTORY = 300
"""Seconds of rates that are kept."""
WHOLE = "gateway_in_to_feed_out"
PERCENTS = (50, 95, 99)
STAGES = ("gateway_in_to_log", "log_to_engine_in", "engine_in_to_out", "engine_out_to_feed_in", "feed_in_to_out", WHOLE)
"""What is measured of the newest order of each body: from when the gateway took it until all have been told."""


class Operations:
    """Listens to the reports as they come, and asks the services once a second.

    Latencies come from stamps: the gateway's on the command, which its reports carry; of each body of the engine's, when it
    was appended, and when what caused it was appended and read; and the clock of this process.
    """

    def __init__(self, services: dict[str, str], own_status: Callable[[], dict[str, Any]]) -> None:
        self._services = services
        self._own_status = own_status
        self._orders = self._trades = 0
        self.rates: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        """Of each second: when it ended, orders and trades in it."""
        self._latencies = {name: LatencyWindow() for name in STAGES}
        self.seconds: dict[int, dict[str, float | None]] = {percent: {} for percent in PERCENTS}
        """What each stage took, as of this second: by percentile and stage."""
        self._known: dict[str, dict[str, Any]] = {}

    def heard(self, batch: Batch[Record], reports: Sequence[Record], read_at: int, told_at: int) -> None:
        """Counts a body that was read and told, in nanoseconds of Unix time."""
        if batch.producer != ENGINE or not reports:
            return
        newest = 0
        for report in reports:
            if isinstance(report, OrderReport):
                if report.exec_type is ExecType.NEW or report.status is OrderStatus.REJECTED:
                    self._orders += 1
                    newest = report.timestamp
            elif isinstance(report, Trade):
                self._trades += 1
        if newest and batch.cause[0]:
            # Clocks of several machines may differ by more than a stage takes.
            stamps = (newest, *batch.cause, batch.stamp, read_at, told_at)
            for name, begin, end in zip(STAGES, stamps, stamps[1:], strict=False):
                self._latencies[name].add(max(end - begin, 0) / NANOSECONDS)
            self._latencies[WHOLE].add(max(told_at - newest, 0) / NANOSECONDS)

    async def watch(self) -> None:
        """Asks the services and keeps the rates, for ever."""
        async with httpx.AsyncClient(timeout=2) as http:
            while True:
                began = time.monotonic()
                orders, trades = self._orders, self._trades
                await asyncio.gather(*(self._ask(http, name, url) for name, url in self._services.items()))
                for name, window in self._latencies.items():
                    for percent, seconds in zip(PERCENTS, window.percentiles(*PERCENTS), strict=True):
                        self.seconds[percent][name] = seconds
                await asyncio.sleep(max(1 - (time.monotonic() - began), 0))
                elapsed = time.monotonic() - began
                rate = {"orders": (self._orders - orders) / elapsed, "trades": (self._trades - trades) / elapsed}
                self.rates.append({"at": time.time(), **rate})

    async def _ask(self, http: httpx.AsyncClient, name: str, url: str) -> None:
        try:
            status = (await http.get(f"{url}/status")).json()
            self._known[name] = {"alive": True, "waiting_for": status.get("waiting_for", {}), "status": status}
        except (httpx.HTTPError, ValueError):
            self._known[name] = {"alive": False, "waiting_for": {"service": "it does not answer"}, "status": {}}

    def view(self, rejects: dict[str, int]) -> dict[str, Any]:
        """All of it, for the dashboard."""
        own = self._own_status()
        return {
            "rates": list(self.rates),
            "latency_ms": {
                name: {f"p{percent}": _ms(self.seconds[percent].get(name)) for percent in PERCENTS} for name in STAGES
            },
            "rejects": rejects,
            "services": {
                **self._known,
                "market-data-feed": {"alive": True, "waiting_for": own.pop("waiting_for", {}), "status": own},
            },
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
