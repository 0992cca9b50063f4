"""Private PostgreSQL and RabbitMQ servers, on free ports, gone with whoever started them.

    async with postgres() as pg, rabbitmq() as rabbit:
        await asyncpg.connect(pg.url)

Each server lives in a temporary directory of its own. A guard, a few lines of shell that hold the
other end of a pipe, ends the server and removes the directory when the pipe closes: also when this
process was killed and could do nothing any more.
"""

import asyncio
import contextlib
import os
import pwd
import random
import re
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SUPERUSER = "swiftreplies"
START_TIMEOUT = 90.0  # seconds; a loaded machine with one core is slow, not broken
STOP_TIMEOUT = 20.0  # seconds before a server that was asked to stop is killed
PORT_ATTEMPTS = 3
MEMORY = Path("/dev/shm")  # noqa: S108 - a place of our own is made in it
MEMORY_FREE = 4 * 1024**3  # bytes, below which nothing is put there; containers often have 64 MB


class ServerError(Exception):
    """A private server could not be started."""


class PortTakenError(ServerError):
    """Somebody else took the port between its choice and the server's start."""


async def on_free_ports(start: Callable[[], Awaitable[T]]) -> T:
    for _ in range(PORT_ATTEMPTS - 1):
        with contextlib.suppress(PortTakenError):
            return await start()
    return await start()


async def until(done: Callable[[], bool]) -> None:
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


def version_numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def base_environment(home: Path) -> dict[str, str]:
    path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin"
    return {"HOME": str(home), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8", "PATH": path}


def account_for(preferred: str) -> pwd.struct_passwd | None:
    """Whom a server runs as: oneself, but never root."""
    if os.geteuid() != 0:
        return None
    for name in (preferred, "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerError(f"Running as root, and neither {preferred} nor nobody exists to run it as.")


def reachable(path: Path, account: pwd.struct_passwd | None) -> bool:
    """Whether `account` can run the program or enter the directory; None is oneself."""
    if account is None:
        return os.access(path, os.X_OK)
    try:
        paths = (path, *path.resolve().parents)
        return all(one.stat().st_mode & stat.S_IXOTH for one in paths)
    except OSError:
        return False


def readable_copy(source: str | Path, target: str | Path) -> None:
    """A copy that everybody can read; just a second name of the file where that is enough."""
    mode = Path(source).stat().st_mode
    if mode & stat.S_IROTH:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)
    Path(target).chmod(0o755 if mode & stat.S_IXUSR else 0o644)


def children(pid: int) -> list[int]:
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


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def kill(pids: Iterable[int], number: signal.Signals) -> None:
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


class Workplace:
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
        if reachable(programs / "postgres", self.account):
            return programs
        target = self.path / "programs"
        unneeded = shutil.ignore_patterns("*.a", "doc", "include", "man", "pkgconfig")
        shutil.copytree(
            programs.parent, target, symlinks=True, ignore=unneeded, copy_function=readable_copy
        )
        # A wheel keeps the libraries that it brings along beside its package.
        package = programs.parent.parent
        with contextlib.suppress(FileNotFoundError):
            for library in package.with_name(f"{package.name}.libs").iterdir():
                readable_copy(library, target / "lib" / library.name)
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
async def workplace(
    preferred_account: str, end_signal: str, *, in_memory: bool
) -> AsyncIterator[Workplace]:
    account = account_for(preferred_account)
    wanted = [os.environ.get("TMPDIR"), "/var/tmp", "/tmp"]  # noqa: S108 - made by mkdtemp below
    if in_memory and _has_memory():
        wanted.insert(0, str(MEMORY))
    parents = [Path(name) for name in wanted if name and os.access(name, os.W_OK)]
    parent = next((path for path in parents if reachable(path, account)), None)
    if parent is None:
        raise ServerError("Neither $TMPDIR nor /var/tmp nor /tmp is a directory to work in.")
    path = Path(tempfile.mkdtemp(prefix=f"swiftreplies-{preferred_account}-", dir=parent))
    path.chmod(0o711)
    place = Workplace(path, account, end_signal)
    try:
        yield place
    finally:
        if place.guard.stdin:
            place.guard.stdin.close()
        await until(lambda: place.guard.poll() is not None)


def _has_memory() -> bool:
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return False
    # Programs that the server's user could not reach are copied there, and have to run.
    return not found.f_flag & os.ST_NOEXEC and found.f_bavail * found.f_frsize >= MEMORY_FREE


class Daemon:
    """One server process, which may be started and ended any number of times."""

    def __init__(
        self,
        name: str,
        place: Workplace,
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
                await until(lambda: answered.done() or process.poll() is not None)
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
        below = children(process.pid)
        kill([process.pid], number)
        try:
            async with asyncio.timeout(STOP_TIMEOUT):
                await until(lambda: process.poll() is not None and not any(map(alive, below)))
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
            kill([process.pid], signal.SIGSTOP)
            below = children(process.pid)
            kill([process.pid, *below], signal.SIGKILL)
        process.wait()
        self.place.forget(process.pid)
        self.process = None
        await until(lambda: not any(map(alive, below)))
