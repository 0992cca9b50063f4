"""Through a real PgBouncer, where this machine has one: `apt-get install pgbouncer`. What it does
to a connection's start is played in test_connections.py, everywhere."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from db.connecting import CannotConnect, Unfit
from db.pool import create_pool
from local.servers.daemon import account_for, free_ports
from local.servers.postgres import Postgres
from tests.conftest import Database
from tests.factories import Owner

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
pytestmark = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on this machine")

IGNORED = "role,search_path,plan_cache_mode,statement_timeout,idle_in_transaction_session_timeout"
CONFIGURATION = """[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
auth_type = plain
auth_file = {directory}/users
pool_mode = {mode}
ignore_startup_parameters = extra_float_digits,{ignored}
unix_socket_dir =
"""


@asynccontextmanager
async def pgbouncer(
    server: Postgres, database: Database, mode: str, ignored: str
) -> AsyncIterator[str]:
    """The runtime's URL through it."""
    assert PGBOUNCER is not None, "else skipped"
    (own_port,) = free_ports(1)
    host, port = server.url.rpartition("@")[2].partition("/")[0].split(":")
    account = account_for("postgres")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        (place / "users").write_text('"runtime" "runtime"\n')
        (place / "ini").write_text(
            CONFIGURATION.format(
                host=host,
                port=port,
                own_port=own_port,
                directory=directory,
                mode=mode,
                ignored=ignored,
            )
        )
        if account is not None:
            for one in (place, *place.iterdir()):
                os.chown(one, account.pw_uid, account.pw_gid)
        running = subprocess.Popen(
            [PGBOUNCER, "-q", str(place / "ini")],
            user=account.pw_name if account else None,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            await listening(own_port)
            yield f"postgresql://runtime:runtime@127.0.0.1:{own_port}/{database.name}"
        finally:
            running.kill()
            running.wait()


async def listening(port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.02)


async def carries_statements(url: str) -> bool:
    """From 1.21 on."""
    conn = await asyncpg.connect(url)
    try:
        sent = "SELECT EXISTS (SELECT FROM pg_prepared_statements WHERE name LIKE '\\_\\_asyncpg%')"
        return not await conn.fetchval(sent)
    finally:
        await conn.close()


async def settled(owner: Owner, database: Database) -> None:
    for setting in (
        *("role = 'swiftreplies_app'", "search_path = public", "statement_timeout = '15s'"),
        "idle_in_transaction_session_timeout = '30s'",
    ):
        await owner.execute(f"ALTER ROLE runtime IN DATABASE {database.name} SET {setting}")


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_as_it_comes_it_is_named(
    postgres_server: Postgres, database: Database, mode: str
) -> None:
    async with pgbouncer(postgres_server, database, mode, "") as url:
        pool = await create_pool(url, size=1, name="tests")
        with pytest.raises(CannotConnect, match="unsupported startup parameter"):
            await pool.fetchval("SELECT 1")


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_told_to_ignore_it_is_not_worked_through(
    postgres_server: Postgres, database: Database, mode: str
) -> None:
    async with pgbouncer(postgres_server, database, mode, IGNORED) as url:
        pool = await create_pool(url, size=1, name="tests")
        with pytest.raises(Unfit, match="ALTER ROLE"):
            await pool.fetchval("SELECT 1")


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_with_the_login_s_settings_it_works_or_says_why_not(
    postgres_server: Postgres, database: Database, owner: Owner, mode: str
) -> None:
    await settled(owner, database)
    async with pgbouncer(postgres_server, database, mode, IGNORED) as url:
        pool = await create_pool(url, size=15, name="tests")

        async def who() -> str:
            found: str = await pool.fetchval("SELECT current_user FROM pg_sleep(0.02)")
            return found

        if mode == "transaction" and not await carries_statements(url):
            with pytest.raises(Unfit, match="takes no prepared statements along"):
                await who()
            return
        for _ in range(4):
            found = await asyncio.gather(*(who() for _ in range(15)))
            assert set(found) == {"swiftreplies_app"}
        pool.terminate()
