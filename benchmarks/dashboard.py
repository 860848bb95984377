"""`./mx bench dashboard`: does the page stay quick while the market is busy?

The system's Chromium shows the Market view while twenty clients enter orders; the page's own frames are counted, and the
longest pause between two. For comparison, the same without orders.
"""

import itertools
import os
import shutil
import tempfile
import threading
from pathlib import Path

import uvloop
from playwright.sync_api import Page, sync_playwright

from benchmarks import harness, servers
from benchmarks.gateway import load

RATES = (0, 60, 480)
"""Orders a second in all; an eighth of them in the security that the page shows."""
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
    """Frames a second, and the longest pause between two in milliseconds."""
    times: list[float] = page.evaluate(_COUNT, seconds)
    pauses = [after - before for before, after in itertools.pairwise(times)]
    return len(pauses) / (times[-1] - times[0]) * 1000, max(pauses)


def measure(database: str, log: str, namespace: str, seconds: float) -> dict[int, tuple[float, float]]:
    """Frames at each rate of orders."""
    results = {}
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
        for rate in RATES:
            work = load(gateway.url, 20, max(rate, 1), seconds + 4 if rate else 0, prefix=f"r{rate}-")
            entering = threading.Thread(target=uvloop.run, args=(work,))
            entering.start()
            page.wait_for_timeout(5_000)
            results[rate] = frames(page, seconds)
            entering.join()
    return results


def main() -> None:
    """Measures, and prints a table."""
    options = harness.arguments(__doc__ or "", events=10)
    with servers.postgres() as database:
        results = measure(database, database, f"da{os.getpid()}_", options.events)
    lines = [
        "| orders a second, an eighth of them in what is shown | frames a second | longest pause |",
        "| ---: | ---: | ---: |",
    ]
    lines += [f"| {rate} | {fps:.0f} | {pause:.0f} ms |" for rate, (fps, pause) in results.items()]
    text = "\n".join(lines)
    print(text)
    if options.write:
        harness.write_section("dashboard", text)
    harness.finish(options, "dashboard", {str(rate): list(one) for rate, one in results.items()})


if __name__ == "__main__":
    main()
