"""At a message limit: what the turn does, says and counts."""

import asyncio
import json
from typing import Any

import pytest

from db.conversations import Claim, claim_conversations
from db.ids import ContactId, ConversationId, WorkerId
from db.pool import Conn, Pool
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.turns.decide import Notice, Silent, decide
from handlers.turns.run import _read, run_turn
from handlers.turns.turn import Turn
from handlers.turns.write import _write
from tests.factories import Tenant, make_conversation, make_message, make_tenant

ME = WorkerId(1)
NOTICE = "We answer again tomorrow."
REFUSE = json.dumps({"limits": {"on_message_limit": "refuse", "message_limit_notice": NOTICE}})
OVERAGE = json.dumps({"limits": {"on_message_limit": "overage", "message_limit_notice": NOTICE}})


@pytest.fixture
def agent() -> Agent:
    return Agent(Offline())


async def write(owner: Conn, user: Tenant, who: tuple[ContactId, ConversationId], n: int) -> str:
    """The customer's n-th message, due now."""
    wamid = f"w.{who[1]}.{n}"
    await make_message(
        *(owner, user, *who), direction="inbound", status="received", wamid=wamid, input_seq=n
    )
    await owner.execute(
        "UPDATE conversations SET input_seq = $2, ready_at = now() WHERE id = $1", who[1], n
    )
    return wamid


async def claimed(pool: Pool) -> Claim:
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 100)
    return claim


async def answer(pool: Pool, agent: Agent) -> None:
    """One turn of every conversation that is due."""
    async with pool.acquire() as conn:
        claims = await claim_conversations(conn, ME, 100, 100)
    await asyncio.gather(*(run_turn(pool, agent, ME, claim) for claim in claims))


async def outbound(owner: Conn) -> list[Any]:
    return await owner.fetch(
        "SELECT conversation_id, content_text, in_reply_to, usage_day, overage,"
        " metadata ->> 'kind' AS kind, metadata ->> 'reason' AS reason"
        " FROM messages WHERE direction = 'outbound' ORDER BY id"
    )


async def reasons(owner: Conn) -> list[tuple[bool, str | None]]:
    rows = await owner.fetch(
        "SELECT ai_processed, metadata ->> 'reason' FROM messages"
        " WHERE direction = 'inbound' ORDER BY id"
    )
    return [tuple(r) for r in rows]


async def counters(owner: Conn) -> tuple[int, ...]:
    row = await owner.fetchrow(
        "SELECT daily_messages_sent, messages_reserved, daily_overage_messages,"
        " (SELECT count(*) FROM usage_reservations) FROM usage_tracking"
    )
    return tuple(row or ())


async def test_a_plan_without_a_notice_says_nothing(pool: Pool, owner: Conn, agent: Agent) -> None:
    user = await make_tenant(owner, daily=0)
    await write(owner, user, await make_conversation(owner, user), 1)
    await answer(pool, agent)
    assert await outbound(owner) == []
    assert await reasons(owner) == [(False, "daily_message_limit")]
    assert await counters(owner) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("daily", "monthly", "limit"),
    [(0, 9, "daily_message_limit"), (9, 0, "monthly_message_limit")],
)
async def test_a_customer_is_told_once_a_day(
    pool: Pool, owner: Conn, agent: Agent, daily: int, monthly: int, limit: str
) -> None:
    user = await make_tenant(owner, daily=daily, monthly=monthly, config=REFUSE)
    who = await make_conversation(owner, user)
    await write(owner, user, who, 1)
    last = await write(owner, user, who, 2)
    await answer(pool, agent)
    (notice,) = await outbound(owner)
    assert tuple(notice) == (who[1], NOTICE, last, None, False, "notice", limit)
    assert await counters(owner) == (0, 0, 0, 0)

    for n in (3, 4):
        await write(owner, user, who, n)
        await answer(pool, agent)
    assert len(await outbound(owner)) == 1
    assert await reasons(owner) == [(False, limit)] * 4

    await owner.execute("UPDATE conversations SET limit_notice_day = limit_notice_day - 1")
    await write(owner, user, who, 5)
    await answer(pool, agent)
    assert [row["content_text"] for row in await outbound(owner)] == [NOTICE] * 2


async def test_every_conversation_is_told(pool: Pool, owner: Conn, agent: Agent) -> None:
    user = await make_tenant(owner, daily=3, config=REFUSE)
    people = [await make_conversation(owner, user) for _ in range(8)]
    for n in (1, 2):  # 2: those who were told once are not told again
        for who in people:
            await write(owner, user, who, n)
        await answer(pool, agent)
    rows = await outbound(owner)
    replies = [r for r in rows if r["kind"] == "reply"]
    told = [r["conversation_id"] for r in rows if r["kind"] == "notice"]
    assert len(replies) == 3
    assert {r["usage_day"] is not None for r in replies} == {True}
    assert sorted(told) == sorted(who[1] for who in people)
    assert await counters(owner) == (3, 0, 0, 0)


async def test_nobody_is_told_after_a_person_came_in(pool: Pool, owner: Conn, agent: Agent) -> None:
    user = await make_tenant(owner, daily=0, config=REFUSE)
    await write(owner, user, await make_conversation(owner, user), 1)
    claim = await claimed(pool)
    turn = Turn(pool, agent, ME, claim, None)
    read = await _read(turn)
    assert read is not None
    await owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
        " taken_over_by = 'human', taken_over_reason = 'test'"
    )
    assert isinstance(decide(read, None), Notice)
    assert await _write(turn, read, decide(read, None)) == Silent("daily_message_limit", False)
    assert await outbound(owner) == []
    assert await owner.fetchval("SELECT limit_notice_day FROM conversations") is None


async def test_a_turn_that_lost_its_lease_tells_nobody(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await make_tenant(owner, daily=0, config=REFUSE)
    await write(owner, user, await make_conversation(owner, user), 1)
    claim = await claimed(pool)
    turn = Turn(pool, agent, ME, claim, None)
    read = await _read(turn)
    assert read is not None
    await owner.execute("UPDATE conversations SET epoch = epoch + 1")
    assert await _write(turn, read, decide(read, None)) is None
    assert await outbound(owner) == []
    assert await owner.fetchval("SELECT limit_notice_day FROM conversations") is None


async def test_with_overage_everybody_is_answered_and_nobody_told(
    pool: Pool, owner: Conn, agent: Agent
) -> None:
    user = await make_tenant(owner, daily=3, config=OVERAGE)
    for _ in range(8):
        await write(owner, user, await make_conversation(owner, user), 1)
    await answer(pool, agent)
    rows = await outbound(owner)
    assert [r["kind"] for r in rows] == ["reply"] * 8
    assert sorted(r["overage"] for r in rows) == [False] * 3 + [True] * 5
    assert None not in {r["usage_day"] for r in rows}
    assert await reasons(owner) == [(True, None)] * 8
    assert await counters(owner) == (3, 0, 5, 0)
    assert await owner.fetchval("SELECT overage_messages FROM monthly_usage_summary") == 5
