"""Replaces `python` and `microexchange` in the folder where the commands of the pages run (`tests.docs.clone`).

A command that runs until Ctrl-C gets a Ctrl-C `RUN_SECONDS` after its first output, and must then end with status 0. `up`
and `compete` listen on free ports and have their own home, since an exchange of the same page may run. Long runs are
shortened. If several pages have the same command, it runs in full once: a second `up` with the same options does nothing,
and a second season is short.
"""

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

from tests.integration.running import free_ports

RUN_SECONDS, MAX_START_SECONDS = 3.0, 120.0
_ROUNDS = "2"
_PORTS = ("--gateway-port", "--feed-port", "--engine-port", "--clearing-port")
_HOUSE_BOTS = "4"
"""The number of house bots if the command does not have one."""


def shorter(season: str, length: int, auction: int) -> str:
    """Write a copy of a season's file with a length of `length` seconds. Return the path of the copy."""
    text = Path(season).read_text()
    for pattern, replacement in (
        (r'^length = ".*"', f'length = "{length}s"'),
        (r'^(opening|closing) = ".*"', rf'\1 = "{auction}s"'),
        (r'at = "\w+"', f'at = "{length // 2}s"'),
    ):
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    short = Path(season).with_name("short.toml")
    short.write_text(text)
    return str(short)


def shortened(arguments: list[str], is_new: bool) -> list[str]:
    """Return the arguments of `microexchange` with a short run and free ports."""
    verb = arguments[0] if arguments else ""
    if verb in ("up", "compete"):
        os.environ["XDG_DATA_HOME"] = os.environ["MX_DOCS_OTHER_HOME"]
        places = (text for pair in zip(_PORTS, map(str, free_ports(4)), strict=True) for text in pair)
        arguments = [*arguments, *places]
    if verb == "up":
        house = [] if "--bots" in arguments else ["--bots", _HOUSE_BOTS]
        return [*without(arguments, "--for"), *house, "--for", "2s"]
    if verb == "compete":
        return ["compete", shorter(arguments[1], 8, 2), *arguments[2:]]
    if verb == "simulate" and not is_new and arguments[1].endswith(".toml"):
        return ["simulate", shorter(arguments[1], 30, 5), *arguments[2:]]
    if verb == "tournament":
        return [*without(arguments, "--rounds"), "--rounds", _ROUNDS]
    return arguments


def without(arguments: list[str], flag: str) -> list[str]:
    """Return the arguments without a flag and its value."""
    if flag not in arguments:
        return arguments
    place = arguments.index(flag)
    return arguments[:place] + arguments[place + 2 :]


def marker_of(arguments: list[str], home: Path) -> Path:
    """Return the path of the file in `home` that exists if the command has run."""
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if re.match("MX_(?!DOCS_|RUNNING_DIR)", name))
    text = "\0".join([*settings, *without(arguments, "--for")])
    return home / f"ran-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def run(command: list[str]) -> int:
    """Run a command and send it a Ctrl-C `RUN_SECONDS` after its first output. Return its exit status."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    has_begun = threading.Event()

    def pass_on() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            has_begun.set()
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        has_begun.set()

    passing = threading.Thread(target=pass_on, daemon=True)
    passing.start()
    has_begun.wait(MAX_START_SECONDS)
    with suppress(subprocess.TimeoutExpired):
        process.wait(RUN_SECONDS)
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    status = process.wait(60)
    passing.join(10)
    return status


def fail(message: str) -> int:
    """Print the reason of a failure. Return status 1."""
    print(message, file=sys.stderr)
    return 1


def main() -> int:
    """Run `python` or `microexchange` with its arguments."""
    program, *arguments = sys.argv[1:]
    if "pip" in arguments:
        return fail("this test cannot install anything: the stamps of tests.docs.clone are not those that `mx` expects")
    if program == "python":
        return run([sys.executable, *arguments])
    ran = marker_of(arguments, Path(os.environ["MX_DOCS_OTHER_HOME"]))
    if ran.exists() and arguments[:1] == ["up"]:
        return 0
    command = [sys.executable, "-m", "exchange_launcher.cli", *shortened(arguments, not ran.exists())]
    waits_for_ctrl_c = arguments[:1] == ["bot"] and "new" not in arguments
    status = run(command) if waits_for_ctrl_c else subprocess.run(command, check=False).returncode
    if status == 0:
        ran.touch()
    return status


if __name__ == "__main__":
    sys.exit(main())
