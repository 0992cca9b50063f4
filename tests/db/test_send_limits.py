"""How fast replies may leave: a number's bucket, a pair's, pauses, and who goes first."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest

from db.ids import ConversationId, MessageId, WorkerId
from db.pool import Pool, tenant
from db.sends import (
    Pace,
    claim_sends,
    drain_pair,
    hold_number,
    mark_sending,
    resume_number,
    slow_number,
)
from tests.factories import (
    Owner,
    Tenant,
    make_conversation,
    make_conversations,
    make_message,
    make_tenant,
)

ME = WorkerId(1)
ANY = 1_000
PAIR = Pace(every=timedelta(seconds=6), burst=3)
OLD = timedelta(hours=24)
FIRST, LONGEST = timedelta(seconds=30), timedelta(minutes=15)
RATE = 56


@pytest.fixture(autouse=True)
async def nobody_else(owner: Owner) -> AsyncIterator[None]:
    """Claims look across tenants, so no test may find another's."""
    yield
    await owner.execute("DELETE FROM users")


async def queue_many(owner: Owner, user: Tenant, count: int, *, bulk: bool = False) -> None:
    """One reply in each of as many conversations."""
    ids = await make_conversations(owner, user, count)
    await owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " sent_at, bulk) SELECT user_id, chatbot_id, contact_id, id, 'outbound', 'queued', now(),"
        " $2 FROM conversations WHERE id = ANY ($1::bigint[]) ORDER BY id",
        ids,
        bulk,
    )


async def claim(pool: Pool, limit: int = ANY, worker: WorkerId = ME) -> list[MessageId]:
    async with pool.acquire() as conn:
        claims = await claim_sends(conn, worker, limit, ANY, PAIR, OLD)
    return [c.message_id for c in claims]


async def pass_time(owner: Owner, seconds: float) -> None:
    """For every bucket and pause."""
    await owner.execute(
        "UPDATE send_limits SET full_at = full_at - $1::interval, held_until = held_until -"
        " $1::interval, slowed_at = slowed_at - $1::interval",
        timedelta(seconds=seconds),
    )
    await owner.execute(
        "UPDATE conversations SET pair_full_at = pair_full_at - $1::interval",
        timedelta(seconds=seconds),
    )


def came_back(since: float, rate: float) -> float:
    """At most so many tokens, however slow this machine is."""
    return (time.monotonic() - since) * rate + 1


def doubled(rate: float, since: float) -> float:
    """What a slow rate has grown to: twice as much every minute."""
    return rate * 2 ** ((time.monotonic() - since) / 60)


# ---- a number -----------------------------------------------------------------------------------


async def test_a_number_sends_a_second_s_worth_at_once_and_then_at_its_rate(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    await queue_many(owner, user, 3 * RATE)
    since = time.monotonic()
    assert len(await claim(pool)) == RATE
    at_once = len(await claim(pool))
    assert at_once <= came_back(since, RATE)
    await pass_time(owner, 0.5)
    assert RATE / 2 <= at_once + len(await claim(pool)) <= RATE / 2 + came_back(since, RATE)
    await pass_time(owner, 60)
    assert len(await claim(pool)) == RATE


async def test_claims_at_once_do_not_spend_a_token_twice(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    await owner.execute("UPDATE send_limits SET max_rate = 10")
    await queue_many(owner, user, 100)
    taken: list[MessageId] = []
    since = time.monotonic()
    for _ in range(5):
        for some in await asyncio.gather(*(claim(pool, 4, WorkerId(n)) for n in range(8))):
            taken += some
    assert len(taken) == len(set(taken))
    assert 10 <= len(taken) <= 10 + came_back(since, 10)


async def test_a_token_that_another_claim_is_spending_is_spent(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    await owner.execute("UPDATE send_limits SET max_rate = 0.01")
    await queue_many(owner, user, 1, bulk=True)
    async with pool.acquire() as conn, conn.transaction():
        assert len(await claim_sends(conn, ME, ANY, ANY, PAIR, OLD)) == 1
        await queue_many(owner, user, 1)  # it would go first, if there were a token
        assert await claim(pool) == []
    assert await claim(pool) == []
    await pass_time(owner, 101)
    assert len(await claim(pool)) == 1


async def test_a_slow_number_sends_one_after_the_other(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    await owner.execute("UPDATE send_limits SET max_rate = 0.1")
    await queue_many(owner, user, 3)
    assert len(await claim(pool)) == 1
    await pass_time(owner, 9)
    assert await claim(pool) == []
    await pass_time(owner, 1)
    assert len(await claim(pool)) == 1


async def test_a_number_s_pace_is_nobody_else_s(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    beside = Tenant(
        user.user_id,
        await owner.fetchval(
            "INSERT INTO chatbots (user_id, name) VALUES ($1, 'other') RETURNING id", user.user_id
        ),
        "",
        "",
    )
    await owner.execute(
        "UPDATE send_limits SET max_rate = 1 WHERE chatbot_id = $1", user.chatbot_id
    )
    await queue_many(owner, user, 30)
    await queue_many(owner, beside, 5)
    await queue_many(owner, await make_tenant(owner), 5)
    assert len(await claim(pool, limit=20)) == 11


async def test_too_fast_halves_the_rate_once_for_all_that_were_on_their_way(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    await queue_many(owner, user, 200)

    async def slow() -> datetime:
        async with tenant(pool, user.user_id) as conn:
            await slow_number(conn, user.user_id, user.chatbot_id, timedelta(minutes=1))
            at: datetime = await conn.fetchval("SELECT now()")
            return at

    async def slowed() -> float:
        rate: float = await owner.fetchval("SELECT slow_rate FROM send_limits")
        return rate

    since = time.monotonic()
    told = await asyncio.gather(*(slow() for _ in range(8)))
    while max(told) - min(told) >= timedelta(seconds=1):  # not together, on a machine so busy
        await owner.execute("UPDATE send_limits SET slow_rate = NULL, slowed_at = NULL")
        since = time.monotonic()
        told = await asyncio.gather(*(slow() for _ in range(8)))
    assert await slowed() == RATE / 2
    assert await claim(pool) == []
    await owner.execute("UPDATE send_limits SET full_at = now()")
    # No bucket holds more than a second's worth.
    assert RATE / 2 <= len(await claim(pool)) <= doubled(RATE / 2, since) + 1
    await pass_time(owner, 2)
    await slow()
    assert RATE / 4 <= await slowed() <= doubled(RATE / 4, since - 2)
    await pass_time(owner, 60)
    assert RATE / 2 <= len(await claim(pool)) <= doubled(RATE / 4, since - 62) + 1
    await pass_time(owner, 600)
    assert len(await claim(pool)) == RATE
    for _ in range(12):
        await pass_time(owner, 2)
        await slow()
    assert await slowed() == 1


# ---- a pair -------------------------------------------------------------------------------------


async def send_next(pool: Pool, owner: Owner, user: Tenant) -> list[MessageId]:
    """Claims, and sends what was claimed."""
    sent = await claim(pool)
    for message in sent:
        async with tenant(pool, user.user_id) as conn:
            await mark_sending(conn, user.user_id, message, PAIR.every)
        await owner.execute("UPDATE messages SET status = 'accepted' WHERE id = $1", message)
    return sent


async def talk(
    owner: Owner, user: Tenant, count: int
) -> tuple[ConversationId, Sequence[MessageId]]:
    contact, conversation = await make_conversation(owner, user)
    return conversation, [
        await make_message(owner, user, contact, conversation) for _ in range(count)
    ]


async def test_a_customer_gets_a_burst_and_then_one_every_so_often(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    _, messages = await talk(owner, user, 6)
    _, others = await talk(owner, user, 1)
    assert await send_next(pool, owner, user) == [messages[0], others[0]]
    assert await send_next(pool, owner, user) == [messages[1]]
    assert await send_next(pool, owner, user) == [messages[2]]
    assert await send_next(pool, owner, user) == []
    await pass_time(owner, 6)
    assert await send_next(pool, owner, user) == [messages[3]]
    assert await send_next(pool, owner, user) == []
    await pass_time(owner, 12)
    assert await send_next(pool, owner, user) == [messages[4]]
    assert await send_next(pool, owner, user) == [messages[5]]


async def test_a_pair_that_was_too_fast_has_one_try(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    conversation, messages = await talk(owner, user, 3)
    await talk(owner, user, 1)
    async with tenant(pool, user.user_id) as conn:
        await drain_pair(conn, user.user_id, conversation, PAIR.every * (PAIR.burst - 1))
    assert messages[0] in await send_next(pool, owner, user)
    assert await send_next(pool, owner, user) == []
    await pass_time(owner, 6)
    assert await send_next(pool, owner, user) == [messages[1]]


# ---- live before bulk ---------------------------------------------------------------------------


async def test_one_tenant_s_bulk_waits_for_another_s_live_replies(pool: Pool, owner: Owner) -> None:
    one, other = await make_tenant(owner), await make_tenant(owner)
    await queue_many(owner, one, 4, bulk=True)
    await queue_many(owner, other, 4)
    async with pool.acquire() as conn:
        claims = await claim_sends(conn, ME, 4, 100, PAIR, OLD)
    assert {c.user_id for c in claims} == {other.user_id}


async def test_live_replies_leave_before_bulk(pool: Pool, owner: Owner) -> None:
    user, other = await make_tenant(owner), await make_tenant(owner)
    await owner.execute("UPDATE send_limits SET max_rate = 4")
    for one in (user, other):
        await queue_many(owner, one, 20, bulk=True)
        await queue_many(owner, one, 3)
    claimed = await claim(pool, 6)
    assert len(claimed) == 6
    bulk = await owner.fetchval(
        "SELECT count(*) FROM messages WHERE id = ANY ($1::bigint[]) AND bulk", claimed
    )
    assert bulk == 0
    assert len(await claim(pool)) == 2  # the bulk takes what is left


# ---- pauses -------------------------------------------------------------------------------------


async def hold(pool: Pool, user: Tenant) -> tuple[float, int] | None:
    async with tenant(pool, user.user_id) as conn:
        held = await hold_number(conn, user.user_id, user.chatbot_id, FIRST, LONGEST, "account:190")
        now = await conn.fetchval("SELECT now()")
    return (round((held.held_until - now).total_seconds()), held.holds) if held else None


async def test_a_paused_number_is_tried_by_one_message_at_a_time(pool: Pool, owner: Owner) -> None:
    user, other = await make_tenant(owner), await make_tenant(owner)
    await queue_many(owner, user, 10)
    assert await hold(pool, user) == (30, 1)
    assert await hold(pool, user) is None  # those that were on their way together
    await queue_many(owner, other, 1)
    assert len(await claim(pool)) == 1
    await pass_time(owner, 31)
    assert len(await claim(pool)) == 1
    assert await claim(pool) == []
    assert await hold(pool, user) == (60, 2)
    await pass_time(owner, 61)
    (tried,) = await claim(pool)
    async with tenant(pool, user.user_id) as conn:
        assert await resume_number(conn, user.user_id, user.chatbot_id) is True
        assert await resume_number(conn, user.user_id, user.chatbot_id) is False
    assert len(await claim(pool)) == 8
    assert tried


async def test_a_try_that_dies_is_followed_by_another(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    await queue_many(owner, user, 3)
    await hold(pool, user)
    await pass_time(owner, 31)
    assert len(await claim(pool)) == 1
    await pass_time(owner, 31)
    assert len(await claim(pool)) == 1


async def test_pauses_grow_to_the_longest(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    pauses = []
    for _ in range(9):
        held = await hold(pool, user)
        assert held is not None
        pauses.append(held[0])
        await pass_time(owner, held[0] + 1)
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900, 900]


@pytest.mark.parametrize(
    "change", ["access_token = 'enc:v1:new:x'", "phone_number_id = 'another-one'"]
)
async def test_what_a_pause_waits_for_ends_it(pool: Pool, owner: Owner, change: str) -> None:
    user = await make_tenant(owner)
    await queue_many(owner, user, 3)
    await hold(pool, user)
    await owner.execute(f"UPDATE chatbots SET {change} WHERE id = $1", user.chatbot_id)
    assert len(await claim(pool)) == 3


async def test_what_is_too_old_leaves_the_queue_of_a_paused_number(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    await queue_many(owner, user, 5)
    await hold(pool, user)
    await owner.execute(
        "UPDATE messages SET sent_at = now() - interval '25 h'"
        " WHERE id IN (SELECT id FROM messages ORDER BY id LIMIT 2)"
    )
    taken = []
    for _ in range(4):
        taken += await claim(pool)
        await owner.execute(
            "UPDATE messages SET status = 'failed' WHERE id = ANY ($1::bigint[])", taken
        )
    assert len(taken) == 2
    await pass_time(owner, 31)
    assert len(await claim(pool)) == 1  # and it did not use up the try


async def test_every_chatbot_has_its_limits(owner: Owner) -> None:
    user = await make_tenant(owner)
    await owner.execute("INSERT INTO chatbots (user_id, name) VALUES ($1, 'x')", user.user_id)
    missing = await owner.fetchval(
        "SELECT count(*) FROM chatbots c WHERE NOT EXISTS"
        " (SELECT FROM send_limits l WHERE l.user_id = c.user_id AND l.chatbot_id = c.id)"
    )
    assert missing == 0
