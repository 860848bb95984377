"""The control group of a contestant: the kernel ends a process that takes too much, and nothing stays behind."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from exchange_launcher import cgroups
from exchange_launcher.cgroups import Cgroup, CgroupError

MEMORY_BYTES, TASKS = 100 << 20, 20
TIMEOUT_SECONDS = 60


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    try:
        made = cgroups.make(MEMORY_BYTES, TASKS)
    except CgroupError as error:
        pytest.skip(f"control groups cannot be made here: {error}")
    yield made
    made.remove()


def start(cgroup: Cgroup, program: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", textwrap.dedent(program)]
    return subprocess.Popen(cgroup.command(line), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(cgroup: Cgroup, program: str) -> tuple[int, str]:
    process = start(cgroup, program)
    output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output


def test_a_process_that_fills_memory_in_several_allocations_is_killed(cgroup: Cgroup) -> None:
    program = """
        hoard = []
        for number in range(40):
            hoard.append(bytearray(b"x") * (5 << 20))
            print(5 * len(hoard), flush=True)
    """
    status, output = run(cgroup, program)
    assert status == -9
    assert 50 <= int(output.split()[-1]) <= MEMORY_BYTES >> 20
    assert cgroup.ran_out_of_memory()


def test_a_process_within_its_memory_is_not_killed(cgroup: Cgroup) -> None:
    assert run(cgroup, "hoard = bytearray(b'x') * (50 << 20); print('done')") == (0, "done\n")
    assert not cgroup.ran_out_of_memory()


def test_a_process_that_starts_threads_without_end_gets_an_error(cgroup: Cgroup) -> None:
    program = """
        import threading
        event, started = threading.Event(), []
        try:
            while len(started) < 1000:
                started.append(threading.Thread(target=event.wait, daemon=True))
                started[-1].start()
        except RuntimeError as error:
            print(len(started), error)
        event.set()
    """
    assert run(cgroup, program) == (0, f"{TASKS} can't start new thread\n")


def test_a_process_with_many_threads_gets_one_processor(cgroup: Cgroup) -> None:
    found = cgroup.folders[-1]
    text = "cpu.max" if (found / "cpu.max").exists() else "cpu.cfs_quota_us"
    assert (found / text).read_text().split()[0] == "100000"


def test_a_group_is_killed_and_removed_with_all_its_processes(cgroup: Cgroup) -> None:
    process = start(cgroup, "import time; print('ready', flush=True); time.sleep(600)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert all(str(process.pid) in (folder / "cgroup.procs").read_text().split() for folder in cgroup.folders)
    cgroup.kill()
    assert process.wait(TIMEOUT_SECONDS) == -9
    process.stdout.close()
    cgroup.remove()
    assert not any(folder.exists() for folder in cgroup.folders)


def test_a_group_of_a_launcher_that_was_killed_is_removed_by_the_next_one(cgroup: Cgroup) -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    parents = [folder.parent for folder in cgroup.folders]
    abandoned = [parent / f"microexchange-{ended.pid}-1" for parent in parents]
    for folder in abandoned:
        folder.mkdir()
    cgroups.make(MEMORY_BYTES, TASKS).remove()
    assert not any(folder.exists() for folder in abandoned)
    assert all(folder.exists() for folder in cgroup.folders)


# --- where a group is made, in a tree of files ----------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of version 2: the user's manager has delegated `app.slice`, and this process is in a folder below it."""
    own = tmp_path / "user.slice" / "app.slice" / "terminal.scope"
    own.mkdir(parents=True)
    controllers = {tmp_path: "cpu memory pids", own.parents[1]: "memory pids", own.parent: "memory pids", own: ""}
    for folder, text in controllers.items():
        (folder / "cgroup.subtree_control").write_text(text)
        (folder / "cgroup.procs").touch()
    (tmp_path / "cgroup.controllers").touch()
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "_own_paths", lambda: {"": "/user.slice/app.slice/terminal.scope"})
    return own


def test_a_group_is_made_in_the_nearest_folder_that_has_the_controllers(tree: Path) -> None:
    made = cgroups.make(MEMORY_BYTES, TASKS)
    assert [folder.parent for folder in made.folders] == [tree.parent]
    made.remove()
    assert not made.folders[0].exists()


def test_a_group_without_the_controller_of_processors_limits_none(tree: Path) -> None:
    made = cgroups.make(MEMORY_BYTES, TASKS)
    assert not made.limits_processors()
    (made.folders[0] / "cpu.max").touch()
    assert made.limits_processors()


def test_a_process_that_has_ended_saves_no_other_one_of_its_group(tmp_path: Path) -> None:
    ended = subprocess.Popen(["/bin/true"])
    ended.wait()
    process = subprocess.Popen(["/bin/sleep", "600"])
    (tmp_path / "cgroup.procs").write_text(f"{ended.pid}\n{process.pid}\n")
    try:
        Cgroup((tmp_path,)).kill()
        assert process.wait(TIMEOUT_SECONDS) == -9
    finally:
        process.kill()


def test_without_a_delegated_folder_the_reason_is_named(tree: Path) -> None:
    for folder in (tree.parent, *tree.parents[1:3]):
        (folder / "cgroup.subtree_control").write_text("memory")
    with pytest.raises(CgroupError, match="is delegated to this user with the controllers memory and pids"):
        cgroups.make(MEMORY_BYTES, TASKS)
    assert not list(tree.parents[2].rglob("microexchange-*"))
