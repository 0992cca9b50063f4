"""Through a real PgBouncer, a new one and an old one. What it does to a connection's start is
played in test_connections.py, without one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from db.connecting import CannotConnect, Unfit
from db.ids import UserId
from db.pool import Pool, create_pool, tenant
from local.servers.pgbouncer import CARRIES, IGNORED, Pooler, pgbouncer
from local.servers.postgres import Postgres
from tests.conftest import RUNTIME_LOGIN, RUNTIME_PASSWORD, Database
from tests.factories import Owner, make_tenant
from tests.poolers import NEW, OLD, give_settings

USERS = {RUNTIME_LOGIN: RUNTIME_PASSWORD}
IGNORES = f"ignore_startup_parameters = {IGNORED}"


@asynccontextmanager
async def through(
    pooler: Pooler,
    server: Postgres,
    database: Database,
    mode: str = "transaction",
    more: str = CARRIES,
) -> AsyncIterator[str]:
    """The runtime's URL through it."""
    async with pgbouncer(pooler, server.url, USERS, mode=mode, more=more) as port:
        login = f"{RUNTIME_LOGIN}:{RUNTIME_PASSWORD}"
        yield f"postgresql://{login}@127.0.0.1:{port}/{database.name}"


@asynccontextmanager
async def pooled(url: str, size: int) -> AsyncIterator[Pool]:
    pool = await create_pool(url, size=size, name="tests")
    try:
        yield pool
    finally:
        pool.terminate()


async def who(pool: Pool) -> str:
    found: str = await pool.fetchval("SELECT current_user FROM pg_sleep(0.02)")
    return found


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_as_it_comes_it_is_named(
    postgres_server: Postgres, database: Database, mode: str
) -> None:
    ignores = "ignore_startup_parameters = extra_float_digits"
    async with (
        through(NEW.get(), postgres_server, database, mode=mode, more=ignores) as url,
        pooled(url, 1) as pool,
    ):
        with pytest.raises(CannotConnect, match="unsupported startup parameter"):
            await pool.fetchval("SELECT 1")


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_told_to_ignore_it_is_not_worked_through(
    postgres_server: Postgres, database: Database, mode: str
) -> None:
    async with (
        through(NEW.get(), postgres_server, database, mode=mode) as url,
        pooled(url, 1) as pool,
    ):
        with pytest.raises(Unfit, match="ALTER ROLE"):
            await pool.fetchval("SELECT 1")


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_with_the_login_s_settings_it_works(
    postgres_server: Postgres, database: Database, owner: Owner, mode: str
) -> None:
    await give_settings(owner, database.name)
    async with (
        through(NEW.get(), postgres_server, database, mode=mode) as url,
        pooled(url, 15) as pool,
    ):
        for _ in range(4):
            found = await asyncio.gather(*(who(pool) for _ in range(15)))
            assert set(found) == {"swiftreplies_app"}


async def test_tenants_are_kept_apart_on_the_connections_that_they_share(
    postgres_server: Postgres, database: Database, owner: Owner
) -> None:
    """Two connections of the server for ten of ours, so that each is lent to everybody in turn."""
    await give_settings(owner, database.name)
    tenants = [await make_tenant(owner) for _ in range(10)]
    async with (
        pgbouncer(NEW.get(), postgres_server.url, USERS, pool_size=2) as port,
        pooled(
            f"postgresql://{RUNTIME_LOGIN}:{RUNTIME_PASSWORD}@127.0.0.1:{port}/{database.name}", 10
        ) as pool,
    ):

        async def sees(user_id: UserId) -> set[int]:
            async with tenant(pool, user_id) as conn:
                await conn.execute("SELECT pg_sleep(0.005)")
                return {row["user_id"] for row in await conn.fetch("SELECT user_id FROM chatbots")}

        for _ in range(5):
            found = await asyncio.gather(*(sees(one.user_id) for one in tenants))
            assert found == [{one.user_id} for one in tenants]
            assert await pool.fetchval("SELECT count(*) FROM chatbots") == 0


# ---- one that carries no prepared statements along ----------------------------------------------


@pytest.mark.parametrize("which", ["too old", "told not to"])
async def test_it_is_known_by_what_it_does_and_refused_in_words(
    postgres_server: Postgres, database: Database, owner: Owner, which: str
) -> None:
    await give_settings(owner, database.name)
    if which == "too old":
        pooler, more = OLD.get(), IGNORES
    else:
        pooler, more = NEW.get(), f"max_prepared_statements = 0\n{IGNORES}"
    async with (
        through(pooler, postgres_server, database, more=more) as url,
        pooled(url, 15) as pool,
    ):
        told = "takes no prepared statements along.* PgBouncer 1.21 or newer"
        for _ in range(3):
            with pytest.raises(Unfit, match=told):
                await who(pool)


async def test_an_old_one_that_pools_sessions_will_do(
    postgres_server: Postgres, database: Database, owner: Owner
) -> None:
    await give_settings(owner, database.name)
    async with (
        through(OLD.get(), postgres_server, database, mode="session", more=IGNORES) as url,
        pooled(url, 5) as pool,
    ):
        found = await asyncio.gather(*(who(pool) for _ in range(5)))
        assert set(found) == {"swiftreplies_app"}


async def test_it_is_found_out_beside_others_that_are_lent_the_same_connections(
    postgres_server: Postgres, database: Database, owner: Owner
) -> None:
    """Whatever others of ours left there: what comes is a refusal in words, and no statement is
    run for another."""
    await give_settings(owner, database.name)
    async with through(OLD.get(), postgres_server, database, more=IGNORES) as url:

        async def tries() -> str:
            async with pooled(url, 3) as pool:
                with contextlib.suppress(Unfit):
                    return await who(pool)
                return "refused"

        assert set(await asyncio.gather(*(tries() for _ in range(12)))) == {"refused"}
