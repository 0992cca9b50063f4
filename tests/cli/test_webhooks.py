"""`swiftreplies webhook`, and every way to get it wrong."""

from datetime import UTC, datetime, timedelta

import pytest

from db.pool import Conn
from handlers.process.secrets import Vault, webhook_secret_of
from tests.api import make_webhook, tell
from tests.cli import Command
from tests.conftest import Database
from tests.factories import Tenant, make_tenant

KEY = "a key of sixteen characters or more"
URL = "https://shop.example/hook"


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "SECRETS_KEY": KEY,
        }
    )


@pytest.fixture
async def user(owner: Conn) -> Tenant:
    return await make_tenant(owner, config='{"limits": {"max_webhooks": 2}}')


async def test_created_listed_tested_recovered(command: Command, owner: Conn, user: Tenant) -> None:
    create = ("webhook", "create", "--user", str(user.user_id), "--url", URL)
    made = (await command(*create, "--json")).json
    assert list(made) == ["webhook_id", "secret_token"]
    webhook = str(made["webhook_id"])
    sealed = await owner.fetchval("SELECT secret_token FROM webhooks")
    belongs_to = webhook_secret_of(made["webhook_id"])
    assert Vault((KEY,)).decrypt(sealed, belongs_to) == made["secret_token"]

    sent = (await command("webhook", "test", webhook, "--json")).json
    assert list(sent) == ["delivery_id", "event_id"]
    assert await owner.fetchval("SELECT type FROM webhook_events") == "ping"

    await tell(owner, user, "bot.recovered")
    await owner.execute("UPDATE webhook_deliveries SET status = 'failed', due_at = NULL")
    ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    done = (await command("webhook", "recover", webhook, "--since", ago, "--json")).json
    assert (done["deliveries"], done["more"]) == (2, False)
    assert await owner.fetchval("SELECT min(status) FROM webhook_deliveries") == "pending"

    more = ("--events", "message.*, ping", "--chatbot", str(user.chatbot_id), "--ordered")
    assert "whsec_" in (await command(*create, *more)).out
    other = await make_webhook(owner, await make_tenant(owner), is_active=False)
    (new, old) = (await command("webhook", "list", "--user", str(user.user_id), "--json")).json[
        "webhooks"
    ]
    assert (new["events"], new["chatbot_id"], new["ordered"]) == (
        ["message.*", "ping"],
        user.chatbot_id,
        True,
    )
    assert old["webhook_id"] == made["webhook_id"]
    listed = (await command("webhook", "list")).out
    assert f"{other:>6}  tenant" in listed
    assert "off (by the tenant)" in listed
    assert "whsec_" not in listed


async def test_what_is_wrong_is_told(command: Command, owner: Conn, user: Tenant) -> None:
    theirs = await make_tenant(owner)
    create = ("webhook", "create", "--user", str(user.user_id))
    for more, said in (
        (("--url", "http://10.0.0.1/"), "--url: "),
        (("--url", URL, "--events", "mesage.*"), "message.*"),
        (("--url", URL, "--events", ","), "--events empty"),
        (("--url", URL, "--chatbot", str(theirs.chatbot_id)), "has no chatbot"),
    ):
        assert said in await command.refused(*create, *more)
    both = await command.refused(*create, "--url", "ftp://x", "--events", "x,y")
    assert len(both.splitlines()) == 3
    assert "there is no tenant" in await command.refused(
        *("webhook", "create", "--user", "999999", "--url", URL)
    )
    assert "SECRETS_KEY" in await command.refused(*create, "--url", URL, SECRETS_KEY="")
    assert "OUTBOUND_ALLOW" in await command.refused(*create, "--url", URL, OUTBOUND_ALLOW="x")
    assert await owner.fetchval("SELECT count(*) FROM webhooks") == 0
    inner = ("--url", "http://10.1.2.3:8080/")
    assert (await command(*create, *inner, OUTBOUND_ALLOW="10.0.0.0/8")).code == 0
    for verb in (("test", "999999"), ("recover", "999999", "--since", "2026-01-01T00:00:00Z")):
        assert "there is no webhook 999999" in await command.refused("webhook", *verb)
    webhook = str(await make_webhook(owner, user))
    for since in ("yesterday", "2026-01-01", "2026-01-01T00:00:00", "2999-01-01T00:00:00Z"):
        assert "--since" in await command.refused("webhook", "recover", webhook, "--since", since)
    assert "max_webhooks" in await command.refused(*create, "--url", URL)
    await owner.execute("UPDATE webhooks SET is_active = false")
    assert "switched off" in await command.refused("webhook", "test", webhook)
    config = '{"permissions": {"configure_integrations": false}}'
    await owner.execute("UPDATE user_subscriptions SET subscription_config = $1", config)
    for argv in ((*create, "--url", URL), ("webhook", "test", webhook)):
        assert "permissions.configure_integrations" in await command.refused(*argv)
    await owner.execute("UPDATE webhooks SET is_active = true")
    await owner.execute("UPDATE user_subscriptions SET subscription_config = '{}'")
    await owner.execute("UPDATE users SET is_active = false WHERE id = $1", user.user_id)
    off = f"tenant {user.user_id} is switched off"
    assert off in await command.refused("webhook", "test", webhook)
    assert off in await command.refused(
        *("webhook", "recover", webhook, "--since", "2026-01-01T00:00:00Z")
    )
