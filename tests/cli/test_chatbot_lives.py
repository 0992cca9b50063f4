"""`swiftreplies chatbot list / show / delete`"""

import pytest

from db.pool import Conn
from tests.cli import Command
from tests.conftest import Database
from tests.factories import make_conversation, make_message, make_tenant


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "PATH": "/usr/bin:/bin",
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
        }
    )


async def test_chatbots_are_listed_shown_and_deleted(command: Command, owner: Conn) -> None:
    one, other = await make_tenant(owner), await make_tenant(owner)
    _, conversation = await make_conversation(owner, one)
    ids = [row["id"] for row in (await command("chatbot", "list", "--json")).json["chatbots"]]
    assert sorted(ids) == sorted([one.chatbot_id, other.chatbot_id])
    listing = ("chatbot", "list", "--user", str(one.user_id), "--json")
    (row,) = (await command(*listing)).json["chatbots"]
    shown = ("chatbot", "show", str(one.chatbot_id), "--json")
    assert (await command(*shown)).json == row
    assert (row["id"], row["user_id"]) == (one.chatbot_id, one.user_id)
    assert row["whatsapp_phone_number"] == one.number
    assert "access_token" not in row
    delete = ("chatbot", "delete", str(one.chatbot_id), "--json")
    ids_of = {"chatbot_id": one.chatbot_id, "user_id": one.user_id}
    assert (await command(*delete)).json == ids_of | {"deleted": True}
    assert (await command(*delete)).json == ids_of | {"deleted": False}
    assert (await command(*listing)).json == {"chatbots": []}
    for what in (("show",), ("confirm",)):
        said = await command.refused("chatbot", *what, str(one.chatbot_id))
        assert "there is no chatbot" in said
    assert await owner.fetchval("SELECT count(*) FROM chatbot_deletions") == 1
    assert conversation


async def test_a_chatbot_is_not_deleted_while_a_campaign_of_it_runs(
    command: Command, owner: Conn
) -> None:
    of = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, of)
    await make_message(owner, of, contact, conversation)
    await owner.execute(
        "INSERT INTO campaigns (user_id, chatbot_id, name, status) VALUES ($1, $2, 'x', 'running')",
        *(of.user_id, of.chatbot_id),
    )
    delete = ("chatbot", "delete", str(of.chatbot_id))
    assert "sends from chatbot" in await command.refused(*delete)
    assert await owner.fetchval("SELECT status FROM messages") == "queued"
    assert "there is no chatbot" in await command.refused("chatbot", "delete", "999999")
