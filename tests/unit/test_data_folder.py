"""The rights of other users to a data folder."""

import os
import stat
from pathlib import Path

import pytest

from exchange_launcher import postgres
from exchange_launcher.data_folder import UpError, lock_folder, make_private


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def wide_folder(tmp_path: Path) -> Path:
    """A data folder that every user can read, as an older version made it."""
    data = tmp_path / "data"
    for name in ("logs", "engine", "gateway-0", "postgres"):
        (data / name).mkdir(parents=True)
        (data / name).chmod(0o755)
    for name in ("logs/matching-engine.log", "engine/snapshot-1.bin", "gateway-0/epoch", "kind"):
        (data / name).write_text("alice")
        (data / name).chmod(0o644)
    data.chmod(0o755)
    return data


def test_the_start_removes_the_rights_of_others_to_an_existing_data_folder(wide_folder: Path) -> None:
    lock_folder(wide_folder).close()
    assert mode(wide_folder) == 0o700
    for path in wide_folder.rglob("*"):
        assert mode(path) & 0o077 == 0, path


def test_a_folder_with_other_files_keeps_its_own_mode_and_theirs(wide_folder: Path) -> None:
    other = wide_folder / "notes.txt"
    other.write_text("mine")
    other.chmod(0o644)
    make_private(wide_folder)
    assert (mode(wide_folder), mode(other)) == (0o755, 0o644)
    assert (mode(wide_folder / "logs"), mode(wide_folder / "kind")) == (0o700, 0o600)


def test_a_folder_that_every_user_writes_to_is_refused(wide_folder: Path) -> None:
    (wide_folder / "notes.txt").touch()
    wide_folder.chmod(0o1777)
    with pytest.raises(UpError, match="every user can write to it"):
        lock_folder(wide_folder)
    assert mode(wide_folder) == 0o1777


def test_symbolic_links_are_not_followed(wide_folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    elsewhere.chmod(0o755)
    (wide_folder / "bots").symlink_to(elsewhere)
    make_private(wide_folder)
    assert mode(elsewhere) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root changes the group of a folder")
@pytest.mark.parametrize(
    ("before", "after"), [(0o700, 0o710), (0o750, 0o751), (0o755, 0o755)], ids=["private", "group", "public"]
)
def test_the_servers_user_passes_through_a_folder_and_other_users_get_no_more(
    tmp_path: Path, before: int, after: int
) -> None:
    tmp_path.chmod(before)
    postgres._let_pass(tmp_path, 12345)
    assert mode(tmp_path) == after
    assert (tmp_path.stat().st_gid == 12345) is (before == 0o700)
