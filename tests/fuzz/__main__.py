"""Fuzz the parsers by coverage, with atheris: `./mx fuzz`.

Each target runs in its own process, one after the other. The inputs that reach new code are kept in `.fuzz/`, so that a
later run continues. An input that breaks an invariant ends its target. The command names its file, and fails.
"""

import argparse
import contextlib
import importlib.util
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

from tests.fuzz.mutation import mutate
from tests.fuzz.registry import TARGETS, Target

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).parent / "corpus"
FOUND = ROOT / ".fuzz"
FAULTS = FOUND / "faults"
DEFAULT_SECONDS = 60
MAX_MEMORY_MEGABYTES = 1024
MAX_INPUT_SECONDS = 10
"""The longest time for one input."""
MAX_SHOWN_CHARACTERS = 4000
PACKAGES = (
    "microexchange", "order_entry_gateway", "matching_engine", "market_data_feed", "clearinghouse", "trading_bots", "tomllib"
)  # fmt: skip
"""The packages whose branches are counted."""
NO_ATHERIS = (
    "mx: atheris is not installed: it has no package for this Python or system. Use Python 3.11 to 3.13 on Linux with an "
    "x86 processor. './mx test tests/fuzz' replays the kept inputs without it"
)


def has_atheris() -> bool:
    """Return whether atheris is installed."""
    return importlib.util.find_spec("atheris") is not None


def load_targets() -> None:
    """Fill `TARGETS`. If atheris is installed, count the branches of our packages."""
    if has_atheris():
        import atheris

        counting: contextlib.AbstractContextManager[object] = atheris.instrument_imports(include=list(PACKAGES))
    else:
        counting = contextlib.nullcontext()
    with counting:
        from tests.fuzz import targets  # noqa: F401 - it fills the list


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz one target in a child process. Print the number of inputs. Return whether all kept the invariant."""
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    FAULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryFile() as output:
        pid = os.fork()
        if pid == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            _fuzz_here(name, TARGETS[name], seconds)
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        text = output.read().decode(errors="replace")
    executed = re.findall(r"number_of_executed_units: (\d+)", text)
    print(f"{name}: {int(executed[-1]) if executed else 0:,} inputs", flush=True)
    if status:
        print(text[-MAX_SHOWN_CHARACTERS:], flush=True)
    return status == 0


def _fuzz_here(name: str, chosen: Target, seconds: int) -> NoReturn:
    """Fuzz one target in this process. libFuzzer ends the process."""
    try:
        import atheris
        import structlog

        structlog.configure(processors=[], logger_factory=structlog.ReturnLoggerFactory())
        options = (
            name, f"-max_total_time={seconds}", f"-timeout={MAX_INPUT_SECONDS}", f"-rss_limit_mb={MAX_MEMORY_MEGABYTES}",
            f"-max_len={chosen.max_bytes}", f"-artifact_prefix={FAULTS}/{name}-", "-print_final_stats=1", "-verbosity=0",
            str(FOUND / name), str(CORPUS / name),
        )  # fmt: skip

        def mutator(data: bytes, max_bytes: int, seed: int) -> bytes:
            return mutate(chosen.format, data, max_bytes, seed, atheris.Mutate)

        atheris.Setup(list(options), chosen.run, custom_mutator=mutator)
        atheris.Fuzz()
    finally:
        os._exit(1)


def main() -> int:
    """Fuzz the named targets, or all."""
    load_targets()
    parser = argparse.ArgumentParser(prog="mx fuzz", description="Fuzz the parsers of the exchange.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"a target: {', '.join(TARGETS)}. Default: all")
    period = parser.add_mutually_exclusive_group()
    period.add_argument("--seconds", type=int, default=DEFAULT_SECONDS, help="seconds for each target")
    period.add_argument("--hours", type=float, help="hours for all targets together")
    arguments = parser.parse_args()
    names = arguments.names or list(TARGETS)
    if unknown := set(names) - TARGETS.keys():
        parser.error(f"there is no target {', '.join(sorted(unknown))}: choose from {', '.join(TARGETS)}")
    if not has_atheris():
        print(NO_ATHERIS, file=sys.stderr)
        return 2
    seconds = arguments.seconds if arguments.hours is None else round(arguments.hours * 3600 / len(names))
    began = time.monotonic()
    failed = [name for name in names if not fuzz(name, max(1, seconds))]
    print(f"{len(names)} targets in {time.monotonic() - began:.0f} s")
    if failed:
        print(f"mx: these targets broke an invariant: {', '.join(failed)}. Their inputs are in {FAULTS}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="mx-fuzz-") as temporary:
        tempfile.tempdir = temporary
        sys.exit(main())
