"""The size of log files."""

import errno
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from exchange_launcher.log_files import bound_file


def test_a_small_file_is_not_changed(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"x" * 100)
    assert not bound_file(log, 100)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.log"]


def test_a_file_that_does_not_exist_is_no_error(tmp_path: Path) -> None:
    assert not bound_file(tmp_path / "none", 1)


def test_the_content_of_a_large_file_is_in_the_older_file_and_a_process_continues_in_the_first(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    program = "import sys\nfor line in sys.stdin: sys.stderr.write(line); sys.stderr.flush(); print('done', flush=True)"
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        for line in ("first\n", "second\n", "third\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
            assert bound_file(log, 1)
            assert (tmp_path / "engine.log.1").read_text() == line
            assert log.read_bytes() == b""
        process.stdin.close()
    assert stat.S_IMODE((tmp_path / "engine.log.1").stat().st_mode) == 0o600


def test_a_link_in_place_of_a_log_file_is_not_followed(tmp_path: Path) -> None:
    other, log = tmp_path / "other", tmp_path / "engine.log"
    other.write_bytes(b"x" * 100)
    log.symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        bound_file(log, 1)
    assert other.read_bytes() == b"x" * 100
    assert not (tmp_path / "engine.log.1").exists()


def test_without_space_for_a_copy_the_content_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"x" * 100)

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    assert bound_file(log, 99)
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("engine.log", 0)]
