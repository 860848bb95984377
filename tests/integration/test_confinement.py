"""The confinement of a contestant: a process that tries to read, reach, start or fill something gets nothing.

Each test runs a small program confined, as the process of a contestant runs.
"""

import asyncio
import io
import os
import resource
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import msgspec
import psutil
import pytest

from trading_bots.competition import confinement, contestant, landlock
from trading_bots.competition.confinement import BOT_FOLDER_INSIDE, SOCKET_INSIDE, Confinement, visible_files
from trading_bots.competition.own_limits import EXIT_NOT_RESTRICTED
from trading_bots.competition.venue_proxy import MAX_CONNECTIONS, VenueProxy

CAN_CONFINE = confinement.available()
needs_confinement = pytest.mark.skipif(not CAN_CONFINE.bubblewrap, reason=f"contestants are {CAN_CONFINE}")
TIMEOUT_SECONDS = 20


class Cell:
    """A folder with a venue and secrets, and programs that run confined beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.venue = folder, folder / "venue.sock"
        self.secret = folder / "secrets" / "admin-token"
        self.secret.parent.mkdir()
        self.secret.write_text("topsecret")
        (folder / "bots").mkdir()
        (folder / "bots" / "own.py").write_text("OWN = 'mine'\n")
        (folder / "bots" / "other.py").write_text("OTHER = 'secret strategy'\n")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.venue))
        self.listener.listen()

    def start(self, program: str, limits: bool = False, more: Sequence[tuple[Path, str]] = ()) -> subprocess.Popen[str]:
        assert CAN_CONFINE.bubblewrap, CAN_CONFINE
        files = [*visible_files("bots/own.py", self.folder, ["bots/other.py"]), *more]
        line = [sys.executable, "-P", "-c", textwrap.dedent(program)]
        with CAN_CONFINE.command(line, files, self.venue) as (command, descriptors):
            return subprocess.Popen(
                command,
                pass_fds=descriptors,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                preexec_fn=_limit if limits else None,
            )

    def run(self, program: str, limits: bool = False, more: Sequence[tuple[Path, str]] = ()) -> str:
        process = self.start(program, limits, more)
        try:
            return process.communicate(timeout=TIMEOUT_SECONDS)[0].strip()
        finally:
            process.kill()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))


@pytest.fixture
def cell(tmp_path: Path) -> Iterator[Cell]:
    made = Cell(tmp_path)
    yield made
    made.listener.close()


@needs_confinement
def test_a_contestant_reads_its_own_file_and_the_bot_api(cell: Cell) -> None:
    program = f"""
        import runpy, trading_bots, os
        own = runpy.run_path("{BOT_FOLDER_INSIDE}/own.py")["OWN"]
        print(own, trading_bots.Bot.__name__, os.listdir("{BOT_FOLDER_INSIDE}"))
    """
    assert cell.run(program) == "mine Bot ['own.py']"


def test_a_contestant_with_a_folder_of_its_own_reads_all_of_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "bot.py").touch()
    assert visible_files("a/bot.py:Mine", tmp_path, ["b/bot.py"]) == [(tmp_path / "a", "/bot")]
    assert visible_files("a/bot.py", tmp_path, ["a/b/c.py:Other"]) == [(tmp_path / "a" / "bot.py", "/bot/bot.py")]
    assert visible_files("bot.py", tmp_path, []) == [(tmp_path / "bot.py", "/bot/bot.py")]


def test_a_link_to_a_file_outside_of_the_season_shows_that_file_alone_under_the_name_of_the_link(tmp_path: Path) -> None:
    season = tmp_path / "season"
    season.mkdir()
    (tmp_path / "elsewhere.py").touch()
    (season / "bot.py").symlink_to(tmp_path / "elsewhere.py")
    assert visible_files("bot.py", season, []) == [(tmp_path / "elsewhere.py", "/bot/bot.py")]


def test_a_link_to_a_file_in_another_folder_of_the_season_does_not_show_that_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "output.txt").touch()
    (tmp_path / "mine" / "bot.py").symlink_to("../results/output.txt")
    assert visible_files("mine/bot.py", tmp_path, []) == [(tmp_path / "results" / "output.txt", "/bot/bot.py")]
    (tmp_path / "linked").symlink_to("results")
    assert visible_files("linked/output.txt", tmp_path, []) == [(tmp_path / "results" / "output.txt", "/bot/output.txt")]


@needs_confinement
def test_an_interpreter_below_the_folder_for_temporary_files_stays_visible(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert str(cell.folder).startswith("/tmp/"), "where pytest makes its folders"  # noqa: S108
    paths = [*confinement._interpreter_paths(), cell.folder / "bots"]
    monkeypatch.setattr(confinement, "_interpreter_paths", lambda: paths)
    assert cell.run(f"import os; print(sorted(os.listdir('{cell.folder}/bots')))") == "['other.py', 'own.py']"


@needs_confinement
def test_a_contestant_reads_neither_secrets_nor_the_files_of_others(cell: Cell) -> None:
    program = f"""
        import glob, os
        for path in ("{cell.secret}", "{cell.folder}/bots/other.py", "/etc/passwd", "/root/.ssh", "/home"):
            try:
                print(path, os.listdir(path) if os.path.isdir(path) else open(path).read())
            except OSError as error:
                print(type(error).__name__)
        roots = ("/root", "/home", "/tmp", "/var", "/run", "{cell.folder}")
        print([path for root in roots for path in glob.glob(root + "/**/*-token*", recursive=True)])
    """
    assert cell.run(program).splitlines() == ["FileNotFoundError"] * 5 + ["[]"]


@needs_confinement
def test_a_contestant_sees_no_environment_of_the_exchange(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MX_SIGNING_SECRET", "topsecret")
    program = """
        import os
        print(*sorted(os.environ))
        for number in ("self", 1):
            print("topsecret" in open(f"/proc/{number}/environ").read())
    """
    names, own, parents = cell.run(program).splitlines()
    assert set(names.split()) <= {"HOME", "LANG", "LC_CTYPE", "PWD", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH"}
    assert (own, parents) == ("False", "False")


@needs_confinement
def test_a_contestant_sees_no_other_process(cell: Cell) -> None:
    shown = cell.run("import os; print(sorted(int(name) for name in os.listdir('/proc') if name.isdigit()), os.getppid())")
    assert shown == "[1, 2] 1", "bubblewrap and itself"


@needs_confinement
def test_a_contestant_has_no_network(cell: Cell) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        program = f"""
            import socket
            for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):
                try:
                    socket.socket(family, socket.SOCK_DGRAM if family != socket.AF_INET else socket.SOCK_STREAM)
                    print("open")
                except OSError as error:
                    print(error.errno)
            try:
                socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), timeout=2)
                print("connected")
            except OSError as error:
                print(error.errno)
            print(open("/proc/net/dev").read().count(":"))
        """
        assert cell.run(program).splitlines() == ["1"] * 6, "EPERM for every family; lo is the only interface"


@needs_confinement
def test_a_contestant_reaches_no_abstract_socket_of_the_machine(cell: Cell) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0mx-test-abstract")
        server.listen()
        program = r"""
            import socket
            try:
                socket.socket(socket.AF_UNIX).connect("\0mx-test-abstract")
                print("connected")
            except OSError as error:
                print(type(error).__name__)
        """
        assert cell.run(program) == "ConnectionRefusedError"


@needs_confinement
def test_a_contestant_starts_no_process_by_any_means(cell: Cell) -> None:
    program = """
        import ctypes, os, subprocess
        libc = ctypes.CDLL(None, use_errno=True)
        def attempt(name, function):
            try:
                print(name, function())
            except OSError as error:
                print(name, error.errno)
        attempt("fork", os.fork)
        attempt("spawn", lambda: subprocess.Popen(["/bin/true"]))
        attempt("posix_spawn", lambda: os.posix_spawn("/bin/true", ["true"], {}))
        print("libc", libc.fork(), ctypes.get_errno())
        print("vfork", libc.syscall(58), ctypes.get_errno())
        print("clone3", libc.syscall(435, None, 0), ctypes.get_errno())
        print("clone", libc.syscall(56, 17, 0, 0, 0, 0), ctypes.get_errno())
    """
    assert cell.run(program).splitlines() == [
        *("fork 1", "spawn 1", "posix_spawn 1", "libc -1 1", "vfork -1 1", "clone3 -1 38", "clone -1 1")
    ]


@needs_confinement
def test_a_contestant_may_start_threads(cell: Cell) -> None:
    program = "import threading; t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()"
    assert cell.run(program) == "thread"


@needs_confinement
def test_a_contestant_makes_no_namespace_mounts_nothing_and_traces_nobody(cell: Cell) -> None:
    program = """
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        for call in (
            lambda: libc.unshare(0x10000000),
            lambda: libc.mount(b"none", b"/tmp", b"tmpfs", 0, None),
            lambda: libc.ptrace(16, 1, 0, 0),
            lambda: libc.syscall(310, 1, None, 0, None, 0, 0),
            lambda: libc.syscall(425, 1, None),
            lambda: libc.syscall(321, 0, None, 0),
        ):
            print(call(), ctypes.get_errno())
    """
    assert cell.run(program).splitlines() == ["-1 1"] * 6


@needs_confinement
def test_a_contestant_cannot_signal_its_parent(cell: Cell) -> None:
    process = cell.start(
        """
        import os, signal, time
        for number in (os.getppid(), 1):
            try:
                os.kill(number, signal.SIGKILL)
            except OSError as error:
                print(error.errno)
        print("still here")
        """
    )
    assert process.communicate(timeout=TIMEOUT_SECONDS)[0].strip().endswith("still here")
    assert process.returncode == 0


@needs_confinement
def test_a_contestant_writes_nowhere_but_to_its_small_temporary_folder(cell: Cell) -> None:
    program = f"""
        import os, sys
        for folder in ("/usr", "{BOT_FOLDER_INSIDE}", sys.prefix + "/bin", "/dev", "/dev/shm", "/proc", "/etc", "/"):
            try:
                open(folder + "/x", "w").write("x")
                print("written", folder)
            except OSError as error:
                pass
        try:
            open("{BOT_FOLDER_INSIDE}/own.py", "w")
            print("written own")
        except OSError as error:
            pass
        written = 0
        try:
            with open("/tmp/x", "wb") as file:
                while True:
                    written += file.write(bytes(1 << 20))
        except OSError as error:
            print(error.errno, written >> 20)
    """
    shown = cell.run(program)
    assert shown.splitlines() in (["28 15"], ["28 16"]), "ENOSPC after 16 MB, and nothing else"
    assert (cell.folder / "bots" / "own.py").read_text() == "OWN = 'mine'\n"


@needs_confinement
def test_a_contestant_runs_out_of_memory_and_descriptors_alone(cell: Cell) -> None:
    program = """
        try:
            hoard = [bytearray(1 << 26) for _ in range(64)]
        except MemoryError:
            print("no memory")
        hoard = []
        try:
            files = [open("/dev/null") for _ in range(1000)]
        except OSError as error:
            print(error.errno)
    """
    assert cell.run(program, limits=True).splitlines() == ["no memory", "24"]


@needs_confinement
def test_a_contestant_ends_with_the_process_that_started_it(cell: Cell) -> None:
    process = cell.start("import time; print('ready', flush=True); time.sleep(600)")
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    inside = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    _, alive = psutil.wait_procs(inside, 5)
    assert alive == []


AS_USER = """
import os, socket, subprocess, sys, tempfile
from pathlib import Path
from trading_bots.competition.confinement import available
confinement = available()
print(os.getuid(), confinement, flush=True)
with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as venue:
    secret, path = Path(folder) / "secret", Path(folder) / "venue.sock"
    secret.write_text("topsecret")
    venue.bind(str(path))
    program = f'''
import os, socket
for attempt in (lambda: open("{secret}"), lambda: open("/usr/x", "w"), os.fork, lambda: socket.socket(socket.AF_INET)):
    try:
        attempt()
    except OSError as error:
        print(type(error).__name__)
'''
    with confinement.command([sys.executable, "-P", "-c", program], (), path) as (command, descriptors):
        print(subprocess.run(command, pass_fds=descriptors, env={}, capture_output=True, text=True).stdout)
"""
PLAIN_USER = 65533


@needs_confinement
@pytest.mark.parametrize("user", ["root", "plain user"])
def test_the_confinement_works_for_root_and_for_a_plain_user(user: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("to become another user takes root")
    if shutil.which("setpriv") is None:
        pytest.skip("the program setpriv is missing")
    line, uid = [sys.executable, "-c", AS_USER], 0
    if user == "plain user":
        # The interpreter may be in root's home folder, which a plain user cannot enter. So it gets another view of that.
        interpreter = Path(sys.base_prefix).resolve()
        view = [str(CAN_CONFINE.bubblewrap), "--dev-bind", "/", "/", "--tmpfs", "/root", "--chmod", "0755", "/root"]
        for parent in reversed(interpreter.parents):
            view += ["--perms", "0755", "--dir", str(parent)] if parent.is_relative_to("/root") else []
        view += ["--ro-bind", str(interpreter), str(interpreter), "--cap-add", "ALL", "--chdir", "/", "--"]
        uid = PLAIN_USER
        line = [*view, "setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--inh-caps=-all", *line]
    done = subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    first, *tries = done.stdout.split("\n")
    if "not confined" in first and uid:
        pytest.skip(f"a plain user is {first}")
    assert first == f"{uid} {CAN_CONFINE}", done.stderr
    assert tries[:4] == ["FileNotFoundError", "OSError", "PermissionError", "PermissionError"]


# --- Landlock, the second line --------------------------------------------------------------------------------------------

needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
TRIES = """
import os, signal, socket, sys
def attempt(name, function):
    try:
        function()
        print(name, "succeeded")
    except OSError as error:
        print(name, type(error).__name__)
attempt("own", lambda: open(sys.argv[2]).read())
attempt("secret", lambda: open(sys.argv[1]).read())
attempt("passwords", lambda: open("/etc/passwd").read())
attempt("folder", lambda: os.listdir(os.path.dirname(sys.argv[1])))
attempt("write", lambda: open(sys.argv[1] + "2", "w"))
attempt("remove", lambda: os.remove(sys.argv[1]))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3]))))
attempt("abstract socket", lambda: socket.socket(socket.AF_UNIX).connect("\\0mx-test-landlock"))
attempt("signal", lambda: os.kill(os.getppid(), 0))
"""


def tries(cell: Cell, first: str) -> list[str]:
    """Run `TRIES` after `first` as a plain process, without bubblewrap. Return what it prints."""
    secret, own = cell.folder.parent / "secret", cell.folder / "bots" / "own.py"
    secret.write_text("topsecret")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind("\0mx-test-landlock")
        abstract.listen()
        program = f"import encodings.idna\n{first}\n{TRIES}"
        line = [sys.executable, "-c", program, str(secret), str(own), str(server.getsockname()[1])]
        return subprocess.run(line, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True).stdout.splitlines()


@needs_landlock
def test_landlock_alone_denies_what_a_process_without_bubblewrap_could_do(cell: Cell) -> None:
    names = ["own", "secret", "passwords", "folder", "write", "remove", "connect", "abstract socket", "signal"]
    assert tries(cell, "") == [f"{name} succeeded" for name in names], "the same attempts succeed without Landlock"
    own = str(cell.folder / "bots" / "own.py")
    restricted = f"from trading_bots.competition import landlock\nlandlock.restrict(['/usr', {own!r}])"
    denied = dict.fromkeys(names[1:], "PermissionError") | {"own": "succeeded"}
    if landlock.version() < 4:
        denied["connect"] = "succeeded"
    if landlock.version() < 6:
        denied |= {"abstract socket": "succeeded", "signal": "succeeded"}
    assert tries(cell, restricted) == [f"{name} {denied[name]}" for name in names]


@needs_landlock
@needs_confinement
def test_landlock_denies_a_contestant_a_file_that_is_inside_of_its_sandbox_by_mistake(cell: Cell) -> None:
    program = f"""
        from trading_bots.competition.own_limits import restrict_itself
        print(open("/leaked").read())
        restrict_itself(["{BOT_FOLDER_INSIDE}"], required=True)
        print(open("{BOT_FOLDER_INSIDE}/own.py").read().strip())
        open("/tmp/x", "w").write("x")
        import asyncio, ssl, trading_bots.live
        try:
            open("/leaked")
        except OSError as error:
            print(type(error).__name__)
    """
    leak = (cell.secret, "/leaked")
    assert cell.run(program, more=[leak]).splitlines() == ["topsecret", "OWN = 'mine'", "PermissionError"]


def test_a_contestant_that_landlock_must_restrict_is_not_loaded_without_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = contestant.ContestantTask("a", "", "", "", "", "/bot", "bot.py", landlock=True)
    stdin = io.TextIOWrapper(io.BytesIO(msgspec.json.encode(task) + b"\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    monkeypatch.setattr(contestant, "limit_resources", lambda _: None)
    monkeypatch.setattr(landlock, "restrict", lambda *_: 0)
    with pytest.raises(SystemExit) as ended:
        contestant.main()
    assert ended.value.code == EXIT_NOT_RESTRICTED
    assert "the kernel has no Landlock" in capsys.readouterr().err


def test_the_confinement_states_which_lines_hold() -> None:
    assert "Landlock version 7" in str(Confinement("/usr/bin/bwrap", b"", landlock=7))
    assert "no Landlock" in str(Confinement("/usr/bin/bwrap", b""))


def test_an_ability_that_is_missing_is_named() -> None:
    assert str(Confinement(reason="the program bwrap is missing")) == "not confined: the program bwrap is missing"
    assert "no seccomp filter" in str(Confinement("/usr/bin/bwrap"))


def test_a_machine_without_bubblewrap_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    confinement.available.cache_clear()
    try:
        assert confinement.available().reason == "the program bwrap is missing: install the package bubblewrap"
    finally:
        confinement.available.cache_clear()


# --- the proxy --------------------------------------------------------------------------------------------------------


HEADERS = b"host: venue\r\n"
ALLOWED = [
    b"GET /securities?limit=1000 HTTP/1.1",
    b"GET /balance/alice HTTP/1.1",
    b"GET /holdings/alice HTTP/1.1",
    b"GET /orders/alice HTTP/1.1",
    b"GET /orders?client_order_id=a-1 HTTP/1.1",
    b"GET /news HTTP/1.1",
    b"GET /tenders HTTP/1.1",
]
REFUSED = [
    b"GET /balance/bob HTTP/1.1",
    b"GET /orders/../balance/bob HTTP/1.1",
    b"GET /balance/alice%2f..%2fbob HTTP/1.1",
    b"GET /balance/alice/../bob HTTP/1.1",
    b"GET /admin/clients HTTP/1.1",
    b"POST /orders HTTP/1.1",
    b"PUT /admin/securities/X/state HTTP/1.1",
    b"GET /metrics HTTP/1.1",
    b"GET /health/live HTTP/1.1",
    b"GET http://127.0.0.1/securities HTTP/1.1",
    b"GET /ws HTTP/1.1",
    b"CONNECT 127.0.0.1:22 HTTP/1.1",
    b"GET /securities HTTP/1.0",
    b"GET /securities\x00 HTTP/1.1",
    b"nonsense",
    b"",
]


@pytest.fixture
def proxy() -> VenueProxy:
    return VenueProxy("alice", "the-key", "http://127.0.0.1:1", "http://127.0.0.1:2")


@pytest.mark.parametrize("first", ALLOWED)
def test_the_proxy_adds_the_key_to_what_a_contestant_may_ask(proxy: VenueProxy, first: bytes) -> None:
    forged = b"Authorization: Bearer forged\r\nX-Forwarded-For: 1.2.3.4\r\n"
    request = proxy.request_of(first + b"\r\n" + HEADERS + forged + b"\r\n")
    assert request is not None
    head = request[1]
    assert head.startswith(first + b"\r\n")
    assert head.endswith(b"\r\n\r\n")
    lines = head[:-4].split(b"\r\n")[1:]
    assert sorted(lines) == sorted(
        [b"connection: close", b"host: 127.0.0.1:" + str(request[0].port).encode(), b"authorization: Bearer the-key"]
    )


@pytest.mark.parametrize("first", REFUSED)
def test_the_proxy_refuses_what_a_contestant_does_not_need(proxy: VenueProxy, first: bytes) -> None:
    assert proxy.request_of(first + b"\r\n" + HEADERS + b"\r\n") is None


@pytest.mark.parametrize(
    "field", [b"accept: a\x00b", b"accept: \x80", b"sec-websocket-a\x01: x", b"accept", b" accept: x", b"a b: x"]
)
def test_the_proxy_refuses_a_malformed_field(proxy: VenueProxy, field: bytes) -> None:
    assert proxy.request_of(b"GET /securities HTTP/1.1\r\n" + HEADERS + field + b"\r\n\r\n") is None


@pytest.mark.parametrize(("path", "port"), [("/ws", 2), ("/ws/orders", 1)])
def test_the_proxy_lets_a_websocket_through(proxy: VenueProxy, path: str, port: int) -> None:
    request = proxy.request_of(
        f"GET {path} HTTP/1.1\r\nHost: venue\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n".encode()
    )
    assert request is not None
    assert request[0].port == port
    assert b"sec-websocket-key: x" in request[1]
    assert b"authorization: Bearer the-key" in request[1]


async def test_the_proxy_forwards_one_request_for_each_connection_and_keeps_the_key(tmp_path: Path) -> None:
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made = VenueProxy("alice", "the-key", f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}")
    path = tmp_path / "venue.sock"
    async with made.listening(path):
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as http:
            assert (await http.get("http://venue/securities")).json() == []
            refused = await http.get("http://venue/balance/bob")
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET /securities HTTP/1.1\r\n\r\nGET /balance/bob HTTP/1.1\r\n\r\n")
        assert b"[]" in await reader.read(1000)
        writer.close()
    server.close()
    assert [head for head in received if b"bob" in head] == []
    assert made.refused == 1
    assert not path.exists()


async def test_the_proxy_bounds_connections_and_the_time_of_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_bots.competition.venue_proxy.HEAD_SECONDS", 0.3)
    made = VenueProxy("alice", "the-key", "http://127.0.0.1:1", "http://127.0.0.1:1")
    path = tmp_path / "venue.sock"
    async with made.listening(path):
        idle = [await asyncio.open_unix_connection(path) for _ in range(MAX_CONNECTIONS)]
        await asyncio.sleep(0.05)
        reader, _ = await asyncio.open_unix_connection(path)
        began = time.monotonic()
        assert await reader.read() == b"", "one more is closed at once"
        assert time.monotonic() - began < 0.2
        idle[0][1].write(b"GET /" + b"a" * 20_000)
        assert await idle[0][0].read() == b"", "the head is too long"
        assert await idle[1][0].read() == b"", "the head took too long"


@needs_confinement
def test_the_venue_socket_is_inside_at_a_fixed_path(cell: Cell) -> None:
    program = f"import socket; socket.socket(socket.AF_UNIX).connect('{SOCKET_INSIDE}'); print('connected')"
    assert cell.run(program) == "connected"
