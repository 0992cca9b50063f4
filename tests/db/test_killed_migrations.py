"""A migration of a single-tenant database with rows in it, killed at each of its statements."""

import os
import re
from collections.abc import Iterator

import asyncpg
import pytest

from db.migrate import Migration, MigrationError, migrate, migrations
from local.servers.postgres import Postgres
from tests.conftest import Database
from tests.db.test_migrations import (
    CATALOGUE,
    ORDERS_BY_ROW,
    assert_handed_over,
    bare_server,
    catalogue,
    connected,
    make_old,
    members_of_system,
    new_database,
    other_server,
    run,
)

__all__ = ["bare_server", "other_server"]  # fixtures

KILL = "SELECT pg_terminate_backend(pg_backend_pid());\n"
_PARTS = re.compile(r"--[^\n]*|'(?:[^']|'')*'|(\$\w*\$).*?\1|;|[^-'$;]+|.", re.DOTALL)


def statements(sql: str) -> Iterator[str]:
    """What the server runs one after the other."""
    statement = ""
    for part in _PARTS.finditer(sql):
        statement += part[0]
        if part[0] == ";":
            yield statement
            statement = ""
    assert not re.sub(r"--[^\n]*", "", statement).strip(), "the last one ends too"


# Those that work on the rows that were there before. Of the others, which only add, one moment each
# is tried, just before the commit; with MIGRATION_KILLS=all each of their statements too (2 min).
TAKE_OVER = ("0001", "0002", "0003")


def moments(file: Migration, parts: int) -> range:
    of_all = os.environ.get("MIGRATION_KILLS") == "all" or file.version.startswith(TAKE_OVER)
    return range(parts + 1) if of_all else range(parts, parts + 1)


def cuts() -> Iterator[tuple[list[Migration], Migration]]:
    """Each moment: what came before, whole, and the file that dies within."""
    whole: list[Migration] = []
    for file in migrations():
        parts = [*statements(file.sql)]
        assert "".join(parts).strip() in file.sql
        for count in moments(file, len(parts)):
            sql = "".join(parts[:count]) + "\n" + KILL + "".join(parts[count:])
            yield whole, Migration(file.version, sql, "of no file")
        whole = [*whole, file]


async def killed(database: Database, before: list[Migration], dies: Migration) -> None:
    with pytest.raises((MigrationError, asyncpg.InterfaceError, OSError)):
        await migrate(
            database.owner_url, database.runtime_url, lambda line: None, files=[*before, dies]
        )


async def everything(database: Database) -> list[tuple[object, ...]]:
    """The rows of the tables that were there before, in any form."""
    async with connected(database.owner_url) as conn:
        return [
            (table, row[0])
            for table in ("contacts", "messages", "orders", "campaigns", "checkpoints")
            for row in await conn.fetch(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1")
        ]


async def test_killed_at_each_statement_it_is_run_again(
    postgres_server: Postgres, database: Database
) -> None:
    """A file is there wholly or not at all, and the next run ends where one without a kill does."""
    async with new_database(postgres_server) as old:
        await make_old(old, ORDERS_BY_ROW)
        rows = await everything(old)
        at: str | None = None
        kills = 0
        for before, dies in cuts():
            await killed(old, before, dies)
            kills += 1
            if dies.version != at:
                at = dies.version
                async with connected(old.owner_url) as conn:
                    applied = [
                        row["version"]
                        for row in await conn.fetch("SELECT version FROM schema_migrations")
                    ]
                assert sorted(applied) == [one.version for one in before]
                if at == migrations()[1].version:
                    assert await everything(old) == rows
        assert kills > 100
        said = await run(old)
        applied = [line.split(" ")[1] for line in said if line.startswith("applied")]
        assert applied == [migrations()[-1].version]
        await assert_handed_over(old)
        new, there = await catalogue(database.owner_url), await catalogue(old.owner_url)
        for what in CATALOGUE:
            assert there[what] == new[what], what


async def test_nobody_stays_a_member_of_what_looks_across_tenants(bare_server: Postgres) -> None:
    """An owner that may make roles is one while a file is applied, and not after a kill."""
    async with new_database(bare_server, "maker:x") as old:
        files = migrations()
        for number in (0, 2, len(files) - 1):
            dies = Migration(files[number].version, files[number].sql + "\n" + KILL, "of no file")
            await killed(old, files[:number], dies)
            assert await members_of_system(bare_server.url) == []
        await run(old)
        assert await members_of_system(bare_server.url) == []
