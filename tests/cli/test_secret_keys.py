"""`secrets rotate`, and what `doctor` says of values that no key opens."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from db.pool import Conn
from handlers.process.sealed import SEALED
from handlers.process.secrets import Vault, access_token_of
from tests.cli import Command
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import make_tenant

OLD, NEW = "the key of last year", "the key of this year"
LOST = "a key that nobody has any more"


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "SECRETS_KEY": f"{NEW},{OLD}",
        }
    )


async def columns_of_the_catalogue(owner: Conn) -> set[tuple[str, str]]:
    rows = await owner.fetch(
        "SELECT k.conrelid::regclass::text, a.attname::text FROM pg_constraint k"
        "  JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)"
        " WHERE k.contype = 'c' AND pg_get_constraintdef(k.oid) LIKE '%enc:v1:%'"
    )
    return {(row[0], row[1]) for row in rows}


async def test_every_encrypted_column_is_known(owner: Conn) -> None:
    known = {(column.table, column.name) for column, _ in SEALED}
    assert known == await columns_of_the_catalogue(owner)


async def fill(owner: Conn, *keys: str) -> dict[str, str]:
    """A row of each table for each key, with a value in each encrypted column; by place, what it
    is in clear."""
    clear: dict[str, str] = {}
    for key in keys:
        tenant = await make_tenant(owner)
        ids = {
            "chatbots": tenant.chatbot_id,
            "webhooks": await owner.fetchval(
                "INSERT INTO webhooks (user_id, url, events) VALUES ($1, 'https://x.example', '[]')"
                " RETURNING id",
                tenant.user_id,
            ),
            "tools": await owner.fetchval(
                "INSERT INTO tools (user_id, chatbot_id, name, description, parameters, url)"
                " VALUES ($1, $2, 't', 'x', '{}', 'https://x.example') RETURNING id",
                *(tenant.user_id, tenant.chatbot_id),
            ),
            "apps": await owner.fetchval(
                "INSERT INTO apps (name, app_secret, verify_token)"
                " VALUES ('app-' || $1::text, 'enc:v1:x', 'enc:v1:x') RETURNING id",
                str(tenant.user_id),
            ),
        }
        for column, belongs_to in SEALED:
            text = f"{column.table}.{column.name} by {key}"
            sealed = Vault((key,)).encrypt(text, belongs_to(ids[column.table]))
            await owner.execute(
                f"UPDATE {column.table} SET {column.name} = $2 WHERE id = $1",
                ids[column.table],
                sealed,
            )
            clear[f"{column.table}.{column.name} of {ids[column.table]}"] = text
    return clear


async def opened(owner: Conn, *keys: str) -> dict[str, str]:
    found = {}
    for column, belongs_to in SEALED:
        for row in await owner.fetch(f"SELECT id, {column.name} AS sealed FROM {column.table}"):
            place = f"{column.table}.{column.name} of {row['id']}"
            found[place] = Vault(keys).decrypt(row["sealed"], belongs_to(row["id"]))
    return found


async def test_all_is_encrypted_anew_with_the_first_key(command: Command, owner: Conn) -> None:
    clear = await fill(owner, OLD, NEW, OLD)
    done = (await command("secrets", "rotate", "--json")).json
    each = len(SEALED)
    assert done == {"rotated": 2 * each, "current": each, "unreadable": []}
    assert await opened(owner, NEW) == clear
    again = (await command("secrets", "rotate", "--json", SECRETS_KEY=NEW)).json
    assert again == {"rotated": 0, "current": 3 * each, "unreadable": []}


async def test_what_no_key_opens_is_named_and_the_rest_is_done(
    command: Command, owner: Conn
) -> None:
    kept = await fill(owner, OLD)
    lost = await fill(owner, LOST)
    before = await owner.fetch("SELECT * FROM chatbots WHERE access_token LIKE 'enc%' ORDER BY id")
    result = await command("secrets", "rotate", "--json")
    assert result.code == 1
    done = json.loads(result.out)
    assert done["rotated"] == len(kept)
    assert {one["value"].partition(" (")[0] for one in done["unreadable"]} == set(lost)
    assert all("no key" in one["why"] for one in done["unreadable"])
    after = await owner.fetch("SELECT * FROM chatbots WHERE access_token LIKE 'enc%' ORDER BY id")
    assert after[1] == before[1]
    assert not [text for text in lost.values() if text in result.out]
    # Nothing is lost by it: with its key it is done.
    done = (await command("secrets", "rotate", "--json", SECRETS_KEY=f"{NEW},{LOST}")).json
    assert done["rotated"] == len(lost)
    assert await opened(owner, NEW) == kept | lost


async def test_more_values_than_a_page(command: Command, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    (column, belongs_to) = SEALED[0]
    rows = await owner.fetch(
        "INSERT INTO chatbots (user_id, name) SELECT $1, 'b' FROM generate_series(1, 250)"
        " RETURNING id",
        tenant.user_id,
    )
    vault = Vault((OLD,))
    sealed = [(r["id"], vault.encrypt(f"token {r['id']}", belongs_to(r["id"]))) for r in rows]
    await owner.executemany(f"UPDATE chatbots SET {column.name} = $2 WHERE id = $1", sealed)
    done = (await command("secrets", "rotate", "--json")).json
    assert done["rotated"] == 250


async def test_killed_in_the_middle_it_goes_on_where_it_was(command: Command, owner: Conn) -> None:
    """PostgreSQL ends its session at the third column's first value; what was done before is kept,
    and every value can be opened at every moment."""
    clear = await fill(owner, OLD, OLD)
    await owner.execute(
        "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$;"
        "CREATE TRIGGER die BEFORE UPDATE ON apps FOR EACH ROW EXECUTE FUNCTION die()"
    )
    assert "PostgreSQL at MIGRATION_DATABASE_URL" in await command.refused("secrets", "rotate")
    assert await opened(owner, NEW, OLD) == clear
    of_tenants = sum(column.of_tenants for column, _ in SEALED)
    await owner.execute("DROP FUNCTION die CASCADE")
    done = (await command("secrets", "rotate", "--json")).json
    assert (done["current"], done["rotated"]) == (
        2 * of_tenants,
        2 * (len(SEALED) - of_tenants),
    )
    assert await opened(owner, NEW) == clear


async def test_what_somebody_stores_meanwhile_is_not_undone(
    command: Command, database: Database, owner: Conn
) -> None:
    await fill(owner, OLD)
    chatbot, sealed = await owner.fetchrow("SELECT id, access_token FROM chatbots") or (0, "")
    newer = Vault((OLD,)).encrypt("newer", access_token_of(chatbot))
    other = await asyncpg.connect(database.owner_url)
    try:
        async with other.transaction():
            await other.execute("UPDATE chatbots SET access_token = $1", newer)
            rotating = asyncio.create_task(command("secrets", "rotate", "--json"))

            async def waits() -> bool:
                found: bool = await owner.fetchval(
                    "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
                    " WHERE NOT l.granted AND a.datname = current_database())"
                )
                return found

            await until(waits, bool, 20)
    finally:
        await other.close()
    assert (await rotating).code == 0
    assert await owner.fetchval("SELECT access_token FROM chatbots") == newer != sealed
    await command("secrets", "rotate")
    assert (await opened(owner, NEW))[f"chatbots.access_token of {chatbot}"] == "newer"


async def checks(command: Command, **changes: str) -> list[dict[str, Any]]:
    result = await command("doctor", "--json", **changes)
    report: list[dict[str, Any]] = json.loads(result.out)["checks"]
    return [one for one in report if one["check"].startswith("stored secret")]


async def test_doctor_names_what_no_key_opens(command: Command, owner: Conn) -> None:
    assert [one["state"] for one in await checks(command)] == ["ok"]
    await fill(owner, OLD)
    (told,) = await checks(command)
    assert told["state"] == "warning"
    assert f"{len(SEALED)} are encrypted with a key that is not the first" in told["detail"]
    lost = await fill(owner, LOST)
    closed = [one for one in await checks(command) if one["state"] == "failed"]
    assert {one["detail"].partition(" (")[0].partition(":")[0] for one in closed} == set(lost)
    await command("secrets", "rotate", SECRETS_KEY=f"{NEW},{OLD},{LOST}")
    (told,) = await checks(command, SECRETS_KEY=NEW)
    assert told["state"] == "ok"
    for _ in range(4):
        await fill(owner, LOST)
    closed = await checks(command)
    assert len(closed) == 21
    assert closed[-1]["detail"] == f"and {4 * len(SEALED) - 20} more"
