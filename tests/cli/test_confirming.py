"""`chatbot confirm`: a number that an operator has made sure of."""

import pytest

from db.pool import Conn, Pool
from handlers.ingest.recording import record_batch
from local.servers.rabbitmq import RabbitMQ
from tests.cli import Command
from tests.conftest import Database
from tests.factories import make_tenant
from tests.recording import DEBOUNCE, body, wrote
from tests.unit.payloads import change, value

NUMBER = "+12025550143"


@pytest.fixture
def command(database: Database, broker: RabbitMQ) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "AMQP_URL": broker.url,
        }
    )


async def test_a_chatbot_of_an_operator_is_proven_from_its_making(
    command: Command, owner: Conn
) -> None:
    user = (await command("tenant", "create", "--email", "t@example.com", "--json")).json
    made = ("chatbot", "create", "--user", str(user["user_id"]), "--name", "b", "--number", NUMBER)
    chatbot = (await command(*made, "--json")).json["chatbot_id"]
    since = "SELECT number_confirmed_at FROM chatbots WHERE id = $1"
    assert await owner.fetchval(since, chatbot) is not None


async def test_a_claim_is_proven_once(command: Command, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    confirm = ("chatbot", "confirm", str(tenant.chatbot_id), "--json")
    first = (await command(*confirm)).json
    assert first["chatbot_id"] == tenant.chatbot_id
    assert (await command(*confirm)).json == first
    since = await owner.fetchval("SELECT number_confirmed_at FROM chatbots")
    assert since.isoformat() == first["number_confirmed_at"]
    # What it has is not changed by it.
    for option in ("--number", "--phone-number-id"):
        said = await command.refused(*confirm, option, "+4915112345678")
        assert said.startswith(f"{option}") or "is not an id" in said
    assert "there is no chatbot 77" in await command.refused("chatbot", "confirm", "77")


async def test_a_chatbot_without_a_number_is_given_one_and_hears_what_waited(
    command: Command, owner: Conn, pool: Pool
) -> None:
    tenant = await make_tenant(owner, phone_number_id=None)
    await owner.execute("UPDATE chatbots SET whatsapp_phone_number = NULL")
    early = body(change(value("409800001111", NUMBER, messages=[wrote("early")])))
    await record_batch(pool, [early], DEBOUNCE)
    confirm = ("chatbot", "confirm", str(tenant.chatbot_id))
    assert "has no number: name it with --number" in await command.refused(*confirm)
    assert "is not a number like" in await command.refused(*confirm, "--number", "12")
    done = (await command(*confirm, "--number", "+1 (202) 555-0143", "--json")).json
    assert done["replayed"] == 1
    assert await owner.fetchval("SELECT whatsapp_phone_number FROM chatbots") == NUMBER
    other = await make_tenant(owner, phone_number_id=None)
    await owner.execute(
        "UPDATE chatbots SET whatsapp_phone_number = NULL WHERE id = $1", other.chatbot_id
    )
    said = await command.refused("chatbot", "confirm", str(other.chatbot_id), "--number", NUMBER)
    assert said == "a chatbot with this number exists already"


async def claimed(owner: Conn, chatbot_id: int, number: str | None, of: str | None) -> None:
    """As the API has it."""
    await owner.execute(
        "UPDATE chatbots SET whatsapp_phone_number = NULL, phone_number_id = NULL,"
        " claimed_number = $2, claimed_phone_number_id = $3, number_problem = 'x' WHERE id = $1",
        *(chatbot_id, number, of),
    )


async def numbers_of(owner: Conn, chatbot_id: int) -> list[str | None]:
    """What is proven, and what is claimed."""
    (row,) = await owner.fetch(SHOWN, chatbot_id)
    return [*row]


SHOWN = (
    "SELECT whatsapp_phone_number, phone_number_id, claimed_number, claimed_phone_number_id"
    " FROM chatbots WHERE id = $1"
)


async def test_a_claim_that_was_named_is_what_is_confirmed(command: Command, owner: Conn) -> None:
    tenant = await make_tenant(owner)
    await claimed(owner, tenant.chatbot_id, NUMBER, "409800001111")
    confirm = ("chatbot", "confirm", str(tenant.chatbot_id))
    assert "does not change" in await command.refused(*confirm, "--number", "+4915112345678")
    done = (await command(*confirm, "--json")).json
    assert await numbers_of(owner, tenant.chatbot_id) == [NUMBER, "409800001111", None, None]
    assert await owner.fetchval("SELECT number_problem FROM chatbots") is None
    assert (await command(*confirm, "--json")).json == done


async def test_what_an_operator_makes_displaces_claims(command: Command, owner: Conn) -> None:
    squatter, unconfirmed = await make_tenant(owner), await make_tenant(owner)
    await claimed(owner, squatter.chatbot_id, NUMBER, "409800001111")
    await owner.execute(
        "UPDATE chatbots SET whatsapp_phone_number = $2 WHERE id = $1",
        *(unconfirmed.chatbot_id, NUMBER),
    )
    user = (await command("tenant", "create", "--email", "t@example.com", "--json")).json
    made = ("chatbot", "create", "--user", str(user["user_id"]), "--name", "b", "--number", NUMBER)
    chatbot = (await command(*made, "--json")).json["chatbot_id"]
    assert await numbers_of(owner, chatbot) == [NUMBER, None, None, None]
    for loser in (squatter, unconfirmed):
        assert await numbers_of(owner, loser.chatbot_id) == [None] * 4
    said = await command.refused(*made)
    assert said == "a chatbot with this number exists already"
