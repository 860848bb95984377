"""Tests of the end of child processes: their pipes are closed, and no event loop waits for them or warns about them."""

import subprocess
import sys

import pytest

PARENT = """
import asyncio, contextlib, gc, sys
from exchange_launcher.processes import reap

kept = []


async def main():
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", sys.argv[1], stdin=pipe, stdout=pipe)
    kept.append(process)
    await asyncio.sleep(1.5)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await reap(process)


asyncio.run(main())
kept.clear()
gc.collect()
"""
CHILDREN = {
    "writes more than the parent reads": "import os, time; os.write(1, b'x' * 10**6); time.sleep(60)",
    "has a child that keeps the pipe open": "import os, time; os.fork() or os.setsid(); time.sleep(9)",
    "has ended by itself": "pass",
    "does nothing": "import time; time.sleep(60)",
}


@pytest.mark.parametrize("child", list(CHILDREN))
def test_a_reaped_process_is_gone_with_its_pipes(child: str) -> None:
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", PARENT, CHILDREN[child]]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")
