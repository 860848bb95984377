"""How the exchange does: rates, latencies, rejects, and what each service says of itself."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from microexchange.latency import LatencyWindow
from microexchange.messages import ENGINE, Batch, ExecType, OrderReport, OrderStatus, Record, Trade

NANOSECONDS = 1_000_000_000
HISTORY = 300
"""Seconds of rates that are kept."""


class Operations:
    """Listens to the reports as they come, and asks the services once a second.

    Latencies come from the stamps that the records carry: the gateway's on the command, the log's on the engine's body, and
    the clock of this process.
    """

    def __init__(self, services: dict[str, str], own_status: Callable[[], dict[str, Any]]) -> None:
        self._services = services
        self._own_status = own_status
        self._orders = self._trades = 0
        self.rates: deque[dict[str, Any]] = deque(maxlen=HISTORY)
        """Of each second: when it ended, orders and trades in it."""
        self.to_engine = LatencyWindow()
        """Gateway in to engine out."""
        self.to_feed = LatencyWindow()
        """Engine out to feed in."""
        self._known: dict[str, dict[str, Any]] = {}

    def heard(self, batch: Batch[Record], reports: Sequence[Record]) -> None:
        """Counts a body that has come."""
        if batch.producer != ENGINE or not reports:
            return
        self.to_feed.add(max(time.time_ns() - batch.stamp, 0) / NANOSECONDS)
        for report in reports:
            if isinstance(report, OrderReport):
                if report.exec_type is ExecType.NEW or report.status is OrderStatus.REJECTED:
                    self._orders += 1
                    self.to_engine.add(max(batch.stamp - report.timestamp, 0) / NANOSECONDS)
            elif isinstance(report, Trade):
                self._trades += 1

    async def watch(self) -> None:
        """Asks the services and keeps the rates, for ever."""
        async with httpx.AsyncClient(timeout=2) as http:
            while True:
                began = time.monotonic()
                orders, trades = self._orders, self._trades
                await asyncio.gather(*(self._ask(http, name, url) for name, url in self._services.items()))
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
        latencies = {"gateway_to_engine": self.to_engine, "engine_to_feed": self.to_feed}
        return {
            "rates": list(self.rates),
            "latency_ms": {
                name: {f"p{percent}": _ms(window.percentile(percent)) for percent in (50, 95, 99)}
                for name, window in latencies.items()
            },
            "rejects": rejects,
            "services": {
                **self._known,
                "market-data-feed": {"alive": True, "waiting_for": own.pop("waiting_for", {}), "status": own},
            },
        }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)
