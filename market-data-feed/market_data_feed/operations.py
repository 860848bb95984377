"""Rates, latencies, rejects, and the state of each service."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from microexchange.batches import ENGINE, Batch
from microexchange.enums import ExecType, OrderStatus
from microexchange.latency import LatencyWindow
from microexchange.numbers import NS_PER_SECOND
from microexchange.records import Record
from microexchange.reports import OrderReport, Trade

RATE_HISTORY_SECONDS = 300
"""The number of seconds for which rates are kept."""
END_TO_END = "gateway_in_to_feed_out"
PERCENTILES = (50, 95, 99)
STAGES = ("gateway_in_to_log", "log_to_engine_in", "engine_in_to_out", "engine_out_to_feed_in", "feed_in_to_out", END_TO_END)
"""The stages of the newest order of each body: from its timestamp in the gateway until the feed has published its report."""


class Operations:
    """Rates, latencies and the state of the services. It polls the services once a second.

    Latencies are differences of timestamps. The gateway puts one on each command, and its reports carry it. Each body of the
    engine has the time at which it was appended, and the times at which its cause was appended and read. The times at which
    the feed reads and publishes are from the clock of this process.
    """

    def __init__(self, services: dict[str, str], own_status: Callable[[], dict[str, Any]]) -> None:
        self._services = services
        self._own_status = own_status
        self._orders = self._trades = 0
        self.rates: deque[dict[str, Any]] = deque(maxlen=RATE_HISTORY_SECONDS)
        """The end, the orders and the trades of each second."""
        self._latencies = {name: LatencyWindow() for name in STAGES}
        self.seconds: dict[int, dict[str, float | None]] = {percent: {} for percent in PERCENTILES}
        """The latencies as of the last second, by percentile and stage."""
        self._service_states: dict[str, dict[str, Any]] = {}

    def record_batch(self, batch: Batch[Record], reports: Sequence[Record], read_at: int, published_at: int) -> None:
        """Count a body. `read_at` and `published_at` are in nanoseconds of Unix time."""
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
            # Clocks of two machines may differ by more than the duration of a stage.
            stamps = (newest, *batch.cause, batch.stamp, read_at, published_at)
            for name, begin, end in zip(STAGES, stamps, stamps[1:], strict=False):
                self._latencies[name].add(max(end - begin, 0) / NS_PER_SECOND)
            self._latencies[END_TO_END].add(max(published_at - newest, 0) / NS_PER_SECOND)

    async def watch(self) -> None:
        """Poll the services and compute the rates once a second, without end."""
        async with httpx.AsyncClient(timeout=2) as http:
            while True:
                began = time.monotonic()
                orders, trades = self._orders, self._trades
                await asyncio.gather(*(self._poll(http, name, url) for name, url in self._services.items()))
                for name, window in self._latencies.items():
                    for percent, seconds in zip(PERCENTILES, window.percentiles(*PERCENTILES), strict=True):
                        self.seconds[percent][name] = seconds
                await asyncio.sleep(max(1 - (time.monotonic() - began), 0))
                elapsed = time.monotonic() - began
                rate = {"orders": (self._orders - orders) / elapsed, "trades": (self._trades - trades) / elapsed}
                self.rates.append({"at": time.time(), **rate})

    async def _poll(self, http: httpx.AsyncClient, name: str, url: str) -> None:
        try:
            self._service_states[name] = _service_state((await http.get(f"{url}/status")).json())
        except (httpx.HTTPError, ValueError):
            self._service_states[name] = {
                **_service_state({"waiting_for": {"service": "no answer"}}),
                "alive": False,
                "status": {},
            }

    def view(self, rejects: dict[str, int]) -> dict[str, Any]:
        """Return rates, latencies, rejects and the state of each service."""
        return {
            "rates": list(self.rates),
            "latency_ms": {
                name: {f"p{percent}": _ms(self.seconds[percent].get(name)) for percent in PERCENTILES} for name in STAGES
            },
            "rejects": rejects,
            "services": {
                **self._service_states,
                "market-data-feed": _service_state(self._own_status()),
            },
        }


def _service_state(status: dict[str, Any], no_answer: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the state of a service from its status, or from the reason why it has none."""
    return {
        "alive": no_answer is None,
        "waiting_for": no_answer or status.get("waiting_for", {}),
        "warnings": status.get("warnings", {}),
        "status": status,
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
