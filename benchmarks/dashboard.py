"""`./mx bench dashboard`: the frame rate of the dashboard in a busy market.

The system's Chromium shows the Market view while twenty clients enter orders. The benchmark counts the frames of the page
and measures the longest pause between two frames. The rate 0 is for comparison.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import uvloop
from playwright.sync_api import Page, sync_playwright

from benchmarks import harness, servers
from benchmarks.gateway import load

RATES = (0, 60, 480)
"""Orders a second in all. An eighth of them are in the security that the page shows."""
_COUNT = """
seconds => new Promise(done => {
  const times = [];
  const next = now => {
    times.push(now);
    if (now - times[0] < seconds * 1000) requestAnimationFrame(next); else done(times);
  };
  requestAnimationFrame(next);
})
"""


def frames(page: Page, seconds: float) -> tuple[float, float]:
    """Return the frames a second, and the longest pause between two frames in milliseconds."""
    times: list[float] = page.evaluate(_COUNT, seconds)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    return len(pauses) / (times[-1] - times[0]) * 1000, max(pauses)


def measure(
    database: str, log: str, namespace: str, rates: Sequence[int], seconds: float
) -> Iterator[tuple[int, float, float]]:
    """Measure each rate of orders. Yield the rate, the frames a second and the longest pause in milliseconds."""
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    assert chromium, "no Chromium is installed (Debian and Ubuntu: apt install chromium)"
    with (
        servers.fresh(database, log, namespace),
        tempfile.TemporaryDirectory() as folder,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"]) as browser,
        servers.exchange(database, log, namespace, Path(folder)) as services,
    ):
        feed, gateway = services["market_data_feed"], services["order_entry_gateway"]
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{feed.url}/#market")
        page.wait_for_selector("table")
        for rate in rates:
            work = load(gateway.url, 20, max(rate, 1), seconds + 4 if rate else 0, prefix=f"r{rate}-")
            entering = threading.Thread(target=uvloop.run, args=(work,), daemon=True)
            entering.start()
            page.wait_for_timeout(5_000)
            frame_rate, pause = frames(page, seconds)
            entering.join()
            yield rate, frame_rate, pause


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", seconds=10, rates=RATES)
    figures: dict[str, list[float]] = {}
    with harness.Report("dashboard", options) as report, servers.postgres() as database:
        table = report.table("orders a second, an eighth in the shown security:", "frames a second:", "longest pause:")
        namespace = f"da{os.getpid()}_"
        with contextlib.closing(measure(database, database, namespace, options.rates, options.seconds)) as results:
            for rate, frame_rate, pause in results:
                table.add(rate, f"{frame_rate:.0f}", f"{pause:.0f} ms")
                figures[str(rate)] = [frame_rate, pause]
    report.finish(figures)


if __name__ == "__main__":
    main()
