"""Reads the memory, the disk and the lag of a running exchange."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.integration.running import Running
from tests.soak.samples import MEGABYTE, ProcessSample, Sample


def sample(running: Running, seconds: float, latency_ms: dict[int, float]) -> Sample:
    """Return a sample of the exchange. A process or a service that is being restarted is left out."""
    processes: dict[str, ProcessSample] = {}
    for name, pid in {**running.pids(), "launcher": running.process.pid if running.process else 0}.items():
        with contextlib.suppress(psutil.Error):
            processes[name] = process_sample([psutil.Process(pid)])
    with contextlib.suppress(psutil.Error, OSError, ValueError):
        postmaster = psutil.Process(int((running.data / "postgres" / "postmaster.pid").read_text().split()[0]))
        processes["postgres, without its cache"] = process_sample([postmaster, *postmaster.children()], shared=False)
    disk = {folder.name: size_of(folder) / MEGABYTE for folder in running.data.iterdir() if folder.is_dir()}
    lag, counts = lag_and_counts(running)
    return Sample(seconds, processes, disk, lag, latency_ms, counts)


def process_sample(processes: Iterable[psutil.Process], shared: bool = True) -> ProcessSample:
    """Return the sum over processes. Its process id is the first one's. Without `shared`, private memory alone counts."""
    pid, megabytes, cpu, descriptors, threads = 0, 0.0, 0.0, 0, 0
    for process in processes:
        try:
            memory, times = process.memory_full_info(), process.cpu_times()
            descriptors, threads = descriptors + process.num_fds(), threads + process.num_threads()
        except psutil.NoSuchProcess:
            if not pid:
                raise
            continue  # a server process that has ended since
        pid = pid or process.pid
        megabytes += (memory.pss if shared else memory.rss - memory.shared) / MEGABYTE
        cpu += times.user + times.system
    return ProcessSample(pid, megabytes, cpu, descriptors, threads)


def size_of(folder: Path) -> int:
    """Return the bytes of all files in a folder. Files that are removed while it is read are left out."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * 512
    return total


def lag_and_counts(running: Running) -> tuple[dict[str, int], dict[str, int]]:
    """Return the lags and the counts by the status of the services. They are empty while one does not answer."""
    try:
        engine, clearing, feed = (
            running.http.get(f"{base}/status").json() for base in (running.engine, running.clearing, running.feed)
        )
        return lag_of(engine, clearing, feed), {name: int(feed[name]) for name in ("orders", "trades", "reports")}
    except (httpx.HTTPError, ValueError, KeyError):
        return {}, {}


def lag_of(engine: dict[str, Any], clearing: dict[str, Any], feed: dict[str, Any]) -> dict[str, int]:
    """Return the records that each service has not processed yet."""
    return {
        "clearinghouse": max(engine["instruction_sequence"] - clearing["instruction_sequence"], 0),
        "market data": max(engine["report_sequence"] - feed["sequences"].get("engine", 0), 0),
        "stored": max(feed["offset"] - feed["stored_offset"], 0),
    }
