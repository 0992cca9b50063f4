"""What a turn answers, and what it leaves alone."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from db.conversation_events import HANDED_BACK, add_event
from db.conversations import claim_conversations
from db.ids import ConversationId, WorkerId
from db.messages import read_messages
from db.pool import Conn, Pool, tenant, tenant_transaction
from db.usage import Reserving, reserve_for_turn
from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.agent.prompt import SHOWN_UNITS, Briefing
from handlers.agent.tools import Toolbox
from handlers.fixed.texts import Kind, fixed_text
from handlers.ingest.recording import record_batch
from handlers.turns.run import run_turn
from tests.factories import Tenant, make_conversation, make_message, make_tenant
from tests.recording import DEBOUNCE, to, wrote
from tests.unit.kinds import interactive

ME = WorkerId(1)
NOTICE = fixed_text(Kind.MEDIA, "en")


async def turn(pool: Pool, owner: Conn, answerer: Answerer | None = None) -> None:
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 100)
    await run_turn(pool, Agent(answerer or Offline()), ME, claim)


async def test_a_turn_that_finds_nothing_unanswered_says_and_spends_nothing(
    pool: Pool, owner: Conn
) -> None:
    """A conversation may come up once too often; what was answered is not answered again."""
    user = await make_tenant(owner)
    who = await make_conversation(owner, user, input_seq=1)
    await make_message(
        *(owner, user, *who), direction="inbound", status="received", wamid="w.1", input_seq=1
    )
    for _ in range(3):
        await turn(pool, owner)
    assert await owner.fetchval("SELECT count(*) FROM messages WHERE direction = 'outbound'") == 1
    assert await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking") == 1
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0


@dataclass(slots=True)
class Crashes:
    """While the first answer is thought of, the database comes back without the reservation."""

    owner: Conn
    name: str = "m"
    asked: int = 0

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        self.asked += 1
        if self.asked == 1:
            await self.owner.execute("DELETE FROM usage_reservations")
        return AIMessage("Yes.")


async def test_a_reservation_that_a_crash_took_back_is_made_again(pool: Pool, owner: Conn) -> None:
    """Its commit does not wait for the disk."""
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await says(owner, user, conversation_id, 1, "{}")
    answerer = Crashes(owner)
    await turn(pool, owner, answerer)
    assert await said(owner) == []
    assert await owner.fetchval("SELECT sum(daily_messages_sent) FROM usage_tracking") == 0
    await turn(pool, owner, answerer)
    assert [text for text, *_ in await said(owner)] == ["Yes."]
    assert await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking") == 1
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0


async def test_only_the_reservation_does_not_wait_for_the_disk(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user, lease_owner=ME, epoch=1)
    turn = Reserving(user.user_id, conversation_id, ME, 1)
    waits = "SELECT current_setting('synchronous_commit')"
    async with pool.acquire() as conn:
        async with conn.transaction():
            assert await reserve_for_turn(conn, turn, 1) is not None
            assert await conn.fetchval(waits) == "off"
        async with tenant_transaction(conn, user.user_id):
            assert await conn.fetchval(waits) == "on"


async def says(
    owner: Conn, user: Tenant, conversation_id: ConversationId, seq: int, metadata: str
) -> None:
    """The customer sends something of which the record says this."""
    text = None if "revoked" in metadata else f"[what {seq} is]"
    await owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " content_text, message_id, input_seq, metadata)"
        " SELECT $1, $2, contact_id, id, 'inbound', 'received', $4, 'w.' || $5::int, $5,"
        " $6::text::jsonb FROM conversations WHERE id = $3",
        user.user_id,
        user.chatbot_id,
        conversation_id,
        text,
        seq,
        metadata,
    )
    await owner.execute(
        "UPDATE conversations SET input_seq = $2 WHERE id = $1", conversation_id, seq
    )


async def said(owner: Conn) -> list[tuple[str, str, str | None, bool]]:
    rows = await owner.fetch(
        "SELECT content_text, metadata ->> 'kind' AS kind, in_reply_to, usage_day IS NULL AS free"
        " FROM messages WHERE direction = 'outbound' ORDER BY id"
    )
    return [tuple(row) for row in rows]


async def test_media_alone_get_an_honest_notice_once_a_day(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await says(owner, user, conversation_id, 1, '{"opaque": true}')
    await says(owner, user, conversation_id, 2, '{"opaque": true}')
    await turn(pool, owner)
    assert await said(owner) == [(NOTICE, "notice", "w.2", True)]
    await says(owner, user, conversation_id, 3, '{"opaque": true}')
    await turn(pool, owner)
    assert len(await said(owner)) == 1
    rows = await owner.fetch(
        "SELECT metadata ->> 'reason' AS reason, ai_processed FROM messages"
        " WHERE direction = 'inbound'"
    )
    assert [tuple(row) for row in rows] == [("media", False)] * 3
    assert await owner.fetchval("SELECT answered_seq FROM conversations") == 3
    await owner.execute(
        "UPDATE conversations SET media_notice_at = media_notice_at - interval '24 h'"
    )
    await says(owner, user, conversation_id, 4, '{"opaque": true}')
    await turn(pool, owner)
    assert [row[0] for row in await said(owner)] == [NOTICE, NOTICE]
    assert await owner.fetchval("SELECT count(*) FROM usage_reservations") == 0
    assert not await owner.fetchval("SELECT sum(daily_messages_sent) FROM usage_tracking")


async def test_media_beside_a_text_are_the_model_s(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await says(owner, user, conversation_id, 1, "{}")
    await says(owner, user, conversation_id, 2, '{"opaque": true}')
    await turn(pool, owner)
    ((_, kind, _, free),) = await said(owner)
    assert (kind, free) == ("reply", False)


async def test_the_record_shows_what_was_of_one_turn(pool: Pool, owner: Conn) -> None:
    """docs/schema.md says how, and the page of `make dev` tells turns apart by it."""
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await says(owner, user, conversation_id, 1, "{}")
    await says(owner, user, conversation_id, 2, "{}")
    async with tenant(pool, user.user_id) as conn:
        assert await add_event(conn, user.user_id, conversation_id, HANDED_BACK, {})
    await turn(pool, owner)
    first, second, reply = await owner.fetch("SELECT * FROM messages ORDER BY id")
    assert first["processing_duration"] == second["processing_duration"] is not None
    assert reply["in_reply_to"] == second["message_id"]
    event = await owner.fetchrow("SELECT settled_at FROM conversation_events")
    assert event is not None
    assert event["settled_at"] == reply["created_at"]


async def test_what_was_revoked_is_not_answered_nor_quoted(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await says(owner, user, conversation_id, 1, '{"revoked": "2026-01-01T00:00:00Z"}')
    await turn(pool, owner)
    assert await said(owner) == []
    await says(owner, user, conversation_id, 2, "{}")
    await says(owner, user, conversation_id, 3, '{"revoked": "2026-01-01T00:00:00Z"}')
    await turn(pool, owner)
    ((_, kind, quoted, _),) = await said(owner)
    assert (kind, quoted) == ("reply", "w.2")


async def test_a_person_s_conversation_gets_no_media_notice(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
        " taken_over_by = 'human'"
    )
    await says(owner, user, conversation_id, 1, '{"opaque": true}')
    await turn(pool, owner)
    assert await said(owner) == []


async def test_a_thread_that_was_to_be_rebuilt_still_is_when_its_answer_stayed_unsaid(
    pool: Pool, owner: Conn
) -> None:
    """A person came in while the model thought, so what it rebuilt was not stored."""
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await says(owner, user, conversation_id, 1, "{}")
    await owner.execute("UPDATE conversations SET rebuild_thread = true")
    take_over = "UPDATE conversations SET taken_over_until = 'infinity', taken_over_by = 'human'"
    await turn(pool, owner, TakenOver(owner, take_over))
    assert await said(owner) == []
    assert await owner.fetchval("SELECT rebuild_thread FROM conversations")


async def test_a_thread_is_rebuilt_once(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, user)
    await says(owner, user, conversation_id, 1, "{}")
    await owner.execute("UPDATE conversations SET rebuild_thread = true")
    await turn(pool, owner, TakenOver(owner, "SELECT 1"))
    assert [text for text, *_ in await said(owner)] == ["Yes."]
    assert not await owner.fetchval("SELECT rebuild_thread FROM conversations")


@dataclass(slots=True)
class TakenOver:
    """While it thinks, somebody does something to the conversation."""

    owner: Conn
    statement: str
    name: str = "m"

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        await self.owner.execute(self.statement)
        return AIMessage("Yes.")


@dataclass(slots=True)
class Listens:
    heard: list[str] = field(default_factory=list)
    name: str = "m"

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        self.heard += [m.text for m in messages if isinstance(m, HumanMessage)]
        return AIMessage("Yes.")


@pytest.mark.parametrize("characters", [5_000, 300_000])
async def test_the_end_of_a_long_text_reaches_the_model(
    pool: Pool, owner: Conn, characters: int
) -> None:
    user = await make_tenant(owner)
    words = "Dear bakery, " + "x" * characters + " Where is my order?"
    payload = to(user, wrote("w1", at=round(time.time()), text={"body": words}))
    await record_batch(pool, [payload], DEBOUNCE)
    listens = Listens()
    await turn(pool, owner, listens)
    (heard,) = listens.heard
    assert heard.startswith("Dear bakery, xxx")
    assert heard.endswith("xxx Where is my order?")
    assert "[\u2026 the middle of this message is left out here \u2026]" in heard
    assert len(heard) <= SHOWN_UNITS
    assert (
        await owner.fetchval("SELECT content_text FROM messages WHERE message_id = 'w1'") == words
    )


async def test_details_are_for_people_and_cost_a_turn_nothing(pool: Pool, owner: Conn) -> None:
    user = await make_tenant(owner)
    form = interactive("nfm_reply", name="flow", response_json='{"note": "' + "x" * 9_000 + '?"}')
    await record_batch(pool, [to(user, form)], DEBOUNCE)
    async with tenant(pool, user.user_id) as conn:
        conversation_id = await owner.fetchval("SELECT id FROM conversations")
        (row,) = await read_messages(conn, user.user_id, conversation_id, 0, 40, 30)
    assert "details" not in row.metadata
    kept = await owner.fetchval("SELECT metadata -> 'details' -> 'form' ->> 'note' FROM messages")
    assert kept == "x" * 9_000 + "?"
