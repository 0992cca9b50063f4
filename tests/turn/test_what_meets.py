"""What happens to a conversation while a turn of it thinks, or because of what a turn did."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from langchain_core.messages import AIMessage, AnyMessage

from db.conversations import forget_threads
from db.ids import ActionId
from db.pool import Conn, Pool, tenant
from handlers import facts
from handlers.actions import Similar, decide
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.agent.prompt import Briefing
from handlers.agent.remembering import REMEMBER
from handlers.agent.tools import PENDING, REQUEST, SEARCH, Toolbox
from handlers.fixed.texts import Kind, fixed_text
from tests.conftest import Database
from tests.turn.shop import Shop, Who, open_shop
from tests.turn.test_memory import change_of, changed, known
from tests.turn.test_unanswered import noted


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as opened:
        yield opened


async def approved(shop: Shop, similar: Similar | None = None) -> None:
    """The first request, by a person."""
    action_id = await shop.owner.fetchval("SELECT min(id) FROM actions")
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        user_id = shop.tenant.user_id
        outcome = await decide(conn, user_id, ActionId(action_id), "approved", similar=similar)
    assert outcome is not None
    assert outcome.won


async def turns_due(shop: Shop, who: Who) -> int:
    """Until nothing is due, and no more than ten."""
    for n in range(10):
        due = await shop.owner.fetchval(
            "SELECT ready_at IS NOT NULL FROM conversations WHERE id = $1", who[1]
        )
        if not due:
            return n
        await shop.turn(who)
    return 10


async def requests(shop: Shop) -> list[str]:
    rows = await shop.owner.fetch("SELECT status FROM actions ORDER BY id")
    return [row["status"] for row in rows]


async def test_a_decision_that_is_told_asks_for_nothing(shop: Shop) -> None:
    """The model asks for the same again whatever it hears: each would be approved by the decision,
    and told, and asked for again, with nobody writing a word."""
    who = await shop.customer()
    call = {"name": REQUEST, "arguments": {"type": "voucher", "details": "A voucher."}}
    asks, says = {"tool_calls": [call]}, {"reply": "It is on its way."}
    await shop.simulator.rules(
        {"match": "voucher", **asks, "times": 1},
        {"tool_match": "pending|already requested|error", **says},
        {"tool_match": "decided", **asks},
        says,
    )
    await shop.turn(who, "a voucher please")
    assert await requests(shop) == ["pending"]
    await approved(shop, Similar())
    assert await turns_due(shop, who) == 1
    assert await requests(shop) == ["approved"]


async def test_a_row_for_a_person_that_is_cited_for_a_decision_asks_for_no_other(
    shop: Shop,
) -> None:
    row = await shop.owner.fetchval(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, category, question, answer)"
        " VALUES ($1, $2, 'needs_human', 'Can I get a refund?', 'Our manager decides.')"
        " RETURNING id",
        *(shop.tenant.user_id, shop.tenant.chatbot_id),
    )
    await shop.simulator.rules({"reply": f"Our manager decides that.\n[[{row}]]"})
    who = await shop.customer()
    await shop.turn(who, "Can I get a refund?")
    assert await requests(shop) == ["pending"]
    await approved(shop, Similar())
    assert await turns_due(shop, who) == 1
    assert await requests(shop) == ["approved"]


class Meanwhile:
    """While it thinks, something happens; before, it notes a fact."""

    name = "m"

    def __init__(self, happens: Callable[[], Awaitable[Any]], says: str = "I see.") -> None:
        self.happens = happens
        self.says = says

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        await tools.call(REMEMBER, {"about": "allergy", "text": "nuts"})
        await self.happens()
        return AIMessage(self.says)


async def test_a_fact_goes_with_a_message_that_came_while_the_answer_before_was_made(
    shop: Shop,
) -> None:
    """That answer stands between the message and the one that its turn noted the fact by."""
    who = await shop.customer()
    before = shop.agent

    async def comes() -> None:
        shop.agent = before
        seq = await shop.owner.fetchval(
            "UPDATE conversations SET input_seq = input_seq + 1 WHERE id = $1 RETURNING input_seq",
            who[1],
        )
        await shop.owner.execute(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " status, content_text, message_id, input_seq, sent_at)"
            " VALUES ($1, $2, $3, $4, 'inbound', 'received', 'I am allergic to nuts', 'w.late', $5,"
            " now())",
            *(shop.tenant.user_id, shop.tenant.chatbot_id, *who, seq),
        )

    shop.agent = Agent(Meanwhile(comes))
    await shop.turn(who, "Hello")
    await shop.owner.execute("DELETE FROM facts")
    call = {"name": REMEMBER, "arguments": {"about": "allergy", "text": "nuts"}}
    await shop.simulator.rules({"tool_match": "noted", "reply": "I see."}, {"tool_calls": [call]})
    await shop.turn(who, "is that a problem?")
    assert await known(shop) == [("allergy", "nuts")]
    assert await changed(shop, change_of("w.late", "revoke"))
    assert await known(shop) == []


async def test_a_question_that_was_revoked_while_the_turn_thought_is_not_noted(shop: Shop) -> None:
    who = await shop.customer()

    async def revokes() -> None:
        assert await changed(shop, change_of("w.1", "revoke"))

    shop.agent = Agent(Meanwhile(revokes, "I do not know.\n[[]]"))
    await shop.turn(who, "my card number 4111 1111 1111 1111 is refused", "do you know why?")
    assert await noted(shop.owner) == []


async def test_a_question_that_was_answered_late_goes_when_it_is_revoked(shop: Shop) -> None:
    who = await shop.customer()
    await shop.simulator.rules({"reply": "I do not know.\n[[]]"})
    await shop.turn(who, "do you sell roses?")
    await shop.owner.execute(
        "UPDATE messages SET created_at = now() - $1::interval, sent_at = now() - $1::interval"
        " WHERE message_id = 'w.1'",
        timedelta(hours=3),
    )
    await shop.turn(who, "do you sell tulips?")
    assert await noted(shop.owner) == ["do you sell roses?", "do you sell tulips?"]
    assert await changed(shop, change_of("w.1", "revoke"))
    assert await noted(shop.owner) == ["do you sell tulips?"]


async def test_a_fact_that_is_deleted_while_its_thread_is_made_anew_is_told_by_nothing(
    shop: Shop,
) -> None:
    who = await shop.customer()
    note = {"name": REMEMBER, "arguments": {"about": "allergy", "text": "peculiar nuts"}}
    await shop.simulator.rules(
        {"tool_match": "noted", "reply": "I see."},
        {"match": "allergy", "tool_calls": [note]},
        {"reply": "Yes."},
    )
    await shop.turn(who, "You know my allergy")
    before = shop.agent
    async with tenant(shop.pool, shop.tenant.user_id) as conn:
        await forget_threads(conn, shop.tenant.user_id, [who[1]])

    async def forgets() -> None:
        fact_id = await shop.owner.fetchval("SELECT id FROM facts WHERE text = 'peculiar nuts'")
        async with tenant(shop.pool, shop.tenant.user_id) as conn:
            assert await facts.forget(conn, shop.tenant.user_id, fact_id) is not None

    class Forgets(Meanwhile):
        async def answer(
            self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
        ) -> AIMessage:
            if messages[-1].text.startswith("noted"):
                await self.happens()
                return AIMessage("I see.")
            call = {"name": REMEMBER, "args": {"about": "x", "text": "peculiar nuts"}, "id": "c1"}
            return AIMessage("", tool_calls=[call])

    shop.agent = Agent(Forgets(forgets))
    await shop.turn(who, "Do you remember?")
    await shop.owner.execute("DELETE FROM facts")
    shop.agent = before
    (request,) = (await shop.turn(who, "Hello")).requests
    assert "peculiar nuts" not in json.dumps(request["messages"])


async def scores(shop: Shop) -> list[float | None]:
    rows = await shop.owner.fetch(
        "SELECT confidence_score FROM messages WHERE direction = 'outbound' ORDER BY id"
    )
    return [None if row[0] is None else float(row[0]) for row in rows]


async def test_a_reply_says_how_sure_the_search_behind_it_was(shop: Shop) -> None:
    who = await shop.customer()
    await shop.simulator.rules({"reply": "From 7 to 18.\n[[1]]"})
    await shop.turn(who, "When are you open?")
    assert await scores(shop) == [None]  # all rows stood in the prompt: nobody searched
    await shop.knows(*((f"What is item {n}?", "x" * 200) for n in range(80)))
    row = await shop.owner.fetchval("SELECT id FROM bot_knowledge_base WHERE question LIKE 'When%'")
    call = {"name": SEARCH, "arguments": {"query": "when are you open"}}
    await shop.simulator.rules(
        {"tool_match": "From 7", "reply": f"From 7 to 18.\n[[{row}]]"}, {"tool_calls": [call]}
    )
    await shop.turn(who, "When are you open?")
    shop.agent = Agent(Offline())
    await shop.turn(who, "When are you open?")
    await shop.turn(who, "Have you seen my uncle Wyndham?")
    none, searched, copied, unknown = await scores(shop)
    assert (none, unknown) == (None, None)
    assert searched is not None
    assert copied is not None
    assert 0.5 < searched <= 1
    assert 0.5 < copied <= 1


async def with_a_decision(shop: Shop) -> Who:
    """A request that was approved, and nobody has told yet."""
    who = await shop.customer()
    call = {"name": REQUEST, "arguments": {"type": "refund", "details": "Order K7Q2."}}
    await shop.simulator.rules({"tool_match": "pending", "reply": "Soon."}, {"tool_calls": [call]})
    await shop.turn(who, "a refund please")
    await approved(shop)
    return who


async def test_a_decision_is_told_although_the_model_fails_after_it_made_a_request(
    shop: Shop,
) -> None:
    who = await with_a_decision(shop)
    call = {"name": REQUEST, "arguments": {"type": "invoice", "details": "An invoice."}}
    await shop.simulator.rules(
        {"tool_match": "pending", "status": 400}, {"match": "invoice", "tool_calls": [call]}
    )
    (said,) = (await shop.turn(who, "and an invoice")).said
    assert "has been approved" in said
    assert fixed_text(Kind.REQUEST_KEPT, "en") in said
    assert await turns_due(shop, who) == 0


@pytest.mark.parametrize("says", ["It is approved: 999 EUR.", "https://elsewhere.example/x"])
async def test_a_decision_is_told_although_the_answer_may_not_be_sent(
    shop: Shop, says: str
) -> None:
    who = await with_a_decision(shop)
    await shop.simulator.rules({"reply": says})
    (said,) = (await shop.turn(who)).said
    assert "has been approved" in said
    assert says not in said


async def test_a_customer_s_day_is_locked_before_the_tenant_s(
    shop: Shop, database: Database
) -> None:
    """Whoever reserves has the customer's day and waits for the tenant's: a turn with a request
    that had them the other way round was a deadlock, and an answer that was paid for was lost."""
    await shop.owner.execute(
        "UPDATE user_subscriptions"
        """ SET subscription_config = '{"limits": {"max_messages_per_contact_day": 9}}'"""
    )
    who = await shop.customer()

    class Asks(Meanwhile):
        async def answer(
            self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
        ) -> AIMessage:
            assert await tools.call(REQUEST, {"type": "refund", "details": "x"}) == PENDING
            await self.happens()
            return AIMessage(self.says)

    other, watching = [await asyncpg.connect(database.owner_url) for _ in range(2)]
    locked = asyncio.Event()

    async def reserves() -> None:
        await other.execute("BEGIN")
        await other.execute("SELECT FROM contact_days FOR UPDATE")
        locked.set()

    shop.agent = Agent(Asks(reserves))
    turn = asyncio.create_task(shop.turn(who, "a refund please"))
    try:
        async with asyncio.timeout(30):
            await locked.wait()
            while not await watching.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND datname = current_database())"
            ):
                await asyncio.sleep(0.01)
        await other.execute("SELECT FROM usage_tracking FOR UPDATE NOWAIT")
    finally:
        await other.close()
        await watching.close()
        said = (await turn).said
    assert said == ["I see."]


async def test_an_answer_is_not_lost_to_the_line_about_advertising(shop: Shop) -> None:
    who = await shop.customer()
    await shop.simulator.rules({"reply": "We bake bread every day. " * 163})
    (said,) = (await shop.turn(who, "STOP", "what do you bake?")).said
    assert said.startswith("We bake bread every day. We bake")
    assert said.endswith(fixed_text(Kind.OPTED_OUT, "en"))
    assert len(said) <= 4_096
