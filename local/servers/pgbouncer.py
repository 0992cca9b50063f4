"""A private PgBouncer before a private PostgreSQL.

Debian 12 has 1.18, which carries no prepared statements along; a later release of Debian has one
that does. `python -m local.servers.pgbouncer` fetches both from the machine's own mirror, checked
by the machine's own keys as apt does it, each with the libraries that it was built with, into
`.cache`. Nothing is installed, no source is added, and it needs no root.
"""

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from local.servers.daemon import (
    ServerError,
    account_for,
    base_environment,
    free_ports,
    until,
    workplace,
)

CACHE = Path(__file__).parents[2] / ".cache" / "pgbouncer"
# Of the new: the first that carries prepared statements along is 1.21. Of the old: one that does
# not, to see that it is found out.
RELEASES = {"new": "trixie", "old": "bookworm"}
LIBRARIES = {
    "new": ("libevent-2.1-7t64", "libssl3t64", "libcares2", "libzstd1"),
    "old": ("libevent-2.1-7", "libssl3", "libc-ares2"),
}
ALSO = ("libc6", "libpam0g", "libsystemd0", "libaudit1", "libcap-ng0", "libcap2", "zlib1g")
REMEDY = (
    "Run `make pgbouncer`, or install PgBouncer 1.21 or newer (from Debian 13 on: apt-get install"
    " pgbouncer)."
)
START_TIMEOUT_S = 30.0
IGNORED = (
    "role,search_path,plan_cache_mode,statement_timeout,idle_in_transaction_session_timeout,"
    "extra_float_digits,synchronous_commit,enable_seqscan,enable_bitmapscan"
)
CARRIES = f"max_prepared_statements = 500\nignore_startup_parameters = {IGNORED}"
CONFIGURATION = """[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
auth_type = plain
auth_file = {directory}/users
pool_mode = {mode}
default_pool_size = {pool_size}
{more}
unix_socket_dir =
"""


@dataclass(frozen=True, slots=True)
class Pooler:
    """A PgBouncer that can be started here; `home`: where a fetched one is."""

    command: tuple[str, ...]
    version: str
    home: Path | None = None

    @property
    def carries_statements(self) -> bool:
        return _numbers(self.version) >= [1, 21]


def find(which: str = "new") -> Pooler | None:
    """The machine's own where it is new enough, else the one that was fetched."""
    own = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    candidates = [_asked((own,))] if own else []
    home = CACHE / which
    if home.is_dir():
        candidates.append(_asked(_command(home), home))
    fits = [one for one in candidates if one and one.carries_statements == (which == "new")]
    return fits[0] if fits else None


def _command(home: Path) -> tuple[str, ...]:
    """By its own loader: its C library may be newer than the machine's."""
    loader = next(iter(home.glob("lib/ld-linux*")), home)
    return (str(loader), "--library-path", str(home / "lib"), str(home / "pgbouncer"))


def _asked(command: tuple[str, ...], home: Path | None = None) -> Pooler | None:
    try:
        said = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=30, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"PgBouncer ([\d.]+)", said)
    return Pooler(command, match[1], home) if match else None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


# ---- fetching it -------------------------------------------------------------------------------


def fetch(which: str) -> None:
    """Raises ServerError. At the same moment in two processes, the second finds the first's."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if find(which) is not None:
            return
        making = CACHE / f"{which}.new"
        shutil.rmtree(making, ignore_errors=True)
        (making / "lists" / "partial").mkdir(parents=True)
        (making / "archives" / "partial").mkdir(parents=True)
        (making / "root").mkdir()
        try:
            _download(making, RELEASES[which], ("pgbouncer", *LIBRARIES[which], *ALSO))
            for package in sorted(making.glob("*.deb")):
                _run(["dpkg-deb", "-x", str(package), str(making / "root")], making)
            _keep(making / "root", making / "kept")
            shutil.rmtree(CACHE / which, ignore_errors=True)
            (making / "kept").rename(CACHE / which)
        finally:
            shutil.rmtree(making, ignore_errors=True)


def _keep(unpacked: Path, home: Path) -> None:
    """Of all that packages bring along: the program, and the libraries."""
    (home / "lib").mkdir(parents=True)
    for library in unpacked.glob("**/*-linux-gnu*/*.so*"):
        if library.is_file():
            shutil.copy(library, home / "lib" / library.name)
    shutil.copy(unpacked / "usr" / "sbin" / "pgbouncer", home / "pgbouncer")


def _download(making: Path, release: str, packages: tuple[str, ...]) -> None:
    source = making / "source.list"
    source.write_text(f"deb {_mirror(making)} {release} main\n")
    apt = [
        "apt-get",
        "-qq",
        *("-o", f"Dir::Etc::sourcelist={source}", "-o", "Dir::Etc::sourceparts=-"),
        *("-o", f"Dir::State::lists={making / 'lists'}", "-o", f"Dir::Cache={making}"),
        *("-o", "Acquire::Retries=3", "-o", "APT::Sandbox::User=root"),
    ]
    _run([*apt, "update"], making)
    _run([*apt, "download", *packages], making)


def _mirror(making: Path) -> str:
    """From where this machine gets its packages."""
    uris = _run(["apt-get", "update", "--print-uris"], making)
    for base, release in re.findall(r"'(\S+?)/dists/([\w-]+)/InRelease'", uris):
        if base.rstrip("/").endswith("/debian") and "-" not in release:
            return str(base)
    raise ServerError("no mirror of Debian is among the machine's sources of packages")


def _run(command: list[str], directory: Path) -> str:
    environment = dict(os.environ, LC_ALL="C.UTF-8", DEBIAN_FRONTEND="noninteractive")
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise ServerError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise ServerError(f"{' '.join(command[:1] + command[-2:])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


# ---- running it --------------------------------------------------------------------------------


@asynccontextmanager
async def pgbouncer(
    pooler: Pooler,
    server_url: str,
    users: Mapping[str, str],
    *,
    mode: str = "transaction",
    pool_size: int = 20,
    more: str = CARRIES,
) -> AsyncIterator[int]:
    """Its port; every database of the server is behind it. `users`: login -> password."""
    (own_port,) = free_ports(1)
    host, port = server_url.rpartition("@")[2].partition("/")[0].split(":")
    async with workplace("postgres", "KILL", in_memory=True) as place:
        place.file("users", "".join(f'"{user}" "{word}"\n' for user, word in users.items()))
        text = CONFIGURATION.format(
            host=host,
            port=port,
            own_port=own_port,
            directory=place.path,
            mode=mode,
            pool_size=pool_size,
            more=more,
        )
        command = [*_reachable(pooler, place.path), "-q", str(place.file("ini", text))]
        process = place.spawn(command, base_environment(place.path))
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await until_listening(own_port)
        except TimeoutError:
            raise ServerError(f"PgBouncer does not listen.\n{place.log_tail()}") from None
        try:
            yield own_port
        finally:
            process.kill()
            await until(lambda: process.poll() is not None)
            place.forget(process.pid)


def _reachable(pooler: Pooler, place: Path) -> list[str]:
    """PgBouncer does not run as root, and whom it runs as may not be let into a checkout."""
    if pooler.home is None or account_for("postgres") is None:
        return list(pooler.command)
    home = place / "pgbouncer"
    shutil.copytree(pooler.home, home)
    for directory in (home, home / "lib"):
        directory.chmod(0o755)
    return list(_command(home))


async def until_listening(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.02)


def main() -> None:
    for which in RELEASES:
        if find(which) is not None:
            continue
        print(f"fetching PgBouncer of Debian's {RELEASES[which]}", file=sys.stderr)
        try:
            fetch(which)
        except ServerError as error:
            print(f"PgBouncer could not be fetched: {error}\n{REMEDY}", file=sys.stderr)


if __name__ == "__main__":
    main()
