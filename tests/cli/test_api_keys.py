"""swiftreplies apikey: made, listed, revoked; never more than the plan has."""

import asyncio
import hashlib
import json

import pytest

from db.pool import Conn
from handlers.api_keys import PERMISSIONS, hash_of, may, new_key
from tests.cli import Command
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import make_tenant


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
        }
    )


async def test_a_key_is_shown_once_and_stored_as_a_hash(command: Command, owner: Conn) -> None:
    user = str((await make_tenant(owner)).user_id)
    made = (await command("apikey", "create", "--user", user, "--name", "n", "--json")).json
    assert list(made) == ["api_key", "api_key_id"]
    row = await owner.fetchrow("SELECT * FROM api_keys")
    assert row is not None
    assert row["api_key_hash"] == hashlib.sha256(made["api_key"].encode()).hexdigest()
    assert json.loads(row["permissions"]) == dict.fromkeys(PERMISSIONS, True)
    assert made["api_key"].startswith(row["key_prefix"])
    assert made["api_key"] not in str(dict(row))
    listed = await command("apikey", "list", "--user", user)
    assert row["key_prefix"] in listed.out
    assert made["api_key"] not in listed.out
    assert (await command("apikey", "revoke", "1", "--json")).json["revoked"] is True
    keys = (await command("apikey", "list", "--user", user, "--json")).json["api_keys"]
    assert [key["usable"] for key in keys] == [False]
    assert "no API key 7" in await command.refused("apikey", "revoke", "7")


async def test_creators_at_once_make_as_many_as_the_plan_has(command: Command, owner: Conn) -> None:
    user = str((await make_tenant(owner, config='{"limits": {"max_api_keys": 3}}')).user_id)
    arguments = ("apikey", "create", "--user", user, "--name", "n")
    async with owner.transaction():
        # All of them stand before the count together, so that none counts after another's commit.
        await owner.execute("SELECT FROM users FOR NO KEY UPDATE")
        creating = [asyncio.create_task(command.process(*arguments)) for _ in range(7)]

        async def blocked() -> int:
            await owner.execute("SELECT pg_stat_clear_snapshot()")  # else it stays the first look's
            found: int = await owner.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            return found

        await until(blocked, lambda n: n == len(creating))
    results = await asyncio.gather(*creating)
    assert sorted(r.code for r in results) == [0] * 3 + [1] * 4
    assert all("max_api_keys" in r.err for r in results if r.code)
    assert await owner.fetchval("SELECT count(*) FROM api_keys") == 3
    key = await owner.fetchval("SELECT min(id) FROM api_keys")
    await command("apikey", "revoke", str(key))
    assert (await command(*arguments)).code == 0
    assert "max_api_keys" in await command.refused(*arguments)


async def test_a_limit_that_is_no_number_allows_no_key(command: Command, owner: Conn) -> None:
    user = str((await make_tenant(owner, config='{"limits": {"max_api_keys": "3"}}')).user_id)
    said = await command.refused("apikey", "create", "--user", user, "--name", "n")
    assert f"the plan of tenant {user} allows 0 API keys" in said


async def test_what_is_wrong_is_said(command: Command, owner: Conn) -> None:
    assert "no tenant 99" in await command.refused(
        "apikey", "create", "--user", "99", "--name", "n"
    )
    user = str((await make_tenant(owner)).user_id)
    for permissions in ("actions:all", ",", "actions:read,all"):
        said = await command.refused(
            *("apikey", "create", "--user", user, "--name", "n", "--permissions", permissions)
        )
        assert "conversations:write" in said
    made = await command(
        *("apikey", "create", "--user", user, "--name", "n"), "--permissions", "usage:read"
    )
    assert made.code == 0
    assert json.loads(await owner.fetchval("SELECT permissions FROM api_keys")) == {
        "usage:read": True
    }


def test_keys() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert hash_of(new_key()) is not None
    for text in ("", "sr_", new_key() + "x", "x" + new_key(), new_key() + "\n"):
        assert hash_of(text) is None
    assert may({"a": True}, "a")
    for permissions in ({}, {"a": False}, {"a": 1}, {"a": "true"}):
        assert not may(permissions, "a")
