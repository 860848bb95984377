"""A client of the ordeal that compares the answers to its orders with the orders that exist at the end."""

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from typing import Any

import httpx

from tests.integration.running import Running


class Witness:
    """A client that enters orders and records the answer to each."""

    def __init__(self, running: Running, name: str) -> None:
        self._running = running
        self.name = name
        self.headers = running.open_account(name)
        self.answers: dict[str, str] = {}
        """`accepted`, `refused`, `rejected` or `unknown`, by `client_order_id`."""
        self.codes: Counter[str] = Counter()
        """The number of refusals by code."""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._trade, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)

    def _trade(self) -> None:
        rng = random.Random(self.name)
        with httpx.Client(timeout=20) as http:
            for number in itertools.count(1):
                if self._stop.is_set():
                    return
                name = f"{self.name}-{number}"
                side, price = rng.choice((("buy", "1.00"), ("buy", "900.00"), ("sell", "1.00"), ("sell", "900.00")))
                order = {"symbol": "AAPL", "side": side, "quantity": 1, "price": price, "client_order_id": name}
                if (side, price) in (("buy", "900.00"), ("sell", "1.00")):
                    order["order_type"] = "ioc"
                self.answers[name] = self._enter(http, order)
                if number % 40 == 0:
                    with contextlib.suppress(httpx.HTTPError):
                        http.delete(f"{self._running.gateway}/orders", headers=self.headers)
                time.sleep(0.01)

    def _enter(self, http: httpx.Client, order: dict[str, Any]) -> str:
        try:
            answer = http.post(f"{self._running.gateway}/orders", json=order, headers=self.headers)
            if answer.status_code == 201:
                return "accepted"
            code = answer.json()["error"]["code"]
        except httpx.ConnectError:
            time.sleep(0.1)
            return "refused"  # no gateway received the order
        except (httpx.HTTPError, ValueError, KeyError):
            return "unknown"  # the connection broke, so the order may be accepted
        self.codes[code] += 1
        if answer.status_code == 503:
            assert answer.headers["Retry-After"]
            time.sleep(0.1)
            return "refused"
        # A rejection by the engine has a report. A timeout leaves the outcome open.
        return "unknown" if code == "OUTCOME_UNKNOWN" else "rejected"

    def faults(self) -> tuple[list[str], list[str]]:
        """Read all orders. Return those that contradict their answers, and those that exist twice."""
        found: Counter[str] = Counter()
        statuses: dict[str, str] = {}
        before = ""
        while before is not None:
            query = f"limit=1000&before={before}" if before else "limit=1000"
            page = self._running.http.get(f"{self._running.gateway}/orders?{query}", headers=self.headers).json()
            for order in page["orders"]:
                found[order["client_order_id"]] += 1
                statuses[order["client_order_id"]] = order["status"]
            before = page["next_before"]
        wrong = [
            f"{name} was {answer}, but its status is {statuses.get(name, 'missing')}"
            for name, answer in self.answers.items()
            if (answer == "accepted" and statuses.get(name) in (None, "REJECTED", "PENDING_NEW"))
            or (answer == "refused" and name in statuses)
            or (answer == "rejected" and statuses.get(name) != "REJECTED")
        ]
        return wrong, [name for name, count in found.items() if count > 1]
