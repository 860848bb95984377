"""Measures the round trip of an order, once a second."""

import contextlib
import statistics
import threading
import time
from collections import Counter

import httpx

from tests.integration.running import Running

PAUSE_SECONDS = 1.0
PERCENTILES = (50, 95, 99)


class Prober:
    """A client that enters an order far from the market once a second, and cancels it."""

    def __init__(self, running: Running) -> None:
        self._running = running
        self._headers = running.open_account("prober")
        self._round_trips: list[float] = []
        self.answers: Counter[int] = Counter()
        """The number of answers by status code. Code 0 counts requests without an answer."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to measure."""
        self._thread.start()

    def stop(self) -> None:
        """End the measurement."""
        self._stop.set()
        self._thread.join(60)

    def take(self) -> dict[int, float]:
        """Return the percentiles of the round trips since the last call, in milliseconds."""
        round_trips, self._round_trips = self._round_trips, []
        if len(round_trips) < 2:
            return {}
        cuts = statistics.quantiles(round_trips, n=100, method="inclusive")
        return {percent: cuts[percent - 1] * 1000 for percent in PERCENTILES}

    def _run(self) -> None:
        order = {"symbol": "AAPL", "side": "buy", "quantity": "1", "price": "1.00"}
        with httpx.Client(timeout=20) as http:
            while not self._stop.wait(PAUSE_SECONDS):
                began = time.perf_counter()
                try:
                    answer = http.post(f"{self._running.gateway}/orders", json=order, headers=self._headers)
                except httpx.HTTPError:
                    self.answers[0] += 1
                    continue
                self.answers[answer.status_code] += 1
                if answer.status_code == 201:
                    self._round_trips.append(time.perf_counter() - began)
                with contextlib.suppress(httpx.HTTPError):
                    http.delete(f"{self._running.gateway}/orders", headers=self._headers)
