"""Meta apps from a terminal: made, listed, rotated, deleted, and whose chatbots are on them."""

import asyncio
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.ingest.recording import record_batch
from handlers.process.secrets import Vault, app_secret_of, verify_token_of
from local.servers.rabbitmq import RabbitMQ
from tests.cli import Command
from tests.conftest import Database
from tests.factories import make_tenant
from tests.recording import DEBOUNCE, recorded, to, wrote

KEY = "a key of sixteen characters or more"
CREATE = ("app", "create", "--app-secret", "first", "--verify-token", "typed", "--name")


@pytest.fixture
def command(database: Database, broker: RabbitMQ) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "AMQP_URL": broker.url,
            "SECRETS_KEY": KEY,
        }
    )


async def stored(owner: Conn, name: str = "shop") -> dict[str, Any]:
    """In clear; that it is not so in the table is part of it."""
    row = await owner.fetchrow("SELECT * FROM apps WHERE name = $1", name)
    assert row is not None
    vault, found = Vault((KEY,)), {}
    for column, of in (("app_secret", app_secret_of), ("verify_token", verify_token_of)):
        for which in (column, f"old_{column}"):
            sealed = row[which]
            assert sealed is None or sealed.startswith("enc:v1:")
            found[which] = vault.decrypt(sealed, of(row["id"])) if sealed else None
    return found


async def listed(command: Command) -> list[dict[str, Any]]:
    apps: list[dict[str, Any]] = (await command("app", "list", "--json")).json["apps"]
    return apps


async def test_an_app_is_made_with_its_secrets_encrypted(command: Command, owner: Conn) -> None:
    made = (await command(*CREATE, "shop", "--json")).json
    assert made == {"app_id": made["app_id"], "name": "shop", "path": "/webhooks/whatsapp/shop"}
    assert await stored(owner) == {
        "app_secret": "first",
        "old_app_secret": None,
        "verify_token": "typed",
        "old_verify_token": None,
    }
    (one,) = await listed(command)
    assert (one["app_id"], one["path"], one["chatbots"]) == (made["app_id"], made["path"], [])
    assert "first" not in (await command("app", "list")).out
    assert "there is an app shop already" in await command.refused(*CREATE, "shop")


@pytest.mark.parametrize("name", ["", "Shop", "a/b", "-a", "a" * 64, "a.b", "a\n", "é"])
async def test_a_name_is_one_part_of_a_path(command: Command, owner: Conn, name: str) -> None:
    assert "--name is not" in await command.refused(*CREATE[:-1], f"--name={name}")
    assert await owner.fetchval("SELECT count(*) FROM apps") == 0


async def test_secrets_that_are_none_are_refused(command: Command) -> None:
    for wrong in ("", " ", "a\nb", "x" * 201):
        said = await command.refused(
            *("app", "create", "--name", "a", "--app-secret", wrong, "--verify-token", "t")
        )
        assert "--app-secret is empty" in said
    said = await command.refused(*CREATE, "shop", SECRETS_KEY="", DATABASE_URL="")
    assert "SECRETS_KEY is missing" in said
    assert "DATABASE_URL is missing" in said


async def test_a_rotation_keeps_both_and_is_safe_to_repeat(command: Command, owner: Conn) -> None:
    await command(*CREATE, "shop")
    rotate = ("app", "rotate", "shop", "--app-secret", "second", "--json")
    first = (await command(*rotate)).json
    assert first["old_until"]
    again = (await command(*rotate)).json
    assert again == first
    assert await stored(owner) == {
        "app_secret": "second",
        "old_app_secret": "first",
        "verify_token": "typed",
        "old_verify_token": "typed",
    }
    assert (await listed(command))[0]["old_until"] == first["old_until"]
    ended = (await command("app", "rotate", "shop", "--keep", "0", "--json")).json
    assert ended["old_until"] is None
    assert (await stored(owner))["old_app_secret"] is None
    at_once = await command("app", "rotate", "shop", "--verify-token", "leaked", "--keep", "0")
    assert at_once.out == "app shop: those before hold no more\n"
    assert await stored(owner) == {
        "app_secret": "second",
        "old_app_secret": None,
        "verify_token": "leaked",
        "old_verify_token": None,
    }


async def test_what_cannot_be_rotated_is_told(command: Command) -> None:
    await command(*CREATE, "shop")
    assert "there is no app cafe" in await command.refused(
        "app", "rotate", "cafe", "--app-secret", "x"
    )
    assert "name a new --app-secret" in await command.refused("app", "rotate", "shop")
    assert "not a whole number" in await command.misused("app", "rotate", "shop", "--keep", "169")
    said = await command.refused(
        *("app", "rotate", "shop", "--app-secret", "x"), SECRETS_KEY="another key as long as it"
    )
    assert "what is stored of shop cannot be read (no key" in said


async def test_secrets_whose_key_is_lost_are_replaced(command: Command, owner: Conn) -> None:
    await command(*CREATE, "shop", SECRETS_KEY="a key that nobody has any more")
    both = ("app", "rotate", "shop", "--app-secret", "new", "--verify-token", "also")
    assert (await command(*both)).out == "app shop: those before hold no more\n"
    assert (await stored(owner))["app_secret"] == "new"


async def test_chatbots_are_on_their_tenant_s_app_or_their_own(
    command: Command, owner: Conn
) -> None:
    shop = (await command(*CREATE, "shop", "--json")).json["app_id"]
    cafe = (await command(*CREATE, "cafe", "--json")).json["app_id"]
    found: dict[str, int | None] = {}
    for email, of_tenant, of_bot in (
        ("none", (), ()),
        ("tenant's", ("--app", "shop"), ()),
        ("own", ("--app", "shop"), ("--app", "cafe")),
        ("bot's", (), ("--app", "cafe")),
    ):
        created = await command(
            "tenant", "create", "--email", f"{email}@example.com", "--json", *of_tenant
        )
        bot = await command(
            *("chatbot", "create", "--user", str(created.json["user_id"]), "--name", "b"),
            *("--number", f"+120255500{len(found)}1", "--json", *of_bot),
        )
        app_of = "SELECT app_id FROM chatbots WHERE id = $1"
        found[email] = await owner.fetchval(app_of, bot.json["chatbot_id"])
    assert found == {"none": None, "tenant's": shop, "own": cafe, "bot's": cafe}
    (_, one) = await listed(command)
    assert one["name"] == "shop"
    assert len(one["chatbots"]) == 1


async def test_an_app_that_is_none_leaves_nothing_behind(command: Command, owner: Conn) -> None:
    tenant = ("tenant", "create", "--email", "t@example.com")
    assert "there is no app cafe" in await command.refused(*tenant, "--app", "cafe")
    assert await owner.fetchval("SELECT count(*) FROM users") == 0
    user = (await command(*tenant, "--json")).json["user_id"]
    bot = ("chatbot", "create", "--user", str(user), "--name", "b", "--number", "+12025550143")
    assert "there is no app cafe" in await command.refused(*bot, "--app", "cafe")
    assert await owner.fetchval("SELECT count(*) FROM chatbots") == 0


async def test_an_app_with_chatbots_or_tenants_stays(command: Command, owner: Conn) -> None:
    await command(*CREATE, "shop")
    user = (
        await command("tenant", "create", "--email", "t@example.com", "--app", "shop", "--json")
    ).json["user_id"]
    assert "a tenant or a chatbot is on app shop" in await command.refused("app", "delete", "shop")
    created = await command(
        *("chatbot", "create", "--user", str(user), "--name", "b", "--number", "+12025550143"),
        "--json",
    )
    said = await command.refused("app", "delete", "shop")
    assert said.endswith(f": {created.json['chatbot_id']}")
    await owner.execute("UPDATE chatbots SET app_id = NULL; UPDATE users SET app_id = NULL")
    assert (await command("app", "delete", "shop")).out == "app shop deleted\n"
    assert await listed(command) == []


async def test_there_are_so_many_apps_and_no_more(command: Command, owner: Conn) -> None:
    await owner.execute(
        "INSERT INTO apps (name, app_secret, verify_token)"
        " SELECT 'app-' || n, 'enc:v1:x', 'enc:v1:x' FROM generate_series(1, 999) n"
    )
    one, other = await asyncio.gather(
        command.process(*CREATE, "first"), command.process(*CREATE, "second")
    )
    assert sorted([one.code, other.code]) == [0, 1]
    assert "there are 1000 apps" in one.err + other.err
    assert await owner.fetchval("SELECT count(*) FROM apps") == 1_000


async def test_what_another_app_said_is_never_replayed(
    command: Command, owner: Conn, pool: Pool
) -> None:
    await command(*CREATE, "shop")
    tenant = await make_tenant(owner)
    await owner.execute("UPDATE chatbots SET app_id = (SELECT id FROM apps)")
    await record_batch(pool, [to(tenant, wrote("forged"))], DEBOUNCE)
    (item,) = (await command("dead", "list", "--json")).json["items"]
    assert item["reason"] == "number_of_another_app"
    assert "may not speak for a number of another app" in await command.refused(
        "dead", "replay", item["id"]
    )
    done = (await command("dead", "replay", "--all", "--json")).json
    assert (done["replayed"], len(done["refused"])) == (0, 1)
    # Not even once it is true: the number is the environment's now.
    await owner.execute("UPDATE chatbots SET app_id = NULL")
    assert (await command("dead", "replay", "--all", "--json")).json["replayed"] == 0
    assert await recorded(owner, tenant) == []
    assert await owner.fetchval("SELECT count(*) FROM parked_items") == 1
