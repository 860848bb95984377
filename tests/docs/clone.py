"""A fresh clone of the repository where the commands of the pages run, and the exchanges that they need.

The folder has the files of the repository and the real `mx`. Its `.venv` looks like an installed one, but `python` and
`microexchange` are `tests.docs.bounded`. Commands do not write into the repository.

The pages use port 8000, which may be taken on this machine. So `curl` and Python's sockets connect to the ports of the
running exchange instead. Each exchange has its own home, where commands find its data.
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
"""The extras that count as installed."""
_COPIED = ("mx", "pyproject.toml", "constraints.txt")
_NOT_KEPT = "MX_DOCS_[A-Z]+|MX_RUNNING_DIR|XDG_DATA_HOME|PYTHONPATH"
"""The variables that differ between modes, so a block does not pass them on."""
TIMEOUT_SECONDS = 480
"""The longest run of a block."""
HOUSE_BOTS = "4"
"""The number of house bots of an exchange. It is small, since the whole suite shares two processors."""
CURL = """#!/bin/sh
# Connects to the exchange of the test, and fails if the exchange refuses a request.
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
    """An exchange as `./mx up` starts it, in its own home."""

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
                [sys.executable, "-m", "exchange_launcher.cli", "up", *arguments, "--bots", HOUSE_BOTS, *places],
                env={**os.environ, "XDG_DATA_HOME": str(self.home), "MX_RUNNING_DIR": str(self.home / "running")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def until_open(self) -> "Exchange":
        """Wait until house bots quote both sides."""
        eventually(lambda: "is open" in self._output_text() or self._process.poll() is not None, 120, "open")
        assert self._process.poll() is None, self._output_text()

        def is_quoted() -> bool:
            bbo = httpx.get(f"{self.feed}/bbo/AAPL").json()
            return bool(bbo["bid"] and bbo["ask"])

        eventually(is_quoted, 60, "quotes")
        return self

    def _output_text(self) -> str:
        return self._output.read_text()

    def stop(self) -> int:
        """Stop the exchange. Return its exit status."""
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(90)


class Clone:
    """A clone for one page. The blocks of a page share their shell variables."""

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
        """Run a shell or a Python block, or write it into a file. Return its exit status and output."""
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
        save_state = f"trap \"export -p | grep -vE ' ({_NOT_KEPT})=' >{state}\" EXIT\n"
        load_state = f". {state}\n" if state.exists() else ""
        return self._shell(f"set -eao pipefail\n{load_state}{save_state}{script}\n", block.mode)

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
                status = process.wait(TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                status = 124
            output.seek(0)
            return status, output.read()

    def _filled_in(self, block: Block) -> str:
        """Return the text of a block with values in place of words in capitals."""
        text = block.text
        if "YOUR_KEY" in text:
            exchange = self._exchange_of(block.mode)
            assert exchange is not None, f"{block}: a key needs an exchange, so mark the mode of the page"
            answer: Any = httpx.post(f"{exchange.gateway}/clients", json={"client_id": "reader"}, timeout=30).json()
            text = text.replace("YOUR_KEY", answer["api_key"])
        return text.replace("EXCHANGE", "127.0.0.1")


def _write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)
