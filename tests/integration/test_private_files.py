"""The rights of other users of the machine to the files of a running exchange."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.running import Running, eventually
from tests.unit.test_simulation import SEASON

pytestmark = pytest.mark.slow
NOBODY = 65534


@pytest.fixture
def running() -> Iterator[Running]:
    """An exchange whose launcher was started with a usual umask, in folders that everybody can list."""
    exchange = Running()
    exchange.launcher = ["sh", "-c", 'umask 022; exec "$@"', "sh", *exchange.launcher]
    exchange.folder.chmod(0o755)
    exchange.start("--bots", "2", "--securities", "2")
    yield exchange
    exchange.close()


def rights_of_others(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode) & 0o077


def test_another_user_can_read_no_file_of_a_running_exchange(running: Running) -> None:
    running.open_account("alice")
    eventually((running.data / "bots" / "keys.json").exists, 30, "the keys of the bots")
    names = {path.name for path in running.data.iterdir()}
    assert {"bots", "engine", "kind", "logs", "postgres", "secrets"} <= names
    wide = [str(path) for path in running.data.rglob("*") if not path.is_symlink() and rights_of_others(path)]
    assert wide == []
    # If root starts it, the user of Postgres can pass through the data folder, but not list it.
    assert rights_of_others(running.data) == (0o010 if os.geteuid() == 0 else 0)
    if os.geteuid() == 0:
        for command in (["ls", running.data], ["cat", running.data / "logs" / "matching-engine.log"]):
            read = subprocess.run(command, capture_output=True, text=True, user=NOBODY, group=NOBODY, extra_groups=[])
            assert "Permission denied" in read.stderr, read.stdout


def test_another_user_can_read_no_result_of_a_competition(tmp_path: Path) -> None:
    (tmp_path / "season.toml").write_text(SEASON.replace('"40s"', '"6s"').replace('"5s"', '"1s"'))
    command = [sys.executable, "-m", "exchange_launcher.cli", "simulate", "season.toml", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, umask=0o022)
    assert done.returncode == 0, done.stdout + done.stderr
    written = [tmp_path / "out", *(tmp_path / "out").rglob("*")]
    assert len(written) > 5
    assert [str(path) for path in written if rights_of_others(path)] == []
