"""`swiftreplies template`: which there are, and listing an account now."""

from collections.abc import AsyncIterator

import pytest

from db.pool import Conn
from handlers.process.secrets import Vault, access_token_of
from simulator.app import create_app
from simulator.client import Simulator
from simulator.settings import ACCOUNT_ID
from tests.api import ORDER_READY, make_template
from tests.api.test_claims import served
from tests.cli import Command
from tests.conftest import Database
from tests.factories import Tenant, make_tenant

KEY = "a key of sixteen characters or more"


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with served(create_app()) as url, Simulator(url) as simulator:
        yield simulator


@pytest.fixture
def command(database: Database, simulator: Simulator) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "SECRETS_KEY": KEY,
            "WHATSAPP_API_URL": simulator.url,
        }
    )


async def on_account(owner: Conn) -> Tenant:
    made = await make_tenant(owner)
    token = Vault((KEY,)).encrypt("t", access_token_of(made.chatbot_id))
    await owner.execute(
        "UPDATE chatbots SET waba_id = $2, access_token = $3 WHERE id = $1",
        *(made.chatbot_id, ACCOUNT_ID, token),
    )
    return made


async def test_templates_are_listed_and_synced(
    owner: Conn, command: Command, simulator: Simulator
) -> None:
    ours, theirs = await on_account(owner), await on_account(owner)
    await make_template(owner, theirs, name="theirs", status="PAUSED")
    one = {"name": "order_ready", "language": "en_US", "category": "UTILITY"}
    await simulator.template(templates=[one | {"components": ORDER_READY}])
    done = await command("template", "sync", str(ours.chatbot_id), "--json")
    assert done.json == {"new": 1, "changed": 0, "gone": 0}
    again = await command("template", "sync", str(ours.chatbot_id))
    assert again.out.strip() == "0 new, 0 changed, 0 gone"
    listed = (await command("template", "list", "--json")).json["templates"]
    assert [(row["user_id"], row["name"], row["status"]) for row in listed] == [
        (theirs.user_id, "theirs", "PAUSED"),
        (ours.user_id, "order_ready", "APPROVED"),
    ]
    words = await command("template", "list", "--user", str(ours.user_id))
    assert "order_ready" in words.out
    assert "theirs" not in words.out
    assert "there are none" in (await command("template", "list", "--status", "LOCKED")).out


async def test_why_not_is_said(owner: Conn, command: Command, simulator: Simulator) -> None:
    unknown = await command("template", "sync", "999999")
    assert (unknown.code, "there is no chatbot" in unknown.err) == (1, True)
    bare = await make_tenant(owner)
    lacking = await command("template", "sync", str(bare.chatbot_id))
    assert (lacking.code, "no proven waba_id" in lacking.err) == (1, True)
    ours = await on_account(owner)
    await simulator.config(template_calls=0)
    limited = await command("template", "sync", str(ours.chatbot_id))
    assert (limited.code, "too many calls" in limited.err) == (1, True)
