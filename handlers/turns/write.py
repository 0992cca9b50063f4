"""A turn ends: what was decided, and everything it read settled, in one transaction."""

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import assert_never

import structlog

from db.conversation_events import defer_events, settle_events
from db.conversations import (
    Claim,
    fence,
    forget_threads,
    hand_over,
    note_limit,
    note_media,
    put_back,
    since_inbound,
    trust_thread,
)
from db.messages import NewText, queue_text, settle_inputs
from db.pool import UNAVAILABLE, Conn, tenant
from db.usage import release_messages, settle_messages
from handlers import actions
from handlers.plans import ACTION_EXPIRY_HOURS
from handlers.rules import opaque
from handlers.rules.backoff import backoff
from handlers.rules.window import is_open
from handlers.sends.ending import end_message
from handlers.sends.rules import OUTSIDE_WINDOW
from handlers.turns.decide import (
    Apologise,
    Decision,
    Notice,
    Read,
    Say,
    Silent,
    unsaid,
)
from handlers.turns.inputs import STALE, tells_later
from handlers.turns.turn import Turn

log: structlog.stdlib.BoundLogger = structlog.get_logger()

WRITE_PATIENCE_S = 20.0  # an answer is dear: keep it while the database restarts
# How long the bot stays silent after it gave up, so that a colleague can take over. It ends by
# itself, because nobody may be looking.
HANDOVER = timedelta(minutes=30)
EVENT_WAIT = timedelta(minutes=5)  # until an event that could not be told comes up again


async def write_patiently(turn: Turn, read: Read, decision: Decision) -> Decision | None:
    """Repeats a write that the database's absence cut short. If the first one did commit after
    all, the second misses at the fence: the lease went with the commit."""
    deadline = time.monotonic() + WRITE_PATIENCE_S
    for failures in range(1_000):
        try:
            return await _write(turn, read, decision)
        except UNAVAILABLE:
            if time.monotonic() > deadline:
                raise
            wait = backoff(failures, base_s=0.1, cap_s=2.0, dice=random.random())
            await asyncio.sleep(wait.total_seconds())
    raise AssertionError("unreachable: the deadline comes first")


async def _write(turn: Turn, read: Read, decision: Decision) -> Decision | None:
    """The turn's last transaction, and what it came to be: a person may have come in. None: the
    lease is somebody else's, nothing was written."""
    claim = turn.claim
    async with tenant(turn.pool, claim.user_id) as conn:
        silenced = await fence(
            conn,
            claim.user_id,
            claim.conversation_id,
            turn.worker_id,
            claim.epoch,
            read.found.read_seq,
        )
        if silenced is None:
            return None
        if silenced:
            decision = unsaid(decision, read)
        match decision:
            case Say():
                await _say(conn, turn, read, decision)
                return decision
            case Apologise():
                await _note(conn, turn, read, decision)
                await hand_over(
                    conn, claim.user_id, claim.conversation_id, HANDOVER, decision.reason
                )
            case Notice():
                if await _is_news(conn, claim, decision):
                    await _note(conn, turn, read, decision)
            case Silent():
                pass
            case _:
                assert_never(decision)
        await _settle(conn, turn, read, decision)
        await _spend(conn, claim, 0)
    return decision


async def _say(conn: Conn, turn: Turn, read: Read, say: Say) -> None:
    claim, context = turn.claim, read.found.context
    text = NewText(
        content_text=say.text,
        metadata=say.metadata,
        in_reply_to=read.found.quotable,
        usage_day=say.unit.usage_day,
        overage=say.unit.overage,
    )
    queued = await queue_text(conn, claim.user_id, claim.conversation_id, text)
    if say.slot is None:
        await forget_threads(conn, claim.user_id, [claim.conversation_id])
    else:
        await turn.agent.saver.store(conn, context.thread_id, say.slot)
        if context.rebuild_thread:
            await trust_thread(conn, claim.user_id, claim.conversation_id)
    await _settle(conn, turn, read, say)
    expiry_hours = read.found.plan.get(ACTION_EXPIRY_HOURS)
    await actions.create(conn, claim.user_id, claim.conversation_id, say.requests, expiry_hours)
    await _spend(conn, claim, 1)
    if not (
        is_open(read.found.since_inbound(turn.elapsed_s))
        or is_open(await since_inbound(conn, claim.user_id, claim.conversation_id))
    ):
        await end_message(conn, claim.user_id, queued, OUTSIDE_WINDOW)


async def _note(conn: Conn, turn: Turn, read: Read, note: Apologise | Notice) -> None:
    """In fixed words, and outside the meter."""
    metadata = {"kind": "notice", "reason": note.reason} | read.found.trace
    text = NewText(content_text=note.text, metadata=metadata, in_reply_to=read.found.quotable)
    await queue_text(conn, turn.claim.user_id, turn.claim.conversation_id, text)


async def _is_news(conn: Conn, claim: Claim, notice: Notice) -> bool:
    """The fence holds the conversation's row: of its turns, one tells."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    if notice.usage_day is not None:
        return bool(await note_limit(conn, user_id, conversation_id, notice.usage_day))
    return bool(await note_media(conn, user_id, conversation_id, opaque.NOTICE_EVERY))


async def _settle(conn: Conn, turn: Turn, read: Read, decision: Decision) -> None:
    """What the turn read is dealt with."""
    user_id, this = turn.claim.user_id, read.found
    answered = isinstance(decision, Say | Apologise)
    told = isinstance(decision, Say)
    reason = None if told else decision.reason
    if this.inputs:
        duration = Decimal(round(turn.elapsed_s, 3)).quantize(Decimal("0.001"))
        ids = [row.id for row in this.inputs]
        await settle_inputs(conn, user_id, ids, answered, reason, duration)
    if this.stale:
        await settle_inputs(conn, user_id, [row.id for row in this.stale], False, STALE, None)
    by_human = decision.by_human if isinstance(decision, Silent) else this.context.by_human
    now = datetime.now(UTC)
    later = [
        event.id
        for event in this.events
        if reason is not None and tells_later(event, reason, by_human, now)
    ]
    if done := [event.id for event in this.events if event.id not in later]:
        await settle_events(conn, user_id, done, reason)
    if later:
        await defer_events(conn, user_id, later, EVENT_WAIT)


async def _spend(conn: Conn, claim: Claim, units: int) -> None:
    """Also none: a turn that died may have left a reservation behind."""
    if not await settle_messages(conn, claim.user_id, claim.conversation_id, units):
        raise RuntimeError("the unit that this turn reserved is gone")


async def give_up(turn: Turn, *, failed: bool) -> None:
    """Leaves the conversation to another try. When even that fails, the sweep finds the lease."""
    claim = turn.claim
    try:
        async with tenant(turn.pool, claim.user_id) as conn:
            held = await put_back(
                conn,
                claim.user_id,
                claim.conversation_id,
                turn.worker_id,
                claim.epoch,
                failed,
            )
            if held is not None:
                await release_messages(conn, claim.user_id, claim.conversation_id)
    except Exception as error:
        log.warning("turn.not_put_back", conversation_id=claim.conversation_id, exc_info=error)
