"""The check of the disks: its warning, its refusal, and their ends."""

import math
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from microexchange.disks import DiskGuard, one_of_each_file_system, used_percent
from microexchange.health import Health


class Disks:
    """A guard of one disk, whose use a test sets."""

    def __init__(self, folder: Path, warning: float = 80, halt: float = 95) -> None:
        self.percent = 0.0
        self.health = Health()
        self.guard = DiskGuard(folder, (), warning, halt, self.health, lambda _: self.percent)

    def check(self, percent: float) -> tuple[bool, bool]:
        """Return whether there is a warning, and whether new orders are refused, at a use of the disk."""
        self.percent = percent
        self.guard.check()
        return "disk" in self.health.warnings, self.guard.is_full


@pytest.mark.parametrize(
    ("percent", "warning", "refusal"), [(0, False, False), (79.9, False, False), (80, True, False), (94.9, True, False)]
)
def test_a_disk_gives_a_warning_from_the_first_limit_on(
    tmp_path: Path, percent: float, warning: bool, refusal: bool
) -> None:
    assert Disks(tmp_path).check(percent) == (warning, refusal)


@pytest.mark.parametrize("percent", [95, 100])
def test_new_orders_are_refused_from_the_second_limit_on(tmp_path: Path, percent: float) -> None:
    disks = Disks(tmp_path)
    assert disks.check(percent) == (True, True)
    assert f"{percent:.1f} % full: new orders are refused" in disks.health.warnings["disk"]


def test_new_orders_are_accepted_again_one_percent_below_the_limit(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    assert [disks.check(percent) for percent in (95, 94.5, 93.9, 94.5, 79)] == [
        (True, True),
        (True, True),
        (True, False),
        (True, False),
        (False, False),
    ]


def test_a_warning_does_not_change_whether_a_service_is_ready(tmp_path: Path) -> None:
    disks = Disks(tmp_path)
    disks.check(99)
    assert disks.health.waiting_for == {}


def test_a_limit_of_zero_is_never_reached(tmp_path: Path) -> None:
    assert Disks(tmp_path, 0, 0).check(100) == (False, False)


def test_a_folder_that_does_not_exist_is_not_checked(tmp_path: Path) -> None:
    health = Health()
    DiskGuard(tmp_path / "none", (tmp_path / "neither",), 1, 1, health).check()
    assert health.warnings == {}


def test_folders_of_one_file_system_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    folders = one_of_each_file_system((tmp_path, tmp_path / "a", Path("/proc"), tmp_path / "none"))
    assert folders == [tmp_path, Path("/proc")]


@pytest.mark.parametrize(
    ("fields", "percent"),
    [
        ({"f_blocks": 100, "f_bfree": 25, "f_bavail": 25}, 75),
        ({"f_blocks": 100, "f_bfree": 20, "f_bavail": 0}, 100),
        ({"f_blocks": 100, "f_bfree": 90, "f_bavail": 90, "f_files": 10, "f_ffree": 1, "f_favail": 1}, 90),
        ({}, 0),
    ],
    ids=["space", "space of root", "files", "nothing"],
)
def test_the_use_of_a_file_system_is_that_of_its_space_or_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, int], percent: float
) -> None:
    none = dict.fromkeys(("f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail"), 0)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**none | fields))
    assert math.isclose(used_percent(tmp_path), percent)


def test_a_warning_names_the_fullest_disk(tmp_path: Path) -> None:
    health, uses = Health(), {tmp_path: 50.0, Path("/proc"): 85.0}
    DiskGuard(tmp_path, (Path("/proc"),), 80, 95, health, uses.__getitem__).check()
    assert health.warnings["disk"] == "the disk of /proc is 85.0 % full: free some space"
