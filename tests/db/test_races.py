"""Two transactions at the same row at the same moment, in both orders.

One of them is held open with its locks until the other is seen to wait for it (or not to wait), so
each of these happens in the same way every time. What only concerns one statement under many at
once is in test_turn_queries.py and test_metering.py; every order of everything in tests/model.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, TypeVar

import pytest

from db.conversations import Claim, fence, put_back, read_turn
from db.ids import MessageId, Wamid, WorkerId
from db.pool import Conn, Pool, tenant
from db.sends import (
    end_send,
    lock_send,
    lock_unknown,
    mark_accepted,
    mark_sending,
    mark_unknown,
    read_send,
    requeue_send,
)
from db.status_fence import move_fence, overdue_sends
from db.usage import Reserving, reserve_actions_for_turn
from tests.db.test_metering import Used, assert_recounts, reply, reserve, today_of
from tests.db.test_turn_queries import (
    ME,
    OLD,
    OTHER,
    PAIR,
    claim,
    claimed,
    ingest,
    merge,
    read_seq,
    record,
    row,
    sendable,
    settle,
    sweep,
    until_somebody_waits_for_a_lock,
)
from tests.db.units import (
    give_back_messages,
    release_messages,
    reserve_messages,
    settle_messages,
)
from tests.factories import (
    Owner,
    Tenant,
    make_conversation,
    make_conversations,
    make_message,
    make_tenant,
)

T = TypeVar("T")
WAIT = timedelta(minutes=1)


@pytest.fixture(autouse=True)
async def nobody_else(owner: Owner) -> AsyncIterator[None]:
    """Claims look across tenants, so no test may find another's."""
    yield
    await owner.execute("DELETE FROM users")
    await owner.execute("DELETE FROM workers")


async def waiting(owner: Owner, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """The work, once it waits for a lock."""
    task = asyncio.create_task(work)
    await until_somebody_waits_for_a_lock(owner)
    assert not task.done()
    return task


@asynccontextmanager
async def unfinished(pool: Pool, user: Tenant) -> AsyncIterator[Conn]:
    """A tenant's transaction that is rolled back in the end."""
    with contextlib.suppress(Undone):
        async with tenant(pool, user.user_id) as conn:
            yield conn
            raise Undone


class Undone(Exception):
    pass


async def talk(pool: Pool, owner: Owner) -> tuple[Tenant, Any, Claim]:
    """A tenant, its only contact and a claim of ours on the conversation, with one input."""
    user = await make_tenant(owner)
    contact, _ = await make_conversation(owner, user)
    return user, contact, await claimed(pool, owner, user, contact)


# ---- the lease: who may write -------------------------------------------------------------------


async def test_a_turn_that_waits_for_a_sweep_writes_nothing(pool: Pool, owner: Owner) -> None:
    _, _, held = await talk(pool, owner)  # ME is not registered: dead
    seq = await read_seq(pool, held)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT sweep_dead_workers('4 s')")
        late = await waiting(owner, settle(pool, held, seq))
    assert await late is None
    now = await row(owner, held.conversation_id)
    assert (now["answered_seq"], now["lease_owner"]) == (0, None)
    assert now["ready_at"] is not None


async def test_a_worker_that_claims_again_what_it_lost_does_not_finish_its_old_turn(
    pool: Pool, owner: Owner
) -> None:
    """The owner of the lease is the same as ever; only the epoch tells the turns apart."""
    _, _, old = await talk(pool, owner)
    seq = await read_seq(pool, old)
    await sweep(pool)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    (new,) = await claim(pool, ME, 1)
    assert (new.conversation_id, new.epoch) == (old.conversation_id, old.epoch + 1)
    assert await settle(pool, old, seq) is None
    assert (await row(owner, new.conversation_id))["lease_owner"] == ME
    assert await settle(pool, new, seq) == "free"


async def test_a_turn_that_was_swept_does_not_give_the_next_one_s_unit_back(
    pool: Pool, owner: Owner
) -> None:
    """As handlers.turn gives up: the unit goes only if the lease was still there."""
    user, _, old = await talk(pool, owner)
    assert await reserve(pool, user, old.conversation_id) == "granted"
    await sweep(pool)
    await claim(pool, OTHER, 1)
    async with tenant(pool, user.user_id) as conn:
        held = await put_back(conn, user.user_id, old.conversation_id, ME, old.epoch, True)
        if held is not None:
            await release_messages(conn, user.user_id, old.conversation_id)
    assert held is None
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}


async def test_a_turn_that_was_swept_adds_nothing_to_the_next_one_s_hold(
    pool: Pool, owner: Owner
) -> None:
    """The same worker has it again, while its old turn still calls tools."""
    user, _, old = await talk(pool, owner)
    assert await reserve(pool, user, old.conversation_id) == "granted"
    await sweep(pool)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    (new,) = await claim(pool, ME, 1)

    async def asks(turn: Claim, actions: int) -> tuple[str, int]:
        reserving = Reserving(user.user_id, turn.conversation_id, ME, turn.epoch)
        async with pool.acquire() as conn:
            said = await reserve_actions_for_turn(conn, reserving, actions)
        return said, await owner.fetchval("SELECT actions_reserved FROM usage_tracking")

    assert await asks(old, 3) == ("no_reservation", 0)
    assert await asks(new, 1) == ("granted", 1)
    assert await asks(old, 3) == ("no_reservation", 1)


async def test_a_sweep_leaves_the_lease_of_a_turn_that_is_reading(pool: Pool, owner: Owner) -> None:
    """Else the unit that the turn is about to reserve would belong to no turn."""
    user, _, held = await talk(pool, owner)
    async with tenant(pool, user.user_id) as conn:
        context = await read_turn(conn, user.user_id, held.conversation_id, ME, held.epoch)
        assert context is not None
        assert context.mine
        assert await sweep(pool) == set()
        await reserve_messages(conn, user.user_id, held.conversation_id, 1)
    assert await sweep(pool) == {("conversation", held.conversation_id)}


async def test_a_turn_that_waits_for_a_sweep_to_read_sees_that_its_lease_is_gone(
    pool: Pool, owner: Owner
) -> None:
    user, _, held = await talk(pool, owner)

    async def mine() -> bool:
        async with tenant(pool, user.user_id) as conn:
            context = await read_turn(conn, user.user_id, held.conversation_id, ME, held.epoch)
            assert context is not None
            return context.mine

    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT sweep_dead_workers('4 s')")
        reading = await waiting(owner, mine())
    assert not await reading


async def test_of_two_sweeps_one_counts_the_failed_attempt(pool: Pool, owner: Owner) -> None:
    _, _, held = await talk(pool, owner)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT sweep_dead_workers('4 s')")
        assert await sweep(pool) == set()
    assert await sweep(pool) == set()
    assert (await row(owner, held.conversation_id))["attempts"] == 1


async def test_a_claim_passes_by_what_a_sweep_is_freeing(pool: Pool, owner: Owner) -> None:
    _, _, held = await talk(pool, owner)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT sweep_dead_workers('4 s')")
        assert await claim(pool, OTHER, 1) == []
    (new,) = await claim(pool, OTHER, 1)
    assert new.conversation_id == held.conversation_id


async def test_a_claim_passes_by_what_a_turn_is_finishing(pool: Pool, owner: Owner) -> None:
    user, contact, held = await talk(pool, owner)
    await ingest(pool, user, contact, ["wamid.more"])
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with tenant(pool, user.user_id) as conn:
        await fence(conn, held, ME, 1)
        assert await claim(pool, OTHER, 1) == []
    (new,) = await claim(pool, OTHER, 1)
    assert new.epoch == held.epoch + 1


@pytest.mark.parametrize("failed", [True, False])
async def test_a_message_that_is_being_recorded_while_its_turn_is_put_back_keeps_it_ready(
    pool: Pool, owner: Owner, failed: bool
) -> None:
    """The turn had answered everything it was claimed for; what is new is not visible yet."""
    user, contact, held = await talk(pool, owner)
    await owner.execute("UPDATE conversations SET answered_seq = 1")

    async def give_up() -> Any:
        async with tenant(pool, user.user_id) as conn:
            return await put_back(conn, user.user_id, held.conversation_id, ME, held.epoch, failed)

    async with tenant(pool, user.user_id) as conn:
        await record(conn, user, contact, ["wamid.second"])
        late = await waiting(owner, give_up())
    assert await late is not None
    now = await row(owner, held.conversation_id)
    assert (now["input_seq"], now["answered_seq"], now["lease_owner"]) == (2, 1, None)
    assert now["ready_at"] is not None


async def test_a_message_that_waits_while_its_turn_is_put_back_makes_it_ready(
    pool: Pool, owner: Owner
) -> None:
    user, contact, held = await talk(pool, owner)
    await owner.execute("UPDATE conversations SET answered_seq = 1")
    async with tenant(pool, user.user_id) as conn:
        await put_back(conn, user.user_id, held.conversation_id, ME, held.epoch, False)
        assert await conn.fetchval("SELECT ready_at FROM conversations") is None
        late = await waiting(owner, ingest(pool, user, contact, ["wamid.second"]))
    await late
    assert (await row(owner, held.conversation_id))["ready_at"] is not None


async def test_a_human_who_waits_for_the_turn_has_the_conversation_before_the_reply_leaves(
    pool: Pool, owner: Owner
) -> None:
    user, contact, held = await talk(pool, owner)
    take_over = """UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',
                   taken_over_by = 'human'"""

    async def human() -> None:
        async with tenant(pool, user.user_id) as conn:
            await conn.execute(take_over)

    async with tenant(pool, user.user_id) as conn:
        assert await fence(conn, held, ME, 1) == "free"
        late = await waiting(owner, human())
    await late
    message = await make_message(owner, user, contact, held.conversation_id)
    await sendable(pool, ME, 1)
    async with tenant(pool, user.user_id) as conn:
        assert await lock_send(conn, user.user_id, message, ME)
        send = await read_send(conn, user.user_id, message, OLD)
    assert send is not None
    assert send.silenced


async def test_a_turn_that_waits_for_a_human_says_nothing(pool: Pool, owner: Owner) -> None:
    user, _, held = await talk(pool, owner)
    async with tenant(pool, user.user_id) as conn:
        await conn.execute(
            "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
            " taken_over_by = 'human'"
        )
        late = await waiting(owner, settle(pool, held, 1))
    assert await late == "silenced"


# ---- sends: what is said once, and what is known of it ------------------------------------------


async def outgoing(
    pool: Pool, owner: Owner, *, status: str = "sending", worker: WorkerId = ME
) -> tuple[Tenant, MessageId]:
    """A reply that the worker has claimed, is sending, or whose outcome is unknown and overdue."""
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user))
    assert await sendable(pool, worker, 1) == [message]
    if status != "queued":
        async with tenant(pool, user.user_id) as conn:
            await mark_sending(conn, user.user_id, message, PAIR.every)
            if status == "unknown":
                await mark_unknown(conn, user.user_id, message)
        await owner.execute("UPDATE messages SET unknown_at = unknown_at - interval '1 h'")
    await move_fence(owner, await owner.fetchval("SELECT now()"), timedelta(minutes=5))
    return user, message


async def state(owner: Owner, message_id: MessageId) -> tuple[Any, ...]:
    found = await owner.fetchrow(
        "SELECT status, send_attempts, unknown_count, message_id FROM messages WHERE id = $1",
        message_id,
    )
    assert found is not None
    return tuple(found)


async def accept(pool: Pool, user: Tenant, message: MessageId) -> str | None:
    async with tenant(pool, user.user_id) as conn:
        took = await mark_accepted(conn, user.user_id, message, Wamid("w.answer"))
        return None if took is None else took.status


async def settle_unknown(conn: Conn, user: Tenant, message: MessageId) -> bool:
    """What handlers.sending does with a send that may go once more. False: nothing to settle."""
    if await lock_unknown(conn, user.user_id, message, WAIT) is None:
        return False
    return await requeue_send(conn, user.user_id, message, timedelta(0), {}) is not None


async def settled(pool: Pool, user: Tenant, message: MessageId) -> bool:
    async with tenant(pool, user.user_id) as conn:
        return await settle_unknown(conn, user, message)


async def delivered(pool: Pool, user: Tenant, message: MessageId) -> Any:
    async with tenant(pool, user.user_id) as conn:
        return await merge(conn, user, "w.status", "delivered", message)


async def test_a_send_that_a_sweep_takes_back_is_not_begun(pool: Pool, owner: Owner) -> None:
    user, message = await outgoing(pool, owner, status="queued")

    async def begin() -> Any:
        async with tenant(pool, user.user_id) as conn:
            return await lock_send(conn, user.user_id, message, ME)

    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT sweep_dead_workers('4 s')")
        late = await waiting(owner, begin())
    assert await late is False
    assert await sendable(pool, OTHER, 1) == [message]


async def test_a_sweep_leaves_a_send_that_is_being_begun(pool: Pool, owner: Owner) -> None:
    """What is committed next is 'sending': it may have gone, and must not go again unseen."""
    user, message = await outgoing(pool, owner, status="queued")
    async with tenant(pool, user.user_id) as conn:
        assert await lock_send(conn, user.user_id, message, ME)
        await mark_sending(conn, user.user_id, message, PAIR.every)
        assert await sweep(pool) == set()
        assert await sendable(pool, OTHER, 1) == []
    assert await sweep(pool) == {("message", message)}
    assert await state(owner, message) == ("unknown", 1, 1, None)


async def test_meta_s_answer_that_waits_for_a_sweep_settles_the_send(
    pool: Pool, owner: Owner
) -> None:
    user, message = await outgoing(pool, owner)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT sweep_dead_workers('4 s')")
        late = await waiting(owner, accept(pool, user, message))
    assert await late == "accepted"
    assert await state(owner, message) == ("accepted", 1, 1, "w.answer")


async def test_a_sweep_leaves_a_send_whose_answer_is_being_recorded(
    pool: Pool, owner: Owner
) -> None:
    user, message = await outgoing(pool, owner)
    async with tenant(pool, user.user_id) as conn:
        await mark_accepted(conn, user.user_id, message, Wamid("w.answer"))
        assert await sweep(pool) == set()
    assert await sweep(pool) == set()
    assert await state(owner, message) == ("accepted", 1, 0, "w.answer")


async def test_no_answer_after_the_sweep_does_not_make_it_unknown_anew(
    pool: Pool, owner: Owner
) -> None:
    """A worker was taken for dead in the middle of a call, and then the call timed out. If that
    made it forget since when the send is unknown, nobody would settle it, and every later reply of
    the conversation would wait for it for ever."""
    user, message = await outgoing(pool, owner)
    await sweep(pool)
    await owner.execute("UPDATE messages SET unknown_at = unknown_at - interval '1 h'")
    async with tenant(pool, user.user_id) as conn:
        await mark_unknown(conn, user.user_id, message)
    assert await state(owner, message) == ("unknown", 1, 1, None)
    async with pool.acquire() as conn:
        assert [s.message_id for s in await overdue_sends(conn, WAIT, 10)] == [message]
    assert await settled(pool, user, message)
    assert await sendable(pool, OTHER, 1) == [message]


async def test_a_status_that_waits_for_sending_to_be_committed_settles_it(
    pool: Pool, owner: Owner
) -> None:
    """Of an earlier send of the same message: while it is going out a second time."""
    user, message = await outgoing(pool, owner, status="queued")
    async with tenant(pool, user.user_id) as conn:
        await mark_sending(conn, user.user_id, message, PAIR.every)
        late = await waiting(owner, delivered(pool, user, message))
    assert [m.status for m in await late] == ["delivered"]
    assert await accept(pool, user, message) == "delivered"
    assert await state(owner, message) == ("delivered", 1, 0, "w.status")


async def test_an_answer_that_waits_for_a_status_does_not_take_it_back(
    pool: Pool, owner: Owner
) -> None:
    user, message = await outgoing(pool, owner)
    async with tenant(pool, user.user_id) as conn:
        await merge(conn, user, "w.answer", "read", message)
        late = await waiting(owner, accept(pool, user, message))
    assert await late == "read"


async def test_a_status_that_waits_for_the_answer_goes_on_from_there(
    pool: Pool, owner: Owner
) -> None:
    user, message = await outgoing(pool, owner)

    async def sent() -> Any:
        async with tenant(pool, user.user_id) as conn:
            return await merge(conn, user, "w.answer", "sent", message)

    async with tenant(pool, user.user_id) as conn:
        await mark_accepted(conn, user.user_id, message, Wamid("w.answer"))
        late = await waiting(owner, sent())
    assert [m.status for m in await late] == ["sent"]


async def test_a_send_is_not_repeated_while_its_status_is_being_merged(
    pool: Pool, owner: Owner
) -> None:
    user, message = await outgoing(pool, owner, status="unknown")
    async with tenant(pool, user.user_id) as conn:
        await merge(conn, user, "w.status", "delivered", message)
        late = await waiting(owner, settled(pool, user, message))
    assert not await late
    assert await sendable(pool, ME, 1) == []
    assert await state(owner, message) == ("delivered", 1, 1, "w.status")


async def test_a_status_that_waits_for_the_repeat_to_be_queued_takes_it_off_again(
    pool: Pool, owner: Owner
) -> None:
    user, message = await outgoing(pool, owner, status="unknown")
    async with tenant(pool, user.user_id) as conn:
        assert await settle_unknown(conn, user, message)
        late = await waiting(owner, delivered(pool, user, message))
    assert [m.status for m in await late] == ["delivered"]
    assert await sendable(pool, ME, 1) == []


async def test_two_workers_settle_an_unknown_send_once(pool: Pool, owner: Owner) -> None:
    user, message = await outgoing(pool, owner, status="unknown")
    async with tenant(pool, user.user_id) as conn:
        assert await settle_unknown(conn, user, message)
        late = await waiting(owner, settled(pool, user, message))
    assert not await late
    assert await sendable(pool, ME, 2) == [message]


async def test_an_unknown_send_that_has_ended_is_not_put_up_again(pool: Pool, owner: Owner) -> None:
    """Two workers look at the second time that it became unknown; its unit comes back once."""
    user, message = await outgoing(pool, owner, status="unknown")
    day = await today_of(owner, user)
    await owner.execute("UPDATE messages SET usage_day = $1", day)

    async def end() -> Any:
        async with tenant(pool, user.user_id) as conn:
            return await end_send(conn, user.user_id, message, "failed", {})

    async with tenant(pool, user.user_id) as conn:
        ended = await end_send(conn, user.user_id, message, "failed", {})
        assert ended is not None
        assert ended.usage_day == day
        again = await waiting(owner, settled(pool, user, message))
        late = asyncio.create_task(end())
    assert not await again
    assert await late is None


# ---- units: the last one ------------------------------------------------------------------------


async def test_of_two_at_the_last_unit_the_later_is_refused(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner, daily=1)
    one, other = await make_conversations(owner, user, 2)
    async with tenant(pool, user.user_id) as conn:
        assert (await reserve_messages(conn, user.user_id, one, 1)).outcome == "granted"
        late = await waiting(owner, reserve(pool, user, other))
    assert await late == "daily_message_limit"
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}


async def test_the_last_unit_is_the_other_s_when_the_first_is_undone(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner, daily=1)
    one, other = await make_conversations(owner, user, 2)
    await reserve(pool, user, other)  # the day's rows are there, so that both wait for the same
    async with tenant(pool, user.user_id) as conn:
        await release_messages(conn, user.user_id, other)
    async with unfinished(pool, user) as conn:
        assert (await reserve_messages(conn, user.user_id, one, 1)).outcome == "granted"
        late = await waiting(owner, reserve(pool, user, other))
    assert await late == "granted"
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}


async def test_a_unit_that_is_being_given_back_is_there_for_who_waits(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner, daily=1)
    one, other = await make_conversations(owner, user, 2)
    await reserve(pool, user, one)
    message = await reply(pool, user, one)
    assert await reserve(pool, user, other) == "daily_message_limit"
    async with tenant(pool, user.user_id) as conn:
        ended = await end_send(conn, user.user_id, message, "failed", {})
        assert ended is not None
        assert ended.usage_day is not None
        await give_back_messages(conn, user.user_id, [ended.usage_day], [ended.overage])
        late = await waiting(owner, reserve(pool, user, other))
    assert await late == "granted"
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}


async def test_one_hold_is_settled_once_by_two_at_once(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    _, conversation = await make_conversation(owner, user)
    await reserve(pool, user, conversation)

    async def again() -> bool:
        async with tenant(pool, user.user_id) as conn:
            return await settle_messages(conn, user.user_id, conversation, 1)

    async with tenant(pool, user.user_id) as conn:
        day = await today_of(owner, user)
        assert await settle_messages(conn, user.user_id, conversation, 1)
        await conn.execute(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " status, usage_day) SELECT user_id, chatbot_id, contact_id, id, 'outbound', 'queued',"
            " $2::date FROM conversations WHERE id = $1",
            conversation,
            day,
        )
        late = await waiting(owner, again())
    assert not await late
    assert await assert_recounts(owner, user) == {day: Used(1, 0)}


async def test_a_hold_that_is_being_settled_is_not_found_by_a_turn_that_reads(
    pool: Pool, owner: Owner
) -> None:
    """It waits, and then takes a unit of its own: the first one is spent."""
    user = await make_tenant(owner, daily=2)
    _, conversation = await make_conversation(owner, user)
    await reserve(pool, user, conversation)
    async with tenant(pool, user.user_id) as conn:
        await release_messages(conn, user.user_id, conversation)
        late = await waiting(owner, reserve(pool, user, conversation))
    assert await late == "granted"
    assert await assert_recounts(owner, user) == {await today_of(owner, user): Used(0, 1)}
