"""A tenant of whom every counter has counted something, and what the counters' columns are."""

import re
from datetime import date, timedelta
from pathlib import Path

from db.asks import Bill, count_test_calls
from db.ids import ChatbotId, ConversationId, UserId, WorkerId
from db.model_calls import Calls, count_model_calls
from db.pool import Pool, tenant
from db.reconcile import Found, recount
from db.usage import Reserving, count_takeover, take_actions
from handlers.figures import make_due_figures
from handlers.ingest.recording import record_batch
from handlers.process.sweeps import Sweep
from tests.db.units import give_back_messages, reserve_messages, settle_messages
from tests.factories import Owner, Tenant, make_conversations, make_tenant
from tests.recording import DEBOUNCE, to, wrote

SCHEMA = Path(__file__).parents[2] / "db" / "schema.sql"
NUMBERS = ("integer", "bigint", "numeric")
NO_COUNTERS = {"id", "user_id", "chatbot_id", "year", "month"}
OVERAGE = (
    '{"limits": {"on_message_limit": "overage", "overage_message_price": "0.05",'
    ' "max_contacts": 1000}}'
)
MODEL = "some 'model'"


def counters(table: str) -> list[str]:
    """Columns with numbers, as the catalogue has them (tests/db holds the file to it)."""
    found = re.search(rf"(?ms)^CREATE TABLE {table} \(\n(.*?)^\)", SCHEMA.read_text())
    assert found is not None
    columns = re.findall(r"^    (\w+) +(\w+)", found[1], re.MULTILINE)
    return [name for name, kind in columns if kind in NUMBERS and name not in NO_COUNTERS]


async def today_of(owner: Owner, user: Tenant) -> date:
    day: date = await owner.fetchval(
        "SELECT usage_day(timezone, usage_day_floor) FROM users WHERE id = $1", user.user_id
    )
    return day


async def reply(pool: Pool, user: Tenant, conversation_id: ConversationId) -> None:
    """A message within the limits or beyond them, as a turn and its end count it."""
    async with tenant(pool, user.user_id) as conn:
        held = await reserve_messages(conn, user.user_id, conversation_id, 1)
        assert held.outcome == "granted"
        await conn.execute(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " status, usage_day, overage) SELECT user_id, chatbot_id, contact_id, id, 'outbound',"
            " 'delivered', $3, $4 FROM conversations WHERE user_id = $1 AND id = $2",
            *(user.user_id, conversation_id, held.usage_day, held.overage),
        )
        await settle_messages(conn, user.user_id, conversation_id, 1)


async def model_calls(pool: Pool, user: Tenant, epoch: int, conversation_id: int = 1) -> None:
    reserving = Reserving(user.user_id, ConversationId(conversation_id), WorkerId(1), epoch)
    of = Calls(model=MODEL, calls=2, input_tokens=900, cached_tokens=400, output_tokens=70)
    async with tenant(pool, user.user_id) as conn:
        count_model_calls(conn, reserving, ChatbotId(user.chatbot_id), of)


async def calls_of_tests(pool: Pool, user: Tenant, day: date) -> None:
    of = Calls(model=MODEL, calls=1, input_tokens=90, cached_tokens=40, output_tokens=7)
    async with tenant(pool, user.user_id) as conn:
        bill = Bill(chatbot_id=user.chatbot_id, usage_day=day)
        count_test_calls(conn, user.user_id, bill, of)


async def busy_tenant(owner: Owner, pool: Pool) -> Tenant:
    user = await make_tenant(owner, daily=3, config=OVERAGE, timezone="Pacific/Kiritimati")
    talks = await make_conversations(owner, user, 6)
    for talk in talks[:4]:  # three within the limit, one beyond
        await reply(pool, user, talk)
    day = await today_of(owner, user)
    async with tenant(pool, user.user_id) as conn:  # one comes back, one is held instead
        await conn.execute(
            "UPDATE messages SET usage_day = NULL, status = 'failed' WHERE id IN"
            " (SELECT min(id) FROM messages)"
        )
        await give_back_messages(conn, user.user_id, [day], [False])
        await reserve_messages(conn, user.user_id, talks[4], 1)
        assert await conn.fetchval("SELECT reserve_actions($1, $2, 2)", user.user_id, talks[4]) == (
            "granted"
        )
        assert await take_actions(conn, user.user_id, talks[4], 1) == day
        await conn.execute(
            "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details,"
            " usage_day) SELECT user_id, chatbot_id, contact_id, 'x', 'x', $3 FROM conversations"
            " WHERE user_id = $1 AND id = $2",
            *(user.user_id, talks[4], day),
        )
        count_takeover(conn, user.user_id, talks[5])
    await record_batch(
        pool,
        [to(user, wrote("w1"), wrote("w2"), wrote("w3", who="13035550222"))],
        DEBOUNCE,
    )
    await model_calls(pool, user, 1)
    await model_calls(pool, user, 2)
    await calls_of_tests(pool, user, day)
    return user


async def quiet(owner: Owner) -> None:
    """As if no counter had moved for a while, and all figures were due."""
    await owner.execute(
        "UPDATE usage_tracking SET updated_at = updated_at - interval '10 min';"
        "UPDATE monthly_usage_summary SET figures_due = now()"
    )


async def make_figures(pool: Pool) -> None:
    await make_due_figures(pool, Sweep("figures"))


async def differences(owner: Owner, user: Tenant) -> list[Found]:
    return [one for one in await recount(owner, UserId(user.user_id)) if one.what.why is None]


def days_after(day: date, days: int) -> date:
    return day + timedelta(days=days)
