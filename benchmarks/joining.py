"""`./mx bench joining`: a class joins within a minute, as its browsers do it.

Each person loads the files of the page, joins with the PIN, and opens both WebSockets. All stay connected until the end.
"""

import asyncio
import ssl
import time

import httpx
import msgspec
from tests.integration.running import Running
from websockets.asyncio.client import connect

from benchmarks import harness
from market_data_feed.dashboard import FOLDER
from microexchange.latency import LatencyWindow

PEOPLE = 200
TLS = ssl.create_default_context()
"""One for all clients, since to make one takes longer than to join."""


async def join(gateway: str, pin: str, nickname: str, files: list[str], stay: asyncio.Event) -> float:
    """Join as one person. Return the seconds until both WebSockets are logged in."""
    began = time.perf_counter()
    async with httpx.AsyncClient(base_url=gateway, timeout=60, verify=TLS) as http:
        for path in ("/", *files, "/dashboard/config.json", "/securities?limit=1000"):
            (await http.get(path)).raise_for_status()
        answer = (await http.post("/join", json={"pin": pin, "nickname": nickname})).raise_for_status()
    key = answer.json()["api_key"]
    url = gateway.replace("http", "ws")
    login = msgspec.json.encode({"op": "login", "key": key}).decode()
    async with connect(f"{url}/ws", max_size=None) as feed, connect(f"{url}/ws/orders") as orders:
        await feed.send(login)
        await feed.send('{"op":"subscribe","channel":"ticker"}')
        await orders.send(login)
        logged_in = msgspec.json.decode(await orders.recv())
        assert logged_in["ok"], logged_in
        seconds = time.perf_counter() - began

        async def receive() -> None:
            async for _ in feed:
                pass

        receiving = asyncio.create_task(receive())
        await stay.wait()
        assert not receiving.done(), "the feed closed the connection"
        receiving.cancel()
    return seconds


async def join_all(gateway: str, pin: str, people: int, seconds: float) -> list[float | BaseException]:
    """Let people join at equal distances within `seconds`. Return the time of each, or its error."""
    files = [f"/dashboard/{path.relative_to(FOLDER)}" for path in FOLDER.rglob("*") if path.suffix in (".js", ".css")]
    stay = asyncio.Event()
    joining = []
    for number in range(people):
        joining.append(asyncio.create_task(join(gateway, pin, f"Person {number}", files, stay)))
        await asyncio.sleep(seconds / people)
    await asyncio.sleep(5)
    stay.set()
    return await asyncio.gather(*joining, return_exceptions=True)


def main() -> None:
    """Run the benchmark and print its table."""
    options = harness.arguments(__doc__ or "", seconds=60, events=PEOPLE, counted="people")
    running = Running(endowment={})
    try:
        running.start("--classroom")
        pin = (running.data / "secrets" / "pin").read_text().strip()
        with harness.Report("joining", options) as report:
            table = report.table("people:", "seconds:", "joined:", "lost:", "p50:", "p95:", "longest:")
            results = asyncio.run(join_all(running.gateway, pin, options.events, options.seconds))
            times = [result for result in results if isinstance(result, float)]
            lost = [result for result in results if not isinstance(result, float)]
            window = LatencyWindow()
            for seconds in times:
                window.add(seconds)
            spans = ("–" if span is None else f"{span * 1000:,.0f} ms" for span in window.percentiles(50, 95, 100))
            table.add(options.events, f"{options.seconds:g}", len(times), len(lost), *spans)
            for error in lost[:5]:
                report.progress(repr(error))
        report.finish({"joined": len(times), "lost": len(lost)})
        assert running.stop() == 0
    finally:
        running.close()


if __name__ == "__main__":
    main()
