"""swiftreplies apikey: made, listed, revoked; never more than the plan has."""

import asyncio
import hashlib
import json
import random
import re
import secrets
import string
import zlib

import pytest

from db.pool import Conn
from handlers.api_keys import PERMISSIONS, Form, form_of, hash_of, may, new_key
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


async def test_who_is_told_everything_may_read_everything(command: Command, owner: Conn) -> None:
    user = str((await make_tenant(owner)).user_id)
    create = ("apikey", "create", "--user", user, "--name", "n", "--permissions")
    reads = [one for one in PERMISSIONS if one.endswith(":read")]
    for left_out in reads:
        granted = ",".join(["webhooks:write", *(one for one in reads if one != left_out)])
        assert f"to have {left_out} as well" in await command.refused(*create, granted)
    assert (await command(*create, ",".join(["webhooks:write", *reads]))).code == 0
    assert (await command(*create, "webhooks:read")).code == 0


async def test_a_key_is_given_other_permissions_and_stays_the_key(
    command: Command, owner: Conn
) -> None:
    user = str((await make_tenant(owner)).user_id)
    create = ("apikey", "create", "--user", user, "--name", "n", "--json", "--permissions")
    await command(*create, "usage:read")
    before = await owner.fetchrow("SELECT api_key_hash, version FROM api_keys")
    for _ in range(2):
        wider = await command("apikey", "update", "1", "--permissions", "all", "--json")
        assert wider.json == {"api_key_id": 1, "permissions": list(PERMISSIONS)}
    row = await owner.fetchrow("SELECT api_key_hash, version, permissions FROM api_keys")
    assert before is not None
    assert row is not None
    assert row["api_key_hash"] == before["api_key_hash"]
    assert row["version"] == before["version"] + 1, "the repeat changed nothing"
    assert json.loads(row["permissions"]) == dict.fromkeys(PERMISSIONS, True)
    update = ("apikey", "update", "1", "--permissions")
    assert "no such permission: cats:read" in await command.refused(*update, "cats:read")
    assert "to have actions:read" in await command.refused(*update, "webhooks:write")
    assert "no API key 7" in await command.refused("apikey", "update", "7", *update[3:], "all")
    await command("apikey", "revoke", "1")
    assert "is revoked" in await command.refused(*update, "all")


async def test_what_a_key_made_keeps_no_more_than_it_has(command: Command, owner: Conn) -> None:
    of = await make_tenant(owner)
    for n, (maker, granted) in enumerate(
        [
            (None, ["usage:read", "contacts:read", "orders:read"]),
            (1, ["usage:read"]),
            (2, ["usage:read"]),
        ]
    ):
        await owner.execute(
            "INSERT INTO api_keys (user_id, key_name, api_key_hash, permissions, created_by)"
            " VALUES ($1, 'k', $2, $3::text::jsonb, $4)",
            *(of.user_id, str(n), json.dumps(dict.fromkeys(granted, True)), maker),
        )
    said = await command.refused("apikey", "update", "2", "--permissions", "contacts:write")
    assert "API key 1, which made it, may not do contacts:write" in said
    await command("apikey", "update", "2", "--permissions", "usage:read,contacts:read")
    await command("apikey", "update", "1", "--permissions", "contacts:read,orders:read")
    rows = await owner.fetch("SELECT permissions FROM api_keys ORDER BY id")
    assert [sorted(json.loads(row["permissions"])) for row in rows] == [
        ["contacts:read", "orders:read"],
        ["contacts:read"],
        [],
    ]


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


async def test_a_key_ends_when_the_operator_said(command: Command, owner: Conn) -> None:
    user = str((await make_tenant(owner)).user_id)
    create = ("apikey", "create", "--user", user, "--name", "n", "--expires")
    assert (await command(*create, "2096-01-31T17:00:00+02:00")).code == 0
    (key,) = (await command("apikey", "list", "--user", user, "--json")).json["api_keys"]
    assert key["expires_at"] == "2096-01-31T15:00:00+00:00"
    assert "ends 2096-01-31T15:00:00" in (await command("apikey", "list", "--user", user)).out
    assert "in the past" in await command.refused(*create, "2020-01-31T17:00:00Z")
    for nonsense in ("tomorrow", "2096-01-31", "2096-01-31T17:00:00", "0001-01-01T00:00:00+23:00"):
        assert (await command.process(*create, nonsense)).code == 2
    await owner.execute("UPDATE api_keys SET expires_at = now()")
    assert "expired" in (await command("apikey", "list", "--user", user)).out


async def test_all_mistakes_are_told_at_once(command: Command, owner: Conn) -> None:
    said = await command.refused(
        *("apikey", "create", "--user", "1", "--name", "n" * 101),
        *("--permissions", "all", "--expires", "2020-01-31T17:00:00Z"),
    )
    assert all(words in said for words in ("--name", "no such permission: all", "--expires"))


async def test_a_key_that_was_found_is_recognised(command: Command, owner: Conn) -> None:
    user = str((await make_tenant(owner)).user_id)
    made = (await command("apikey", "create", "--user", user, "--name", "till", "--json")).json
    key = made["api_key"]
    found = (await command("apikey", "check", key, "--json")).json
    assert (found["form"], found["user_id"]) == ("valid", int(user))
    assert found["key"]["api_key_id"] == made["api_key_id"]
    told = await command("apikey", "check", key)
    assert f"apikey revoke {made['api_key_id']}" in told.out
    assert key not in told.out
    stranger = (await command("apikey", "check", new_key(), "--json")).json
    assert (stranger["form"], stranger["asked"], stranger["key"]) == ("valid", True, None)
    old = (await command("apikey", "check", f"sr_{'A-_' * 14}A", "--json")).json
    assert (old["form"], old["key"]) == ("old", None)
    mistyped = key[:-1] + ("a" if key[-1] != "a" else "b")
    assert "checksum" in await command.refused("apikey", "check", mistyped)
    assert "no key of ours" in await command.refused("apikey", "check", "ghp_x")
    alone = Command({"PATH": "/usr/bin:/bin"})
    assert (await alone("apikey", "check", key, "--json")).json["asked"] is False


def test_a_key_has_the_form_that_is_documented() -> None:
    for _ in range(200):
        key = new_key()
        assert re.fullmatch(r"sr_[0-9A-Za-z]{49}", key)
        number = 0
        for digit in key[-6:]:
            number = number * 62 + (string.digits + string.ascii_letters.swapcase()).index(digit)
        assert number == zlib.crc32(key[3:-6].encode())
        place = random.randrange(3, len(key))
        other = random.choice([c for c in string.ascii_letters if c != key[place]])
        assert form_of(key[:place] + other + key[place + 1 :]) is Form.MISTYPED
        assert form_of(key[:-1]) is Form.NONE
    assert form_of(f"sr_{secrets.token_urlsafe(32)}") is Form.OLD


def test_keys() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert hash_of(new_key()) is not None
    for text in ("", "sr_", new_key() + "x", "x" + new_key(), new_key() + "\n"):
        assert hash_of(text) is None
    assert may({"a": True}, "a")
    for permissions in ({}, {"a": False}, {"a": 1}, {"a": "true"}):
        assert not may(permissions, "a")
