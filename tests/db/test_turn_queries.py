"""The life of a conversation and of a reply in the database: who may take it, and what is lost."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from db.conversations import (
    Claim,
    Debounce,
    PutOff,
    Written,
    claim_conversations,
    fence,
    hand_over,
    lock_conversations,
    mark_ready,
    put_back,
    put_off,
    read_turn,
)
from db.ids import ContactId, ConversationId, MessageId, UserId, Wamid, WorkerId
from db.messages import NewMessage, Recorded, read_messages, record_inbound
from db.pool import Conn, Pool, create_pool, tenant
from db.sends import (
    Lost,
    Pace,
    claim_sends,
    end_send,
    lock_send,
    lock_unknown,
    mark_accepted,
    mark_sending,
    mark_unknown,
    read_send,
    requeue_send,
)
from db.status_fence import fence_wanted, move_fence, overdue_sends
from db.statuses import Merged, StatusReport, merge_statuses
from db.takeovers import lock_conversation
from db.workers import beat, register_worker, retire_worker, sweep_dead_workers, sweep_unheld
from tests.conftest import Database
from tests.factories import (
    Owner,
    Tenant,
    make_conversation,
    make_conversations,
    make_message,
    make_tenant,
)

ME = WorkerId(1)
OTHER = WorkerId(2)
ANY = 1_000
QUIET = timedelta(seconds=1.5)
LONGEST = timedelta(seconds=8)
TERM = timedelta(seconds=4)
PAIR = Pace(every=timedelta(seconds=6), burst=5)
OLD = timedelta(hours=24)
AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
async def nobody_else(owner: Owner) -> AsyncIterator[None]:
    """Claims look across tenants, so no test may find another's."""
    yield
    await owner.execute("DELETE FROM users")
    await owner.execute("DELETE FROM workers")


async def make_ready(
    owner: Owner, user: Tenant, count: int, *, since: timedelta = timedelta(seconds=1)
) -> list[ConversationId]:
    """Conversations with one unanswered input each, the first the longest ready."""
    ids = await make_conversations(owner, user, count)
    await owner.execute(
        "UPDATE conversations c SET input_seq = 1,"
        " ready_at = now() - $2::interval + place * interval '1 us'"
        " FROM unnest($1::bigint[]) WITH ORDINALITY AS i (id, place) WHERE c.id = i.id",
        ids,
        since,
    )
    return ids


async def claim(pool: Pool, worker: WorkerId, limit: int, tenant_max: int = ANY) -> list[Claim]:
    async with pool.acquire() as conn:
        return await claim_conversations(conn, worker, limit, tenant_max)


def per_tenant(claims: Sequence[Any]) -> dict[UserId, int]:
    counts: dict[UserId, int] = {}
    for one in claims:
        counts[one.user_id] = counts.get(one.user_id, 0) + 1
    return counts


async def make_chatbot(owner: Owner, user: Tenant) -> Tenant:
    """The same tenant with another chatbot."""
    chatbot_id = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name) VALUES ($1, 'another') RETURNING id", user.user_id
    )
    return Tenant(user.user_id, chatbot_id, "", "")


async def row(owner: Owner, conversation_id: ConversationId) -> Any:
    return await owner.fetchrow(
        "SELECT *, ready_at - updated_at AS ready_in FROM conversations WHERE id = $1",
        conversation_id,
    )


async def until_somebody_waits_for_a_lock(owner: Owner) -> None:
    async with asyncio.timeout(10):
        while not await owner.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ):
            await asyncio.sleep(0.005)


# ---- claims -------------------------------------------------------------------------------------


async def test_a_flood_of_one_tenant_leaves_places_to_the_others(pool: Pool, owner: Owner) -> None:
    flood = await make_tenant(owner)
    await make_ready(owner, flood, 500, since=timedelta(hours=1))
    others = [await make_tenant(owner) for _ in range(5)]
    for other in others:
        await make_ready(owner, other, 2)
    first = await claim(pool, ME, 12)
    assert per_tenant(first) == {u.user_id: 2 for u in (flood, *others)}
    assert per_tenant(await claim(pool, ME, 12)) == {flood.user_id: 12}


async def test_what_already_runs_counts_as_a_tenant_s_share(pool: Pool, owner: Owner) -> None:
    busy, fresh = await make_tenant(owner), await make_tenant(owner)
    await make_ready(owner, busy, 20, since=timedelta(hours=1))
    assert len(await claim(pool, OTHER, 10)) == 10
    await make_ready(owner, fresh, 3)
    assert per_tenant(await claim(pool, ME, 3)) == {fresh.user_id: 3}
    assert per_tenant(await claim(pool, ME, 3)) == {busy.user_id: 3}


async def test_a_worker_keeps_places_free_of_one_tenant(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    await make_ready(owner, user, 20)
    assert len(await claim(pool, ME, 10, 4)) == 4
    assert await claim(pool, ME, 10, 4) == []
    assert len(await claim(pool, OTHER, 10, 4)) == 4


async def test_the_longest_ready_comes_first(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    ids = await make_ready(owner, user, 6)
    claims = await claim(pool, ME, 3)
    assert sorted(c.conversation_id for c in claims) == ids[:3]


async def test_concurrent_claimers_never_get_the_same(pool: Pool, owner: Owner) -> None:
    users = [await make_tenant(owner) for _ in range(3)]
    ids = [i for user in users for i in await make_ready(owner, user, 40)]
    taken: list[Claim] = []

    async def worker(number: int) -> None:
        while len(taken) < len(ids):
            taken.extend(await claim(pool, WorkerId(number), 7))

    async with asyncio.timeout(20):
        await asyncio.gather(*(worker(number) for number in range(1, 9)))
    assert sorted(c.conversation_id for c in taken) == sorted(ids)
    assert {c.epoch for c in taken} == {1}


async def test_a_claim_skips_what_another_is_claiming(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    ids = await make_ready(owner, user, 4)
    async with pool.acquire() as conn, conn.transaction():
        held = await claim_conversations(conn, ME, 2, ANY)
        rest = await claim(pool, OTHER, 4)
    assert sorted(c.conversation_id for c in held) == ids[:2]
    assert sorted(c.conversation_id for c in rest) == ids[2:]


async def test_only_what_is_ready_and_free_is_claimed(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    soon = timedelta(minutes=1)
    await make_conversation(owner, user, input_seq=1)  # nothing to do
    _, later = await make_conversation(owner, user, ready_at=datetime.now(UTC) + soon)
    await make_conversation(owner, user, ready_at=AT, lease_owner=OTHER)
    _, ready = await make_conversation(owner, user, ready_at=AT)
    assert [c.conversation_id for c in await claim(pool, ME, 10)] == [ready]
    assert await claim(pool, ME, 10) == []
    await owner.execute("UPDATE conversations SET ready_at = now() WHERE id = $1", later)
    assert [c.conversation_id for c in await claim(pool, ME, 10)] == [later]


async def test_who_waits_longest_is_claimed_first(pool: Pool, owner: Owner) -> None:
    """Not who wrote first in their lives."""
    user = await make_tenant(owner)
    ids = await make_ready(owner, user, 5)
    await owner.execute("UPDATE conversations SET ready_at = now() - id * interval '1 s'")
    claims = [(await claim(pool, ME, 1))[0].conversation_id for _ in ids]
    assert claims == ids[::-1]


async def test_the_epoch_grows_with_every_claim(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    await make_ready(owner, user, 1)
    for epoch in (1, 2, 3):
        (held,) = await claim(pool, ME, 1)
        assert held.epoch == epoch
        async with tenant(pool, user.user_id) as conn:
            put = await put_back(conn, user.user_id, held.conversation_id, ME, epoch, False)
        assert put == 0  # failures


async def test_a_turn_that_failed_waits_longer_each_time(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    (conversation,) = await make_ready(owner, user, 1)
    for failures in range(1, 9):
        (held,) = await claim(pool, ME, 1)
        async with tenant(pool, user.user_id) as conn:
            await put_back(conn, user.user_id, conversation, ME, held.epoch, True)
        now = await row(owner, conversation)
        assert now["attempts"] == failures
        assert now["rebuild_thread"]
        seconds = now["ready_in"].total_seconds()
        nominal = 0.5 * 2 ** min(failures - 1, 5)
        assert 0.75 * nominal <= seconds <= 1.25 * nominal
        assert await claim(pool, ME, 1) == []
        await owner.execute("UPDATE conversations SET ready_at = now()")


# ---- the fence, and no wake-up lost --------------------------------------------------------------


async def record(
    conn: Conn,
    user: Tenant,
    contact_id: ContactId,
    wamids: Sequence[str],
    *,
    sent_at: Sequence[datetime] | None = None,
) -> list[Recorded]:
    """What ingest does with a batch of one conversation, inside the tenant's transaction."""
    (locked,) = await lock_conversations(conn, user.user_id, [user.chatbot_id], [contact_id])
    times = sent_at or [AT] * len(wamids)
    messages = [
        new(user, contact_id, locked.id, wamid, at) for wamid, at in zip(wamids, times, strict=True)
    ]
    recorded = await record_inbound(conn, user.user_id, messages)
    if recorded:
        newest = max(r.input_seq for r in recorded)
        await wake(conn, user, locked.id, newest, Debounce(QUIET, LONGEST))
    return recorded


def new(
    user: Tenant,
    contact_id: ContactId,
    conversation_id: ConversationId,
    wamid: str,
    at: datetime,
) -> NewMessage:
    return NewMessage(
        chatbot_id=user.chatbot_id,
        contact_id=contact_id,
        conversation_id=conversation_id,
        wamid=Wamid(wamid),
        message_type="text",
        content_text=f"text of {wamid}",
        sent_at=at,
        metadata={},
    )


async def wake(
    conn: Conn,
    user: Tenant,
    conversation_id: ConversationId,
    input_seq: int,
    debounce: Debounce,
) -> None:
    written = Written(id=conversation_id, input_seq=input_seq, sent_at=AT)
    await mark_ready(conn, user.user_id, [written], debounce)


async def ingest(
    pool: Pool, user: Tenant, contact_id: ContactId, wamids: Sequence[str]
) -> list[Recorded]:
    async with tenant(pool, user.user_id) as conn:
        return await record(conn, user, contact_id, wamids)


async def claimed(pool: Pool, owner: Owner, user: Tenant, contact_id: ContactId) -> Claim:
    """One message has come, and its conversation is ours."""
    await ingest(pool, user, contact_id, ["wamid.first"])
    await owner.execute("UPDATE conversations SET ready_at = now()")
    (held,) = await claim(pool, ME, 1)
    return held


async def read_seq(pool: Pool, held: Claim) -> int:
    """The highest input that a turn which starts now reads."""
    async with tenant(pool, held.user_id) as conn:
        context = await read_turn(conn, held.user_id, held.conversation_id, ME, held.epoch)
        assert context is not None
        assert context.mine
        rows = await read_messages(
            conn, held.user_id, held.conversation_id, context.answered_seq, 20, 100
        )
    return max(r.input_seq or 0 for r in rows)


async def settle(pool: Pool, held: Claim, seq: int) -> str | None:
    async with tenant(pool, held.user_id) as conn:
        return await fence(conn, held, ME, seq)


async def test_a_turn_that_read_everything_leaves_nothing_to_do(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    assert await settle(pool, held, await read_seq(pool, held)) == "free"
    now = await row(owner, conversation)
    assert (now["input_seq"], now["answered_seq"], now["ready_at"]) == (1, 1, None)
    assert now["lease_owner"] is None
    assert await claim(pool, ME, 1) == []


async def test_a_message_that_comes_before_the_turn_reads_is_part_of_it(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    await ingest(pool, user, contact, ["wamid.second"])
    assert await read_seq(pool, held) == 2
    assert await settle(pool, held, 2) == "free"
    now = await row(owner, conversation)
    assert (now["answered_seq"], now["ready_at"], now["pending_since"]) == (2, None, None)

    # Nothing of that burst is left: the next message begins one of its own.
    await owner.execute("UPDATE conversations SET pending_since = pending_since - interval '1 h'")
    await ingest(pool, user, contact, ["wamid.third"])
    assert (await row(owner, conversation))["ready_in"] == QUIET


async def test_a_message_that_comes_after_the_turn_read_is_the_next_turn_s(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    seq = await read_seq(pool, held)
    await ingest(pool, user, contact, ["wamid.second"])
    ready_at = (await row(owner, conversation))["ready_at"]
    assert await claim(pool, OTHER, 1) == []  # no rival to the turn that runs
    assert await settle(pool, held, seq) == "free"
    now = await row(owner, conversation)
    assert (now["input_seq"], now["answered_seq"]) == (2, 1)
    assert now["ready_at"] == ready_at  # as ingest set it: the burst may go on


async def test_a_message_that_waits_for_the_turn_s_commit_is_the_next_turn_s(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    async with tenant(pool, user.user_id) as conn:
        await fence(conn, held, ME, 1)
        waiting = asyncio.create_task(ingest(pool, user, contact, ["wamid.second"]))
        await until_somebody_waits_for_a_lock(owner)
    assert [r.input_seq for r in await waiting] == [2]
    now = await row(owner, conversation)
    assert (now["answered_seq"], now["input_seq"], now["ready_in"]) == (1, 2, QUIET)


async def test_a_turn_that_waits_for_a_message_s_commit_leaves_it_to_the_next(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    seq = await read_seq(pool, held)
    async with tenant(pool, user.user_id) as conn:
        await record(conn, user, contact, ["wamid.second"])
        waiting = asyncio.create_task(settle(pool, held, seq))
        await until_somebody_waits_for_a_lock(owner)
    assert await waiting == "free"
    now = await row(owner, conversation)
    assert (now["answered_seq"], now["input_seq"]) == (1, 2)
    assert now["ready_at"] is not None


async def test_every_message_is_answered_whatever_the_timing(pool: Pool, owner: Owner) -> None:
    """Turns and messages at once, as fast as they go; in the end nothing waits, and no turn found
    nothing to do."""
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    messages = 40
    empty_turns = 0

    async def customer() -> None:
        for n in range(messages):
            async with tenant(pool, user.user_id) as conn:
                (locked,) = await lock_conversations(
                    conn, user.user_id, [user.chatbot_id], [contact]
                )
                await record_one(conn, user, contact, locked.id, f"wamid.{n}")
            await asyncio.sleep(0)

    async def worker(me: WorkerId) -> None:
        nonlocal empty_turns
        async with asyncio.timeout(30):
            while True:
                for held in await claim(pool, me, 1):
                    async with tenant(pool, user.user_id) as conn:
                        context = await read_turn(conn, user.user_id, conversation, me, held.epoch)
                        assert context is not None
                        rows = await read_messages(
                            conn, user.user_id, conversation, context.answered_seq, 5, 100
                        )
                    seq = max(r.input_seq or 0 for r in rows)
                    empty_turns += seq <= context.answered_seq
                    async with tenant(pool, user.user_id) as conn:
                        fenced = await fence(conn, held, me, seq, context.answered_seq)
                        assert fenced == "free"
                    if seq == messages:
                        return
                if done.is_set():
                    return

    async def record_one(
        conn: Conn, user: Tenant, contact_id: ContactId, conversation_id: ConversationId, wamid: str
    ) -> None:
        message = new(user, contact_id, conversation_id, wamid, AT)
        (recorded,) = await record_inbound(conn, user.user_id, [message])
        at_once = Debounce(timedelta(0), timedelta(0))
        await wake(conn, user, conversation_id, recorded.input_seq, at_once)

    done = asyncio.Event()
    workers = [asyncio.create_task(worker(WorkerId(n))) for n in (1, 2, 3)]
    await customer()
    finished, others = await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
    done.set()
    await asyncio.gather(*finished, *others)
    now = await row(owner, conversation)
    assert (now["input_seq"], now["answered_seq"], now["ready_at"]) == (messages, messages, None)
    assert empty_turns == 0


OFF = PutOff(wait=timedelta(minutes=1), failing_for=timedelta(0), paid=True, tells=True)


@pytest.mark.parametrize("stale", ["epoch", "worker"])
async def test_who_lost_the_lease_misses_at_the_fence(pool: Pool, owner: Owner, stale: str) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    before = dict(await row(owner, conversation))
    worker, epoch = (OTHER, held.epoch) if stale == "worker" else (ME, held.epoch - 1)
    async with tenant(pool, user.user_id) as conn:
        assert await fence(conn, replace(held, epoch=epoch), worker, 1) is None
        assert await put_back(conn, user.user_id, conversation, worker, epoch, True) is None
        assert await put_off(conn, replace(held, epoch=epoch), worker, OFF) is None
        context = await read_turn(conn, user.user_id, conversation, worker, epoch)
    assert context is not None
    assert not context.mine
    assert dict(await row(owner, conversation)) == before


async def test_a_turn_that_is_put_off_comes_again_with_what_came_meanwhile(
    pool: Pool, owner: Owner
) -> None:
    """When that is due, and failing since it first did."""
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    async with tenant(pool, user.user_id) as conn:
        assert await put_off(conn, held, ME, OFF) is True
    first = await row(owner, conversation)
    assert timedelta(seconds=45) <= first["ready_in"] <= timedelta(seconds=75)
    await owner.execute("UPDATE conversations SET ready_at = now()")
    (held,) = await claim(pool, ME, 1)
    await ingest(pool, user, contact, ["wamid.meanwhile"])
    async with tenant(pool, user.user_id) as conn:
        await put_off(conn, held, ME, OFF)
    now = await row(owner, conversation)
    assert now["ready_in"] <= QUIET
    assert (now["failing_since"], now["model_tries"]) == (first["failing_since"], 2)


BY_PRODUCT = """
    UPDATE conversations
       SET taken_over_at = now(), taken_over_until = 'infinity', taken_over_by = 'product'
"""
SILENCES = [
    "UPDATE contacts SET conversation_paused = true",
    "UPDATE contacts SET contact_status = 'blocked'",
    BY_PRODUCT,
    "UPDATE conversations SET answered_seq = input_seq, ready_at = NULL",
]


@pytest.mark.parametrize("change", SILENCES, ids=["paused", "blocked", "taken over", "answered"])
async def test_nobody_is_told_that_it_takes_longer_who_is_not_to_be_told(
    pool: Pool, owner: Owner, change: str
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    await owner.execute(change)
    async with tenant(pool, user.user_id) as conn:
        assert await put_off(conn, held, ME, OFF) is False
    now = await row(owner, conversation)
    assert now["lease_owner"] is None
    waits = now["input_seq"] > now["answered_seq"]
    assert (now["ready_at"] is not None, now["failing_since"] is not None) == (waits, waits)


async def test_an_answer_ends_what_was_counted_against_it(pool: Pool, owner: Owner) -> None:
    """Turns that failed and a model that did not answer: the next failure is the first again."""
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    await owner.execute(
        "UPDATE conversations SET attempts = 5, failing_since = now(), model_tries = 3,"
        " told_slow_at = now()"
    )
    await settle(pool, held, 1)
    now = await row(owner, conversation)
    counted = [now[name] for name in ("attempts", "failing_since", "model_tries", "told_slow_at")]
    assert counted == [0, None, 0, None]


async def test_a_claim_begins_the_next_burst(pool: Pool, owner: Owner) -> None:
    """What comes while the turn runs waits for its own end, not for that of the one before."""
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    await ingest(pool, user, contact, ["wamid.first"])
    await owner.execute(
        "UPDATE conversations SET ready_at = now(), pending_since = now() - interval '1 h'"
    )
    await claim(pool, ME, 1)
    await ingest(pool, user, contact, ["wamid.second"])
    assert (await row(owner, conversation))["ready_in"] == QUIET


@pytest.mark.parametrize(
    "change", ["is_active = false", "bot_status = 'paused'", "is_active = NULL"]
)
async def test_a_chatbot_that_is_switched_off_is_so_for_turns_sends_and_people(
    pool: Pool, owner: Owner, change: str
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    message = await make_message(owner, user, contact, conversation)

    async def seen() -> list[bool]:
        async with tenant(pool, user.user_id) as conn:
            turn = await read_turn(conn, user.user_id, conversation, ME, held.epoch)
            send = await read_send(conn, user.user_id, message, OLD)
            person = await lock_conversation(conn, user.user_id, conversation)
        assert turn is not None and send is not None and person is not None  # noqa: PT018
        return [turn.chatbot_active, send.chatbot_active, person.chatbot_active]

    assert await seen() == [True] * 3
    await owner.execute(f"UPDATE chatbots SET {change}")
    assert await seen() == [False] * 3


async def test_a_turn_gets_the_instructions_that_are_in_force(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    for text, active, expires in (
        ("for ever", True, None),
        ("withdrawn", False, None),
        ("run out", True, timedelta(hours=-1)),
        ("for a while", True, timedelta(hours=1)),
    ):
        await owner.execute(
            "INSERT INTO conversation_instructions (user_id, chatbot_id, contact_id,"
            " instruction_text, is_active, expires_at)"
            " VALUES ($1, $2, $3, $4, $5, now() + $6::interval)",
            *(user.user_id, user.chatbot_id, contact, text, active, expires),
        )
    async with tenant(pool, user.user_id) as conn:
        turn = await read_turn(conn, user.user_id, conversation, ME, held.epoch)
    assert turn is not None
    assert turn.instructions == ["for ever", "for a while"]


async def test_who_has_a_conversation_keeps_it_when_the_bot_gives_up(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    _, conversation = await make_conversation(owner, user)
    await owner.execute(
        "UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',"
        " taken_over_by = 'human', taken_over_reason = 'by hand'"
    )
    before = dict(await row(owner, conversation))
    async with tenant(pool, user.user_id) as conn:
        half_an_hour = timedelta(minutes=30)
        assert (
            await hand_over(conn, user.user_id, conversation, half_an_hour, "product", "x") is None
        )
    assert dict(await row(owner, conversation)) == before


async def test_a_turn_can_be_settled_once(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, _ = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    assert await settle(pool, held, 1) == "free"
    assert await settle(pool, held, 1) is None


FENCED = [
    ("UPDATE contacts SET conversation_paused = true", "silenced"),
    ("UPDATE contacts SET contact_status = 'blocked'", "blocked"),
    ("UPDATE contacts SET contact_status = 'vip'", "free"),
    (
        """UPDATE conversations SET taken_over_at = now(), taken_over_until = 'infinity',
                  taken_over_by = 'human'""",
        "silenced",
    ),
    (
        """UPDATE conversations SET taken_over_at = now() - interval '1 h', taken_over_by = 'human',
                  taken_over_until = now() - interval '1 s'""",
        "free",
    ),
]


@pytest.mark.parametrize(("change", "fenced"), FENCED)
async def test_the_fence_tells_that_a_human_came_in(
    pool: Pool, owner: Owner, change: str, fenced: str
) -> None:
    user = await make_tenant(owner)
    contact, _ = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    await owner.execute(change)
    assert await settle(pool, held, 1) == fenced


# ---- recording ----------------------------------------------------------------------------------


async def inputs(owner: Owner, conversation_id: ConversationId) -> list[tuple[str, int]]:
    rows = await owner.fetch(
        "SELECT message_id, input_seq FROM messages WHERE conversation_id = $1 ORDER BY id",
        conversation_id,
    )
    return [(r["message_id"], r["input_seq"]) for r in rows]


async def test_a_burst_ends_with_quiet_or_after_the_longest_wait(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    await ingest(pool, user, contact, ["wamid.1"])
    assert (await row(owner, conversation))["ready_in"] == QUIET
    ago = timedelta(seconds=7.5)
    await owner.execute(
        "UPDATE conversations SET pending_since = pending_since - $1::interval", ago
    )
    await ingest(pool, user, contact, ["wamid.2"])
    now = await row(owner, conversation)
    assert now["ready_at"] == now["pending_since"] + LONGEST
    assert now["ready_in"] < QUIET


async def test_a_message_is_recorded_once(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    assert len(await ingest(pool, user, contact, ["w.1", "w.2", "w.1"])) == 2
    before = await row(owner, conversation)
    assert await ingest(pool, user, contact, ["w.2", "w.1"]) == []
    assert await row(owner, conversation) == before  # not made ready again either
    assert [r.input_seq for r in await ingest(pool, user, contact, ["w.1", "w.3", "w.2"])] == [3]
    assert await inputs(owner, conversation) == [("w.1", 1), ("w.2", 2), ("w.3", 3)]


async def test_the_order_of_a_batch_is_the_order_of_the_record(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    wamids = [f"w.{n}" for n in random.Random(7).sample(range(1000), 30)]
    await ingest(pool, user, contact, wamids)
    assert await inputs(owner, conversation) == [(w, n) for n, w in enumerate(wamids, start=1)]


async def test_conversations_of_a_batch_count_for_themselves(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    pairs = [await make_conversation(owner, user) for _ in range(2)]
    async with tenant(pool, user.user_id) as conn:
        await lock_conversations(conn, user.user_id, [user.chatbot_id] * 2, [c for c, _ in pairs])
        messages = [new(user, *pairs[n % 2], f"w.{n}", AT) for n in range(6)]
        recorded = await record_inbound(conn, user.user_id, messages)
    assert len(recorded) == 6
    assert await inputs(owner, pairs[0][1]) == [("w.0", 1), ("w.2", 2), ("w.4", 3)]
    assert await inputs(owner, pairs[1][1]) == [("w.1", 1), ("w.3", 2), ("w.5", 3)]


async def test_a_message_that_another_worker_is_recording_is_recorded_once(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    async with tenant(pool, user.user_id) as conn:
        await record(conn, user, contact, ["w.1", "w.2"])
        waiting = asyncio.create_task(ingest(pool, user, contact, ["w.2", "w.1", "w.3"]))
        await until_somebody_waits_for_a_lock(owner)
    assert [r.input_seq for r in await waiting] == [3]
    assert await inputs(owner, conversation) == [("w.1", 1), ("w.2", 2), ("w.3", 3)]


async def test_the_same_messages_from_many_sides_leave_no_gap(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    wamids = [f"w.{n}" for n in range(24)]
    dice = random.Random(11)
    batches = [dice.sample(wamids, 8) for _ in range(16)] + [wamids]
    recorded = await asyncio.gather(*(ingest(pool, user, contact, b) for b in batches))
    assert sum(map(len, recorded)) == len(wamids)
    found = await inputs(owner, conversation)
    assert sorted(w for w, _ in found) == sorted(wamids)
    assert [seq for _, seq in found] == list(range(1, len(wamids) + 1))
    assert (await row(owner, conversation))["input_seq"] == len(wamids)


async def test_a_wamid_is_a_chatbot_s_own(pool: Pool, owner: Owner) -> None:
    """What one chatbot was sent is not taken for another's, of the same tenant or of another."""
    one, other = await make_tenant(owner), await make_tenant(owner)
    second_bot = await make_chatbot(owner, one)
    for bot in (one, second_bot, other):
        contact, conversation = await make_conversation(owner, bot)
        assert len(await ingest(pool, bot, contact, ["w.same"])) == 1
        assert await inputs(owner, conversation) == [("w.same", 1)]


async def test_a_turn_reads_all_inputs_and_the_last_of_what_was_before(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    await ingest(pool, user, contact, [f"w.{n}" for n in range(10)])
    async with tenant(pool, user.user_id) as conn:
        rows = await read_messages(conn, user.user_id, conversation, 6, 3, 2)
        more = await read_messages(conn, user.user_id, conversation, 6, 100, 100)
    assert [r.input_seq for r in rows] == [4, 5, 6, 7, 8]
    assert [r.input_seq for r in more] == list(range(1, 11))


# ---- workers ------------------------------------------------------------------------------------


async def make_worker(pool: Pool, owner: Owner, *, beat_ago: timedelta = timedelta(0)) -> WorkerId:
    async with pool.acquire() as conn:
        worker = await register_worker(conn, "test")
    await owner.execute(
        "UPDATE workers SET beat_at = clock_timestamp() - $2::interval WHERE id = $1",
        worker,
        beat_ago,
    )
    return worker


async def sweep(pool: Pool) -> set[tuple[str, int]]:
    async with pool.acquire() as conn:
        return {(f.what, f.id) for f in await sweep_dead_workers(conn, TERM)}


async def holding(
    owner: Owner, user: Tenant, worker: WorkerId
) -> tuple[dict[str, ConversationId], dict[str, MessageId]]:
    """A worker's leases, one with an unanswered input, and its sends in every state."""
    unanswered, answered = await make_conversations(owner, user, 2)
    contact, talk = await make_conversation(owner, user)
    await owner.execute(
        "UPDATE conversations SET lease_owner = $2, epoch = 5, input_seq = 1,"
        " answered_seq = CASE WHEN id = $3 THEN 1 ELSE 0 END WHERE id = ANY ($1::bigint[])",
        [unanswered, answered],
        worker,
        answered,
    )
    sends = {}
    for status in ("queued", "sending", "unknown", "accepted"):
        sends[status] = await make_message(owner, user, contact, talk, status=status)
    await owner.execute(
        "UPDATE messages SET send_owner = $2,"
        " unknown_at = CASE WHEN status = 'unknown' THEN now() - interval '1 h' END"
        " WHERE id = ANY ($1::bigint[])",
        list(sends.values()),
        worker,
    )
    return {"unanswered": unanswered, "answered": answered}, sends


async def sends_of(owner: Owner, sends: dict[str, MessageId]) -> dict[str, tuple[Any, ...]]:
    rows = {r["id"]: r for r in await owner.fetch("SELECT * FROM messages")}
    return {
        was: (rows[i]["status"], rows[i]["send_owner"], rows[i]["unknown_count"])
        for was, i in sends.items()
    }


AFTER_SWEEP = {
    "queued": ("queued", None, 0),
    "sending": ("unknown", None, 1),
    "unknown": ("unknown", None, 0),
}


@pytest.mark.parametrize("registered", [True, False])
async def test_what_a_dead_worker_held_is_free_again(
    pool: Pool, owner: Owner, registered: bool
) -> None:
    user = await make_tenant(owner)
    dead = WorkerId(987_654)
    if registered:
        dead = await make_worker(pool, owner, beat_ago=timedelta(seconds=5))
    talks, sends = await holding(owner, user, dead)
    assert await sweep(pool) == {
        ("conversation", talks["unanswered"]),
        ("conversation", talks["answered"]),
        *(("message", sends[s]) for s in AFTER_SWEEP),
    }
    assert {s: r for s, r in (await sends_of(owner, sends)).items() if s in AFTER_SWEEP} == (
        AFTER_SWEEP
    )
    unknown_for = await owner.fetchval(
        "SELECT now() - unknown_at FROM messages WHERE id = $1", sends["sending"]
    )
    assert unknown_for < timedelta(minutes=1)
    assert [c.conversation_id for c in await claim(pool, ME, 10)] == [talks["unanswered"]]
    assert (await row(owner, talks["unanswered"]))["attempts"] == 1
    assert await sweep(pool) == {("conversation", talks["unanswered"])}  # ME is nobody either


async def test_what_a_living_worker_holds_is_left_alone(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    alive = await make_worker(pool, owner, beat_ago=timedelta(seconds=3))
    talks, sends = await holding(owner, user, alive)
    before = await sends_of(owner, sends)
    assert await sweep(pool) == set()
    assert await sends_of(owner, sends) == before
    for conversation in talks.values():
        assert (await row(owner, conversation))["lease_owner"] == alive
    async with pool.acquire() as conn:
        await retire_worker(conn, alive)  # as on a stop in order: at once
    assert len(await sweep(pool)) == 5


async def test_a_worker_that_was_taken_for_dead_learns_it_from_its_beat(
    pool: Pool, owner: Owner
) -> None:
    late = await make_worker(pool, owner, beat_ago=TERM * 5)
    gone = await make_worker(pool, owner, beat_ago=TERM * 11)
    await sweep(pool)
    async with pool.acquire() as conn:
        assert await beat(conn, late) == late
        assert await beat(conn, gone) is None


async def test_a_sweep_does_not_wait_for_a_turn_s_last_transaction(
    pool: Pool, owner: Owner
) -> None:
    """A beat was late, the turn is at its end: whoever has the row's lock decides."""
    user = await make_tenant(owner)
    contact, conversation = await make_conversation(owner, user)
    held = await claimed(pool, owner, user, contact)
    async with tenant(pool, user.user_id) as conn:
        assert await fence(conn, held, ME, 1) == "free"
        assert await sweep(pool) == set()
    assert await sweep(pool) == set()
    assert (await row(owner, conversation))["answered_seq"] == 1


async def test_a_worker_takes_back_what_it_no_longer_works_on(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    mine, others = await holding(owner, user, ME), await holding(owner, user, OTHER)
    async with pool.acquire() as conn:
        freed = await sweep_unheld(
            conn, ME, [mine[0]["answered"]], [mine[1]["queued"], mine[1]["unknown"]]
        )
    assert {(f.what, f.id) for f in freed} == {
        ("conversation", mine[0]["unanswered"]),
        ("message", mine[1]["sending"]),
    }
    assert (await sends_of(owner, mine[1]))["sending"] == ("unknown", None, 1)
    assert (await sends_of(owner, mine[1]))["queued"] == ("queued", ME, 0)
    assert (await sends_of(owner, others[1]))["sending"] == ("sending", OTHER, 0)
    assert [c.conversation_id for c in await claim(pool, ME, 10)] == [mine[0]["unanswered"]]


# ---- sends --------------------------------------------------------------------------------------


async def sendable(pool: Pool, worker: WorkerId, limit: int, tenant_max: int = ANY) -> list[int]:
    async with pool.acquire() as conn:
        claims = await claim_sends(conn, worker, limit, tenant_max, PAIR, OLD)
    return sorted(c.message_id for c in claims)


async def set_status(owner: Owner, message_id: MessageId, status: str) -> None:
    await owner.execute(
        "UPDATE messages SET status = $2, send_owner = NULL WHERE id = $1", message_id, status
    )


async def test_a_reply_waits_for_the_one_before_it(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, talk = await make_conversation(owner, user)
    first = await make_message(owner, user, contact, talk)
    second = await make_message(owner, user, contact, talk)
    elsewhere = await make_message(owner, user, *await make_conversation(owner, user))
    assert await sendable(pool, ME, 10) == [first, elsewhere]
    assert await sendable(pool, OTHER, 10) == []
    for status in ("queued", "sending", "unknown"):
        await set_status(owner, first, status)
        await owner.execute("UPDATE messages SET send_owner = $1 WHERE id = $2", ME, first)
        assert await sendable(pool, OTHER, 10) == [], status
    for status in ("accepted", "failed", "cancelled"):
        await set_status(owner, first, status)
        assert await sendable(pool, OTHER, 10) == [second], status
        await owner.execute("UPDATE messages SET send_owner = NULL WHERE id = $1", second)


async def test_a_reply_leaves_when_it_is_due(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user))
    await owner.execute("UPDATE messages SET send_after = now() + interval '1 min'")
    assert await sendable(pool, ME, 10) == []
    await owner.execute("UPDATE messages SET send_after = now()")
    assert await sendable(pool, ME, 10) == [message]


async def test_a_tenant_s_many_replies_leave_places_to_the_others(pool: Pool, owner: Owner) -> None:
    flood = await make_tenant(owner)
    await make_conversations(owner, flood, 200)
    await owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status)"
        " SELECT user_id, chatbot_id, contact_id, id, 'outbound', 'queued' FROM conversations"
    )
    others = [await make_tenant(owner) for _ in range(4)]
    for other in others * 2:
        await make_message(owner, other, *await make_conversation(owner, other))
    async with pool.acquire() as conn:
        claims = await claim_sends(conn, ME, 10, ANY, PAIR, OLD)
        assert per_tenant(claims) == {u.user_id: 2 for u in (flood, *others)}
        assert per_tenant(await claim_sends(conn, ME, 10, 6, PAIR, OLD)) == {flood.user_id: 4}
        assert await claim_sends(conn, ME, 10, 6, PAIR, OLD) == []


async def test_who_has_replies_under_way_waits_behind_who_has_none(
    pool: Pool, owner: Owner
) -> None:
    """Whichever workers have them, and however many older ones are queued."""
    flood, other = await make_tenant(owner), await make_tenant(owner)
    for _ in range(6):
        await make_message(owner, flood, *await make_conversation(owner, flood))
    async with pool.acquire() as conn:
        assert len(await claim_sends(conn, OTHER, 3, ANY, PAIR, OLD)) == 3
        for _ in range(4):
            await make_message(owner, other, *await make_conversation(owner, other))
        claims = await claim_sends(conn, ME, 3, ANY, PAIR, OLD)
    assert per_tenant(claims) == {other.user_id: 3}


async def test_a_reply_that_somebody_has_locked_holds_up_no_other(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    busy, free = [
        await make_message(owner, user, *await make_conversation(owner, user)) for _ in range(2)
    ]
    async with pool.acquire() as conn, conn.transaction():
        await owner.execute("BEGIN")
        await owner.execute("SELECT FROM messages WHERE id = $1 FOR UPDATE", busy)
        async with asyncio.timeout(10):
            claims = await claim_sends(conn, ME, 10, ANY, PAIR, OLD)
        await owner.execute("COMMIT")
    assert [c.message_id for c in claims] == [free]


async def test_concurrent_senders_never_get_the_same(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    messages = []
    for _ in range(30):
        messages.append(await make_message(owner, user, *await make_conversation(owner, user)))
    taken: list[int] = []
    for _ in range(10):
        rounds = await asyncio.gather(*(sendable(pool, WorkerId(n), 4) for n in range(1, 9)))
        taken += itertools.chain(*rounds)
    assert sorted(taken) == messages


async def test_a_send_is_read_by_its_claimant_while_it_is_queued(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user))
    await sendable(pool, ME, 1)
    async with tenant(pool, user.user_id) as conn:
        assert not await lock_send(conn, user.user_id, message, OTHER)
        assert await lock_send(conn, user.user_id, message, ME)
        send = await read_send(conn, user.user_id, message, OLD)
        assert send is not None
        assert (send.content_text, send.send_attempts, send.silenced) == ("hello", 0, False)
        await mark_sending(conn, user.user_id, message, PAIR.every)
        assert not await lock_send(conn, user.user_id, message, ME)


async def test_an_unknown_outcome_waits_and_goes_once_more(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user))
    wait = timedelta(minutes=1)
    for times in (1, 2):
        assert await sendable(pool, ME, 1) == [message]
        async with tenant(pool, user.user_id) as conn:
            await mark_sending(conn, user.user_id, message, PAIR.every)
            assert await mark_unknown(conn, user.user_id, message) == "unknown"
        async with pool.acquire() as again:
            assert await fence_wanted(again, wait) is None
            await owner.execute("UPDATE messages SET unknown_at = now() - interval '61 s'")
            mark = await fence_wanted(again, wait)
            assert mark is not None
            await move_fence(again, mark - timedelta(seconds=2), timedelta(minutes=5))
            assert await overdue_sends(again, wait, 10) == []
            await move_fence(again, mark, timedelta(minutes=5))
            (due,) = await overdue_sends(again, wait, 10)
            assert due.message_id == message
            await move_fence(
                again, mark + timedelta(hours=1), timedelta(minutes=5)
            )  # by a clock that was ahead
            await owner.execute("UPDATE messages SET unknown_at = now() - interval '59 s'")
            assert await overdue_sends(again, wait, 10) == []
            await move_fence(again, mark, timedelta(minutes=5))
        async with tenant(pool, user.user_id) as conn:
            # Found before, but sent again and unknown anew since: it has its own wait.
            await owner.execute("UPDATE messages SET unknown_at = now() - interval '59 s'")
            assert await lock_unknown(conn, user.user_id, message, wait) is None
            await owner.execute("UPDATE messages SET unknown_at = now() - interval '61 s'")
            lost = await lock_unknown(conn, user.user_id, message, wait)
            assert lost == Lost(unknown_count=times, bulk=False)
            assert await requeue_send(conn, user.user_id, message, timedelta(0), {}) == times
            assert await lock_unknown(conn, user.user_id, message, wait) is None


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("sending", "accepted"),
        ("unknown", "accepted"),
        ("queued", "accepted"),
        ("delivered", "delivered"),
        ("failed", "failed"),
        ("cancelled", "cancelled"),
    ],
)
async def test_meta_s_late_answer(pool: Pool, owner: Owner, was: str, becomes: str) -> None:
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user), status=was)
    async with tenant(pool, user.user_id) as conn:
        took = await mark_accepted(conn, user.user_id, message, Wamid("w.answer"))
        assert took is not None
        assert took.status == becomes
    assert await sendable(pool, ME, 1) == []
    assert await owner.fetchval("SELECT message_id FROM messages") == "w.answer"


async def test_a_send_ends_once(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    message = await make_message(owner, user, *await make_conversation(owner, user))
    await owner.execute("UPDATE messages SET usage_day = '2026-11-22'")
    async with tenant(pool, user.user_id) as conn:
        ended = await end_send(conn, user.user_id, message, "cancelled", {"reason": "x"})
        assert ended is not None
        assert ended.usage_day == date(2026, 11, 22)
        assert await end_send(conn, user.user_id, message, "failed", {}) is None


# ---- statuses -----------------------------------------------------------------------------------


async def merge(
    conn: Conn,
    user: Tenant,
    wamid: str,
    status: str,
    our_id: MessageId | None = None,
    attempt: int | None = None,
) -> list[Merged]:
    report = StatusReport(
        wamid=Wamid(wamid),
        our_id=our_id,
        attempt=attempt,
        status=status,
        report={"statuses": {status: f"at-{status}"}},
    )
    return await merge_statuses(conn, user.user_id, user.chatbot_id, [report])


async def metered(owner: Owner, user: Tenant, *, wamid: str | None, status: str) -> MessageId:
    message = await make_message(
        owner, user, *await make_conversation(owner, user), wamid=wamid, status=status
    )
    await owner.execute("UPDATE messages SET usage_day = '2026-11-22' WHERE id = $1", message)
    return message


@pytest.mark.parametrize("known", [True, False], ids=["by_wamid", "by_our_id"])
async def test_statuses_end_alike_in_any_order(pool: Pool, owner: Owner, known: bool) -> None:
    user = await make_tenant(owner)
    everything = ("sent", "delivered", "read", "failed")
    chosen = [
        order
        for size in (1, 2, 3, 4)
        for some in itertools.combinations(everything, size)
        for order in itertools.permutations(some)
    ]
    assert len(chosen) == 64
    highest = ("read", "delivered", "failed", "sent")
    for n, order in enumerate(chosen):
        wamid = f"w.{n}"
        message = await metered(
            owner, user, wamid=wamid if known else None, status="accepted" if known else "sending"
        )
        given_back = 0
        async with tenant(pool, user.user_id) as conn:
            for status in order:
                (merged,) = await merge(conn, user, wamid, status, None if known else message)
                given_back += merged.give_back_day is not None
                assert merged.failed_now == (merged.give_back_day is not None)
        now = await owner.fetchrow("SELECT * FROM messages WHERE id = $1", message)
        assert now is not None
        assert now["status"] == next(s for s in highest if s in order), order
        assert now["message_id"] == wamid
        # The unit was given back exactly if the row says so; 'failed' after 'delivered' is late.
        assert given_back == (now["usage_day"] is None)
        assert given_back <= ("failed" in order)
        for status in order:
            assert f'"{status}": "at-{status}"' in now["metadata"]


async def test_a_failure_gives_its_unit_back_once(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    await metered(owner, user, wamid="w.1", status="accepted")

    async def fail() -> list[Merged]:
        async with tenant(pool, user.user_id) as conn:
            return await merge(conn, user, "w.1", "failed")

    async with tenant(pool, user.user_id) as conn:
        (first,) = await merge(conn, user, "w.1", "failed")
        waiting = asyncio.create_task(fail())
        await until_somebody_waits_for_a_lock(owner)
    assert (first.give_back_day, first.failed_now) == (date(2026, 11, 22), True)
    (second,) = await waiting
    assert (second.give_back_day, second.failed_now) == (None, False)
    (third,) = await fail()
    assert (third.give_back_day, third.failed_now) == (None, False)


async def test_a_status_settles_a_send_of_unknown_outcome(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    for was in ("sending", "unknown", "queued"):
        message = await metered(owner, user, wamid=None, status=was)
        await owner.execute("UPDATE messages SET unknown_at = now() WHERE status = 'unknown'")
        async with tenant(pool, user.user_id) as conn:
            assert len(await merge(conn, user, f"w.{was}", "delivered", message)) == 1
        now = await owner.fetchrow("SELECT * FROM messages WHERE id = $1", message)
        assert now is not None
        assert (now["status"], now["message_id"]) == ("delivered", f"w.{was}")
        assert now["unknown_at"] is None
    assert await sendable(pool, ME, 10) == []


async def test_our_id_alone_does_not_move_a_message_with_another_wamid(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    message = await metered(owner, user, wamid="w.real", status="accepted")
    async with tenant(pool, user.user_id) as conn:
        assert await merge(conn, user, "w.forged", "read", message) == []


async def test_of_a_message_that_went_out_twice_the_other_send_cannot_fail_it(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    message = await metered(owner, user, wamid="w.second", status="accepted")
    await owner.execute("UPDATE messages SET send_attempts = 2")
    async with tenant(pool, user.user_id) as conn:
        (merged,) = await merge(conn, user, "w.first", "failed", message)
        assert (merged.status, merged.failed_now) == ("accepted", False)
        (merged,) = await merge(conn, user, "w.first", "delivered", message)
        assert merged.status == "delivered"
    assert await owner.fetchval("SELECT message_id FROM messages") == "w.second"


async def test_statuses_of_one_message_in_one_batch_count_by_the_furthest(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    message = await metered(owner, user, wamid="w.2", status="accepted")
    await owner.execute("UPDATE messages SET send_attempts = 2")
    async with tenant(pool, user.user_id) as conn:
        reports = [
            StatusReport(
                wamid=Wamid(wamid), our_id=our_id, attempt=attempt, status=status, report=report
            )
            for wamid, our_id, attempt, status, report in (
                ("w.2", message, 2, "sent", {"statuses": {"sent": "a"}}),
                ("w.1", message, 1, "read", {"statuses": {"read": "b"}}),
                ("w.nobody", None, None, "sent", {"statuses": {}}),
            )
        ]
        merged = await merge_statuses(conn, user.user_id, user.chatbot_id, reports)
    assert sorted((m.place, m.status) for m in merged) == [(1, "read"), (2, "read")]


@pytest.mark.parametrize("was", ["sending", "queued", "unknown", "cancelled"])
async def test_an_earlier_attempt_cannot_fail_a_message_that_goes_again(
    pool: Pool, owner: Owner, was: str
) -> None:
    user = await make_tenant(owner)
    message = await metered(owner, user, wamid=None, status=was)
    await owner.execute("UPDATE messages SET send_attempts = 2")
    async with tenant(pool, user.user_id) as conn:
        (merged,) = await merge(conn, user, "w.first", "failed", message, 1)
        assert (merged.status, merged.failed_now) == (was, False)


async def test_the_last_attempt_can_fail_a_message_unless_it_goes_again(
    pool: Pool, owner: Owner
) -> None:
    user = await make_tenant(owner)
    for was, failed in (("sending", True), ("unknown", True), ("queued", False)):
        message = await metered(owner, user, wamid=None, status=was)
        await owner.execute("UPDATE messages SET send_attempts = 1 WHERE id = $1", message)
        async with tenant(pool, user.user_id) as conn:
            (merged,) = await merge(conn, user, f"w.{was}", "failed", message, 1)
            assert merged.failed_now is failed, was


async def test_the_failure_of_an_earlier_attempt_does_not_hide_that_of_the_last(
    pool: Pool, owner: Owner
) -> None:
    """The wamid that came with the first must not be taken for the message's."""
    user = await make_tenant(owner)
    message = await metered(owner, user, wamid=None, status="queued")
    await owner.execute("UPDATE messages SET send_attempts = 1")
    async with tenant(pool, user.user_id) as conn:
        await merge(conn, user, "w.first", "failed", message, 1)
        await mark_sending(conn, user.user_id, message, PAIR.every)
        took = await mark_accepted(conn, user.user_id, message, Wamid("w.second"))
        assert took is not None
        assert took.status == "accepted"
        (merged,) = await merge(conn, user, "w.second", "failed", message, 2)
    assert (merged.status, merged.failed_now) == ("failed", True)
    assert merged.give_back_day == date(2026, 11, 22)
    assert await owner.fetchval("SELECT message_id FROM messages") == "w.second"


@pytest.mark.parametrize("was", ["failed", "cancelled"])
@pytest.mark.parametrize("told", ["sent", "delivered", "failed"])
async def test_a_message_taken_for_unsent_turns_out_to_have_arrived(
    pool: Pool, owner: Owner, was: str, told: str
) -> None:
    """An attempt of unknown outcome, given up or called off before it went again."""
    user = await make_tenant(owner)
    message = await metered(owner, user, wamid=None, status=was)
    await owner.execute("UPDATE messages SET send_attempts = 1")
    async with tenant(pool, user.user_id) as conn:
        (merged,) = await merge(conn, user, "w.1", told, message, 1)
    arrived = told == "delivered" or (told, was) == ("sent", "cancelled")
    assert merged.status == (told if arrived else was)
    assert (merged.arrived_after_all, merged.failed_now) == (arrived, False)


async def test_a_status_of_another_chatbot_or_tenant_finds_nothing(
    pool: Pool, owner: Owner
) -> None:
    ours, theirs = await make_tenant(owner), await make_tenant(owner)
    message = await metered(owner, ours, wamid="w.1", status="accepted")
    waiting = await metered(owner, ours, wamid=None, status="sending")
    beside = await make_chatbot(owner, ours)
    for asker in (beside, theirs):
        async with tenant(pool, asker.user_id) as conn:
            assert await merge(conn, asker, "w.1", "read") == []
            assert await merge(conn, asker, "w.2", "read", waiting) == []
    async with tenant(pool, theirs.user_id) as conn:  # even when the code mixes tenants up
        assert await merge(conn, ours, "w.1", "read") == []
    rows = await owner.fetch(
        "SELECT status FROM messages WHERE id = ANY ($1::bigint[]) ORDER BY id", [message, waiting]
    )
    assert [r["status"] for r in rows] == ["accepted", "sending"]


async def test_an_inbound_message_takes_no_status(pool: Pool, owner: Owner) -> None:
    user = await make_tenant(owner)
    contact, _ = await make_conversation(owner, user)
    (recorded,) = await ingest(pool, user, contact, ["w.in"])
    async with tenant(pool, user.user_id) as conn:
        assert await merge(conn, user, "w.in", "read", recorded.id) == []


# ---- across tenants, as whoever DATABASE_URL is --------------------------------------------------


async def test_claims_look_across_tenants_whatever_the_login(
    database: Database, owner: Owner
) -> None:
    for _ in range(2):
        await make_ready(owner, await make_tenant(owner), 1)
    superuser = await create_pool(database.owner_url, size=1, name="tests")
    try:
        claims = await claim(superuser, ME, 10)
    finally:
        superuser.terminate()
    assert len(per_tenant(claims)) == 2
