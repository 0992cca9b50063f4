"""The whole product on a database that a single-tenant product left, migrated as it starts."""

import json
import re
from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest

from local.servers.postgres import Postgres
from tests.conftest import Database, log_url, runtime_url, with_database
from tests.db.test_migrations import ORDERS_BY_ROW, make_old
from tests.e2e.conftest import Bot, Product, started, until
from tests.e2e.test_actions import ASK, action_ids, asks
from tests.e2e.test_conversation import say

ADA = "+12025550143"  # who is among the rows that were there before
NUMBER, PHONE_NUMBER_ID = "+12025550190", "409800009999"


@pytest.fixture(scope="module")
async def product(postgres_server: Postgres) -> AsyncIterator[Product]:
    async def before(name: str) -> Mapping[str, str]:
        admin = await asyncpg.connect(postgres_server.url)
        await admin.execute(f"DROP DATABASE {name}")
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        await admin.close()
        server = postgres_server.url
        urls = (with_database(server, name), runtime_url(server, name), log_url(server, name))
        await make_old(Database(name, *urls), ORDERS_BY_ROW)
        return {}

    log = {"INGEST_LOG": "postgres"}  # a broker has queues for one product
    async with started(postgres_server, "taken_over", log, before) as product:
        yield product


async def connected_bot(product: Product) -> Bot:
    """As docs/deploy.md says: the chatbot that the rows were given to gets its number."""
    (row,) = await product.owner.fetch(
        "SELECT b.id, b.user_id FROM chatbots b JOIN users u ON u.id = b.user_id"
        " WHERE u.email = 'admin@localhost'"
    )
    await product.stack.command(
        *("chatbot", "confirm", str(row["id"]), "--number", NUMBER),
        *("--phone-number-id", PHONE_NUMBER_ID),
    )
    token = product.stack.environment["WHATSAPP_ACCESS_TOKEN"]
    await product.simulator.config(
        numbers=[
            {
                "phone_number_id": PHONE_NUMBER_ID,
                "display_phone_number": NUMBER.lstrip("+"),
                "token": token,
            }
        ]
    )
    return Bot(row["user_id"], row["id"], PHONE_NUMBER_ID, NUMBER, token)


async def recounted(product: Product, bot: Bot) -> tuple[int, int, int]:
    """(sent, received, actions), after comparing each counter with its rows. What was there before
    was never counted."""
    (row,) = await product.rows(
        bot,
        "SELECT sum(daily_messages_sent)::int AS sent,"
        " sum(daily_messages_received)::int AS received,"
        " sum(actions_created)::int AS actions, sum(messages_reserved)::int AS reserved,"
        " (SELECT sum(total_messages_sent)::int FROM monthly_usage_summary WHERE user_id = $1)"
        "   AS month,"
        " (SELECT count(*)::int FROM messages WHERE user_id = $1 AND usage_day IS NOT NULL)"
        "   AS sent_rows,"
        " (SELECT count(*)::int FROM messages WHERE user_id = $1 AND direction = 'inbound'"
        "   AND NOT metadata ? 'legacy_status') AS received_rows,"
        " (SELECT count(*)::int FROM actions WHERE user_id = $1) AS action_rows"
        " FROM usage_tracking WHERE user_id = $1",
    )
    assert row["sent"] == row["month"] == row["sent_rows"]
    assert row["received"] == row["received_rows"]
    assert row["actions"] == row["action_rows"]
    assert row["reserved"] == 0
    return row["sent"], row["received"], row["actions"]


async def test_a_known_customer_is_answered_and_a_person_decides(product: Product) -> None:
    bot = await connected_bot(product)
    await asks(product)
    await say(product, bot, "And on Mondays?", sender=ADA)
    (first,) = await product.replies(bot, 1)
    assert re.fullmatch(r"Re: \[\d+ years later, .*\]\nAnd on Mondays\?", first)
    # In the conversation that she had, with what was said in it.
    (request,) = [entry["request"] for entry in await product.simulator.log("model")]
    said = [m["content"] for m in request["messages"][1:]]
    assert ["Do you bake on Sundays?" in str(said), "Until noon." in str(said)] == [True, True]
    rows = await product.rows(
        bot,
        "SELECT DISTINCT m.contact_id, v.thread_id FROM messages m"
        "  JOIN conversations v ON v.user_id = m.user_id AND v.id = m.conversation_id"
        " WHERE m.user_id = $1 AND m.created_at > now() - interval '1 h'",
    )
    assert [tuple(row) for row in rows] == [(3, "12025550143")]

    await say(product, bot, "I want a refund", sender=ADA)
    await product.replies(bot, 2)
    (action_id,) = await action_ids(product, bot, "pending")
    await product.stack.command("action", "approve", str(action_id), "--json")
    event = json.loads((await product.replies(bot, 3))[2].removeprefix("Re: "))
    assert (event["event"], event["details"]) == ("action_decided", ASK["details"])

    await say(product, bot, "Hello, I am new", sender="+34600000001")
    await product.replies(bot, 4)
    await product.settled(bot)
    await until(
        lambda: product.rows(
            bot,
            "SELECT status FROM messages WHERE user_id = $1 AND usage_day IS NOT NULL",
        ),
        lambda found: {row["status"] for row in found} == {"delivered"},
    )
    assert await recounted(product, bot) == (4, 3, 1)
    assert (await product.rows(bot, "SELECT count(*) FROM contacts WHERE user_id = $1"))[0][0] == 3
