"""A fresh clone to run the pages' commands in, and the exchanges that the pages speak of.

The folder has what the repository has, the real `mx` with it. Its `.venv` stands for one that is installed already: `python`
and `microexchange` are `tests.docs.bounded`. Nothing that a command writes is written into the repository.

A page names port 8000, which may be taken on this machine. `curl` and Python's sockets go to the ports of the exchange that
runs instead. An exchange has a home of its own, so that the commands that look for its data look where they would.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from tests.docs.blocks import ROOT, Block
from tests.integration.running import eventually, free_ports

_EXTRAS = ("embedded", "embedded,test")
"""What `mx` need not install here."""
_COPIED = ("mx", "pyproject.toml", "constraints.txt")
_NOT_KEPT = "MX_DOCS_[A-Z]+|MX_RUNNING_DIR|XDG_DATA_HOME|PYTHONPATH"
"""What is another one for a block in another mode."""
TIMEOUT = 480
"""Seconds that a block may take."""
HOUSE = "4"
"""House bots of the exchanges: two processors have a whole suite to run."""
CURL = """#!/bin/sh
# Fails where the exchange refuses, and reaches the exchange of the test.
for one; do
    shift
    for pair in $(echo "$MX_DOCS_PORTS" | tr , ' '); do
        one=$(printf '%s' "$one" | sed -E "s/(localhost|127\\.0\\.0\\.1):${pair%=*}/\\1:${pair#*=}/g")
    done
    set -- "$@" "$one"
done
exec "$MX_DOCS_CURL" --fail-with-body --max-time 60 "$@"
"""
STAND_IN = """#!/bin/sh
PYTHONPATH={root}:$PYTHONPATH exec {python} -m tests.docs.bounded {name} "$@"
"""


class Exchange:
    """An exchange as `./mx up` starts it, in a home of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.home = folder / "home"
        self.home.mkdir(parents=True, exist_ok=True)
        ports = free_ports(4)
        flags = ("--gateway-port", "--feed-port", "--engine-port", "--clearing-port")
        places = [text for flag, port in zip(flags, ports, strict=True) for text in (flag, str(port))]
        self.gateway, self.feed = (f"http://127.0.0.1:{port}" for port in ports[:2])
        self.ports = f"8000={ports[0]},8001={ports[1]}"
        self._output = folder / "output"
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "exchange_launcher.cli", "up", *arguments, "--bots", HOUSE, *places],
                env={**os.environ, "XDG_DATA_HOME": str(self.home), "MX_RUNNING_DIR": str(self.home / "running")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def until_open(self) -> "Exchange":
        """Waits until the house's bots quote both sides."""
        eventually(lambda: "is open" in self._said() or self._process.poll() is not None, 120, "open")
        assert self._process.poll() is None, self._said()

        def is_quoted() -> bool:
            bbo = httpx.get(f"{self.feed}/bbo/AAPL").json()
            return bool(bbo["bid"] and bbo["ask"])

        eventually(is_quoted, 60, "quotes")
        return self

    def _said(self) -> str:
        return self._output.read_text()

    def stop(self) -> int:
        """Ends it; its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(90)


class Clone:
    """A clone for one page. What a block exports, the next ones of the page have."""

    def __init__(self, folder: Path, exchange_of: Callable[[str], Exchange | None], other_home: Path) -> None:
        self.folder = folder
        self._exchange_of = exchange_of
        self._other_home = other_home
        self._key = ""
        folder.mkdir(parents=True)
        for entry in ROOT.iterdir():
            if entry.name not in (*_COPIED, "examples", "results") and not entry.name.startswith("."):
                (folder / entry.name).symlink_to(entry)
        for name in _COPIED:
            shutil.copy(ROOT / name, folder / name)
        shutil.copytree(ROOT / "examples", folder / "examples")
        self._make_venv()

    def _make_venv(self) -> None:
        programs = self.folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        for name in ("python", "microexchange"):
            _write_program(programs / name, STAND_IN.format(root=ROOT, python=sys.executable, name=name))
        files = b"".join((self.folder / name).read_bytes() for name in _COPIED[1:])
        stamp = subprocess.run(["cksum"], input=files, capture_output=True, check=True).stdout.decode()
        for extras in _EXTRAS:
            (self.folder / ".venv" / f".installed-{extras}").write_text(stamp)
        (self.folder / ".tools").mkdir()
        _write_program(self.folder / ".tools" / "curl", CURL)

    def run(self, block: Block) -> tuple[int, str]:
        """Runs a shell or a Python block, or makes a file of it: exit status and output."""
        if block.file:
            (self.folder / block.file).write_text(block.text)
        if block.language in ("python", "py"):
            name = block.file or "block.py"
            (self.folder / name).write_text(block.text)
            script = f".venv/bin/python {name}"
        elif block.language == "sh":
            script = self._filled_in(block)
        else:
            return 0, ""
        state = self.folder / ".state"
        keep = f"trap \"export -p | grep -vE ' ({_NOT_KEPT})=' >{state}\" EXIT\n"
        known = f". {state}\n" if state.exists() else ""
        return self._shell(f"set -eao pipefail\n{known}{keep}{script}\n", block.mode)

    def _shell(self, script: str, mode: str) -> tuple[int, str]:
        exchange = self._exchange_of(mode)
        home = exchange.home if exchange is not None else self._other_home
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MX_")},
            "PATH": f"{self.folder / '.tools'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "tests" / "docs" / "redirected"),
            "XDG_DATA_HOME": str(home),
            "MX_RUNNING_DIR": str(home / "running"),
            "MX_DOCS_CURL": shutil.which("curl") or "curl",
            "MX_DOCS_OTHER_HOME": str(self._other_home),
            "MX_DOCS_PORTS": exchange.ports if exchange is not None else "",
        }
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(TIMEOUT)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                status = 124
            output.seek(0)
            return status, output.read()

    def _filled_in(self, block: Block) -> str:
        """The block with what a reader puts in for a word in capitals."""
        text = block.text
        if "YOUR_KEY" in text:
            exchange = self._exchange_of(block.mode)
            assert exchange is not None, f"{block}: a key of what? Mark the page's mode"
            answer: Any = httpx.post(f"{exchange.gateway}/clients", json={"client_id": "reader"}, timeout=30).json()
            text = text.replace("YOUR_KEY", answer["api_key"])
        return text.replace("EXCHANGE", "127.0.0.1")


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
