"""How the operating system confines the process of a contestant: what it can read, reach and start.

Bubblewrap (`bwrap`) gives the process new user, mount, pid, network, ipc and uts namespaces. It can read the interpreter,
the installed packages, `/usr` and its own file. It can write to a small file system in memory. Its only connection is one
Unix socket (`venue_proxy`). A seccomp filter removes the system calls that start a process, trace another one, open a
network socket or change a namespace. As a second line, the process restricts its own access to files by Landlock before it
loads the bot.

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
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

TEMPORARY_BYTES = 16 << 20
"""The size of the file system for temporary files. It is in memory."""
SANDBOX_ID = 65534
"""User and group inside: `nobody`."""
SOCKET_INSIDE, BOT_FOLDER_INSIDE, TEMPORARY_INSIDE = "/venue.sock", "/bot", "/tmp"  # noqa: S108 - its own file system  # nosec B108
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
_SYSTEM_FILES, _SYSTEM_FOLDERS = ("/etc/ld.so.cache", "/etc/localtime"), ("/bin", "/lib", "/lib64")
API_PACKAGES = ("trading_bots", "microexchange")
"""The packages that a bot imports. They are made visible, since an editable installation has them elsewhere."""


@dataclass(frozen=True)
class Confinement:
    """The means of this machine to confine a contestant."""

    bubblewrap: str = ""
    """The path of `bwrap`; empty if a contestant cannot be confined."""
    seccomp: bytes | None = None
    """The seccomp filter as a BPF program; None if libseccomp is missing."""
    landlock: int = 0
    """The version of Landlock that restricts the process too; 0 if this kernel has none."""
    has_proc: bool = True
    """Whether `/proc` is inside. In a container, the kernel refuses a new one, since parts of its own are masked."""
    reason: str = ""
    """Why a contestant cannot be confined, and what to do."""

    def __str__(self) -> str:
        if not self.bubblewrap:
            return f"not confined: {self.reason}"
        calls = "seccomp filter" if self.seccomp is not None else "no seccomp filter, since libseccomp is missing"
        files = f"Landlock version {self.landlock}" if self.landlock else "no Landlock, since this kernel has none"
        return f"confined by bubblewrap: no network, no other files, no other processes, {calls}, {files}"

    @contextlib.contextmanager
    def command(
        self,
        line: Sequence[str],
        files: Sequence[tuple[Path, str]],
        venue: Path | None = None,
        packages: Sequence[str] = API_PACKAGES,
        folder: str = TEMPORARY_INSIDE,
    ) -> Iterator[tuple[list[str], tuple[int, ...]]]:
        """Yield the command that runs `line` confined, and the descriptors that its process must inherit.

        Start the process before the context ends, and with an empty environment: the init process inside keeps the
        environment of `bwrap`, and a contestant can read it.

        Args:
            line: The command.
            files: The files and folders that it may read, with their paths inside.
            venue: The Unix socket to which it may connect.
            packages: The packages that it may import beside the installed ones.
            folder: The current folder inside. It is made if it does not exist.
        """
        with tempfile.TemporaryFile() as file:
            options = [*self._namespaces(), *_environment(packages), *self._file_systems(files, packages)]
            options += ["--dir", folder, "--chdir", folder]
            options += ["--bind", str(venue), SOCKET_INSIDE] if venue is not None else []
            options += ["--remount-ro", "/"]
            if self.seccomp is None:
                yield [self.bubblewrap, *options, "--", *line], ()
                return
            file.write(self.seccomp)
            file.seek(0)
            yield [self.bubblewrap, *options, "--seccomp", str(file.fileno()), "--", *line], (file.fileno(),)

    def _namespaces(self) -> list[str]:
        identity = str(SANDBOX_ID)
        options = ["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]
        # The limit of user namespaces is set by a file in /proc. The seccomp filter refuses them too.
        options += ["--disable-userns"] if self.has_proc else []
        return [*options, "--uid", identity, "--gid", identity, "--hostname", "contestant", "--cap-drop", "ALL"]

    def _file_systems(self, files: Sequence[tuple[Path, str]], packages: Sequence[str]) -> list[str]:
        # First, since the interpreter may be below the folder for temporary files.
        options = ["--size", str(TEMPORARY_BYTES), "--tmpfs", TEMPORARY_INSIDE]
        for path in (*_interpreter_paths(), *_package_folders(packages)):
            options += ["--ro-bind", str(path), str(path)]
        for name in _SYSTEM_FILES:
            options += ["--ro-bind-try", name, name]
        for name in _SYSTEM_FOLDERS:
            if os.path.islink(name):
                options += ["--symlink", os.readlink(name), name]
            else:
                options += ["--ro-bind-try", name, name]
        options += ["--proc", "/proc"] if self.has_proc else []
        options += ["--dev", "/dev"]
        options += ["--size", "4096", "--tmpfs", "/dev/shm", "--remount-ro", "/dev/shm", "--remount-ro", "/dev"]  # noqa: S108  # nosec B108
        for source, inside in files:
            options += ["--ro-bind", str(source), inside]
        return options


@cache
def available() -> Confinement:
    """Return what this machine can do, after a trial run."""
    path = shutil.which("bwrap")
    if path is None:
        return Confinement(reason="the program bwrap is missing: install the package bubblewrap")
    calls = seccomp_filter()
    tried = _tried(Confinement(path, calls))
    if tried.bubblewrap or calls is None:
        return tried
    without = _tried(Confinement(path, calls, has_proc=False))
    return without if without.bubblewrap else tried


_TRIAL = """
import trading_bots.live
from trading_bots.competition import own_limits
print(own_limits.restrict_itself([], required=False))
"""


def _tried(confinement: Confinement) -> Confinement:
    """Return the confinement with what a trial run shows, or the reason why it does not work."""
    path = confinement.bubblewrap
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        venue = Path(folder) / "venue.sock"
        listener.bind(str(venue))
        with confinement.command([sys.executable, "-P", "-c", _TRIAL], (), venue) as (command, descriptors):
            try:
                trial = subprocess.run(
                    command, pass_fds=descriptors, env={}, capture_output=True, timeout=TRIAL_SECONDS, check=False
                )
            except subprocess.TimeoutExpired:
                return Confinement(reason=f"{path} did not end within {TRIAL_SECONDS} s")
    if trial.returncode:
        lines = trial.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        return Confinement(reason=f"{path} failed: {lines[-1][:200]}. It needs user namespaces")
    return replace(confinement, landlock=int(trial.stdout))


def shared_paths() -> list[str]:
    """Return the files and folders that every process in a sandbox may read, beside the packages of the bot API."""
    interpreter = [str(path) for path in _interpreter_paths() if path.is_absolute()]
    return [*interpreter, *_SYSTEM_FILES, *_SYSTEM_FOLDERS, "/proc", "/dev"]


def visible_files(file: str, folder: Path, others: Sequence[str]) -> list[tuple[Path, str]]:
    """Return what a contestant with the bot `file` may read, and the paths inside.

    That is the folder of its file, if it is below the season's `folder`, contains no file of `others`, and is not reached
    by a link. Otherwise it is the file alone. `file` and `others` are relative to `folder`, and may end with the name of a
    class: `my_bot.py:MyBot`.
    """
    season = folder.resolve()
    named, *rest = (season / bot.partition(":")[0] for bot in (file, *others))
    path = named.resolve()
    own = path.parent
    # The folder behind a link is not the contestant's: it may have the results of others.
    has_no_link = path == Path(os.path.abspath(named))
    is_own = has_no_link and season in own.parents and not any(own in other.resolve().parents for other in rest)
    name = Path(file.partition(":")[0]).name  # not the name of the file that a link leads to
    return [(own, BOT_FOLDER_INSIDE)] if is_own else [(path, f"{BOT_FOLDER_INSIDE}/{name}")]


def visible_in_place(file: str, folder: Path, others: Sequence[str]) -> tuple[Path, str]:
    """Return what `visible_files` returns, with the path that it has outside in place of one inside.

    So messages with the names of files are the same inside and outside.
    """
    ((source, _),) = visible_files(file, folder, others)
    named = os.path.abspath(folder / file.partition(":")[0])
    return source, os.path.dirname(named) if source.is_dir() else named


# --- bubblewrap -----------------------------------------------------------------------------------------------------------


def _environment(packages: Sequence[str]) -> list[str]:
    variables = {
        "HOME": TEMPORARY_INSIDE,
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(str(path.parent) for path in _package_folders(packages))),
    }
    options = ["--clearenv"]
    for name, value in variables.items():
        options += ["--setenv", name, value]
    return options


def _package_folders(packages: Sequence[str]) -> list[Path]:
    # `find_spec` returns None for a package that is not installed. All of these are.
    return [Path(find_spec(package).submodule_search_locations[0]) for package in packages]  # type: ignore[union-attr,index]


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
