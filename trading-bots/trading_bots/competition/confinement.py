"""How the operating system confines the process of a contestant: what it can read, reach and start.

Bubblewrap (`bwrap`) gives the process new user, mount, pid, network, ipc and uts namespaces. It can read the interpreter,
the installed packages, `/usr` and its own file. It can write to a small file system in memory. Its only connection is one
Unix socket (`venue_proxy`). A seccomp filter removes the system calls that start a process, trace another one, open a
network socket or change a namespace.

Source of the list of system calls: seccomp(2), and the default seccomp profile of Docker.
"""

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import microexchange
import trading_bots

TEMPORARY_BYTES = 16 << 20
"""The size of the file system for temporary files. It is in memory."""
SANDBOX_ID = 65534
"""User and group inside: `nobody`."""
SOCKET_INSIDE, BOT_FOLDER_INSIDE, TEMPORARY_INSIDE = "/venue.sock", "/bot", "/tmp"  # noqa: S108 - its own file system
TRIAL_SECONDS = 20
"""The longest time of the trial run that finds out whether this machine can confine a process."""

_DENIED_CALLS = (
    *("fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "kcmp"),
    *("pidfd_open", "pidfd_getfd", "pidfd_send_signal"),
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "mount_setattr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "unshare", "setns"),
    *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("keyctl", "add_key", "request_key", "open_by_handle_at", "name_to_handle_at", "fanotify_init", "quotactl", "acct"),
    *("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff"),
    *("syslog", "vhangup", "personality", "iopl", "ioperm", "sethostname", "setdomainname"),
    *("settimeofday", "clock_settime", "clock_adjtime", "adjtimex"),
    *("shmget", "shmat", "semget", "msgget", "mq_open", "memfd_create", "memfd_secret"),
    *("mbind", "move_pages", "migrate_pages", "set_mempolicy"),
)
_CLONE_THREAD = 0x00010000
"""The flag of clone(2) for a thread of the same process."""
_API_PACKAGES = (trading_bots, microexchange)
"""The packages that a bot imports. They are made visible, since an editable installation has them elsewhere."""


@dataclass(frozen=True)
class Confinement:
    """The means of this machine to confine a contestant."""

    bubblewrap: str = ""
    """The path of `bwrap`; empty if a contestant cannot be confined."""
    seccomp: bytes | None = None
    """The seccomp filter as a BPF program; None if libseccomp is missing."""
    reason: str = ""
    """Why a contestant cannot be confined, and what to do."""

    def __str__(self) -> str:
        if not self.bubblewrap:
            return f"not confined: {self.reason}"
        extra = "seccomp filter" if self.seccomp is not None else "no seccomp filter, since libseccomp is missing"
        return f"confined by bubblewrap: no network, no other files, no other processes, {extra}"

    @contextlib.contextmanager
    def command(
        self, line: Sequence[str], venue: Path, files: Sequence[tuple[Path, str]]
    ) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """Yield the command that runs `line` confined, and the descriptors that its process must inherit.

        `venue` is the Unix socket to which it may connect. `files` are the files and folders that it may read, with their
        paths inside. Start the process before the context ends, and with an empty environment: the init process inside keeps
        the environment of `bwrap`, and a contestant can read it.
        """
        with tempfile.TemporaryFile() as file:
            options = _namespaces() + _environment() + _file_systems(venue, files)
            if self.seccomp is None:
                yield [self.bubblewrap, *options, "--", *line], ()
                return
            file.write(self.seccomp)
            file.seek(0)
            yield [self.bubblewrap, *options, "--seccomp", str(file.fileno()), "--", *line], (file.fileno(),)


@cache
def available() -> Confinement:
    """Return what this machine can do, after a trial run."""
    path = shutil.which("bwrap")
    if path is None:
        return Confinement(reason="the program bwrap is missing: install the package bubblewrap")
    confinement = Confinement(path, seccomp_filter())
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        venue = Path(folder) / "venue.sock"
        listener.bind(str(venue))
        line = [sys.executable, "-P", "-c", "import trading_bots.live"]
        with confinement.command(line, venue, ()) as (command, descriptors):
            try:
                trial = subprocess.run(
                    command, pass_fds=descriptors, env={}, capture_output=True, timeout=TRIAL_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                return Confinement(reason=f"{path} did not end within {TRIAL_SECONDS} s")
    if trial.returncode:
        lines = trial.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return Confinement(reason=f"{path} failed: {lines[-1][:200]}. It needs user namespaces")
    return confinement


def visible_files(file: str, folder: Path, others: Sequence[str]) -> list[tuple[Path, str]]:
    """Return what a contestant with the bot `file` may read, and the paths inside.

    That is the folder of its file, if it is below the season's `folder` and contains no file of `others`. Otherwise it is
    the file alone. `file` and `others` are relative to `folder`, and may end with the name of a class: `my_bot.py:MyBot`.
    """
    season = folder.resolve()
    path, *rest = (season / bot.partition(":")[0] for bot in (file, *others))
    path = path.resolve()
    own = path.parent
    is_own = season in own.parents and not any(own in other.resolve().parents for other in rest)
    name = Path(file.partition(":")[0]).name  # not the name of the file that a link leads to
    return [(own, BOT_FOLDER_INSIDE)] if is_own else [(path, f"{BOT_FOLDER_INSIDE}/{name}")]


# --- bubblewrap -----------------------------------------------------------------------------------------------------------


def _namespaces() -> list[str]:
    identity = str(SANDBOX_ID)
    options = ["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session"]
    return [*options, "--uid", identity, "--gid", identity, "--hostname", "contestant", "--cap-drop", "ALL"]


def _environment() -> list[str]:
    variables = {
        "HOME": TEMPORARY_INSIDE,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(path.parent) for path in _package_folders())),
    }
    options = ["--clearenv"]
    for name, value in variables.items():
        options += ["--setenv", name, value]
    return options


def _file_systems(venue: Path, files: Sequence[tuple[Path, str]]) -> list[str]:
    # First, since the interpreter may be below the folder for temporary files.
    options = ["--size", str(TEMPORARY_BYTES), "--tmpfs", TEMPORARY_INSIDE]
    for path in (*_interpreter_paths(), *_package_folders()):
        options += ["--ro-bind", str(path), str(path)]
    for name in ("/etc/ld.so.cache", "/etc/localtime"):
        options += ["--ro-bind-try", name, name]
    for name in ("/bin", "/lib", "/lib64"):
        if os.path.islink(name):
            options += ["--symlink", os.readlink(name), name]
        else:
            options += ["--ro-bind-try", name, name]
    options += ["--proc", "/proc", "--dev", "/dev"]
    options += ["--size", "4096", "--tmpfs", "/dev/shm", "--remount-ro", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108
    options += ["--chdir", TEMPORARY_INSIDE]
    for source, inside in files:
        options += ["--ro-bind", str(source), inside]
    return [*options, "--bind", str(venue), SOCKET_INSIDE, "--remount-ro", "/"]


def _package_folders() -> list[Path]:
    return [Path(package.__path__[0]) for package in _API_PACKAGES]


def _interpreter_paths() -> list[Path]:
    """Return the folders of the interpreter and its libraries. None of them is inside another one."""
    paths = {Path("/usr"), Path(sys.base_prefix), Path(sys.executable).parent, Path(sys.executable).resolve().parents[1]}
    paths |= {Path(sysconfig.get_paths()[name]) for name in ("purelib", "platlib")}
    if (config := Path(sys.prefix) / "pyvenv.cfg").exists():
        paths.add(config)
    return sorted(path for path in paths if not paths & set(path.parents))


# --- seccomp --------------------------------------------------------------------------------------------------------------


def seccomp_filter() -> bytes | None:
    """Return the seccomp filter as a BPF program, or None if libseccomp is missing."""
    try:
        import pyseccomp
    except (ImportError, RuntimeError):
        return None
    rules = pyseccomp.SyscallFilter(pyseccomp.ALLOW)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    for name in _DENIED_CALLS:
        with contextlib.suppress(OSError, ValueError):  # this architecture or this libseccomp has no such call
            rules.add_rule(refuse, name)
    # The flags of clone3 are in memory, where a filter cannot read them. Without it, the C library calls clone.
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    rules.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, _CLONE_THREAD, 0))
    rules.add_rule(refuse, "socket", pyseccomp.Arg(0, pyseccomp.NE, socket.AF_UNIX))
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
