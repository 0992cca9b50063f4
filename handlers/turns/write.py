"""A turn ends: what was decided, and everything it read settled, in one transaction."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_never

import structlog

from db.chatbots import mark_failing, mark_recovered
from db.contact_days import count_answer, count_tokens
from db.conversation_events import abandon_events, defer_events, settle_events
from db.conversations import (
    Claim,
    PutOff,
    abandon,
    fence,
    forget_threads,
    hand_over,
    note_limit,
    note_media,
    note_topic,
    put_back,
    put_off,
    read_manner,
    stop_loop,
)
from db.embeddings import count_embedding_calls
from db.ids import ChatbotId, UserId
from db.messages import NewText, abandon_inputs, queue_text, settle_inputs
from db.model_calls import Calls, count_model_calls
from db.orders import Whose, hold_contact
from db.pool import UNAVAILABLE, Conn, tenant
from db.usage import release_messages, spend_messages
from db.waits import note_wait
from handlers import actions, facts, unanswered
from handlers.deliveries.catalogue import (
    BotFailing,
    BotLoopStopped,
    BotRecovered,
    ConversationTakenOver,
)
from handlers.deliveries.outbox import tell
from handlers.fixed.languages import TEXTS_MAX
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice
from handlers.handovers import hand_over_by_bot
from handlers.plans import ACTION_EXPIRY_HOURS, RESPONSE_TIME_HOURS, Limit
from handlers.rules import opaque
from handlers.rules.backoff import backoff
from handlers.turns.decide import (
    MAX_FAILURES,
    TURN_FAILED,
    Apologise,
    Decision,
    Later,
    Notice,
    Read,
    Sale,
    Say,
    Silent,
    StopLoop,
    Told,
    unsaid,
)
from handlers.turns.inputs import BLOCKED, PUT_OFF, STALE, decided, tells_later
from handlers.turns.leaving import leave
from handlers.turns.own_calls import keep_thread
from handlers.turns.pace import SILENCE
from handlers.turns.sale import What, keep_quoted, sell, with_ids
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


@asynccontextmanager
async def _billed(turn: Turn) -> AsyncIterator[Conn]:
    """A transaction that ends the turn, in whatever way: with it goes what its model calls are paid
    for, also when the lease is lost and nothing else is written."""
    claim, bill = turn.claim, turn.bill
    async with tenant(turn.pool, claim.user_id) as conn:
        if bill.bounded and (calls := _calls(turn)):
            tokens = sum(one.input_tokens + one.output_tokens for one in calls)
            count_tokens(conn, turn.reserving, tokens)  # before the unit is settled
        yield conn
        if bill.chatbot_id is not None:
            for one in _calls(turn):
                count_model_calls(conn, turn.reserving, bill.chatbot_id, one)
            for model, tally in bill.spent.embeddings.items():
                spent = (model, tally.calls, tally.input_tokens)
                count_embedding_calls(conn, claim.user_id, bill.chatbot_id, spent, turn.reserving)


def _calls(turn: Turn) -> list[Calls]:
    """In the order of their names, as rows of usage are locked."""
    return [
        Calls(model=model, **asdict(of))
        for model, of in sorted(turn.bill.spent.by_model.items(), key=lambda one: one[0])
    ]


def _tokens(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of all that the turn asked, what came to nothing too; for the reply's metadata."""
    if not calls:
        return {}
    kinds = {"input": "input_tokens", "cached": "cached_tokens", "output": "output_tokens"}
    return {"tokens": {kind: sum(one[key] for one in calls) for kind, key in kinds.items()}}


async def _write(turn: Turn, read: Read, decision: Decision) -> Decision | None:
    """The turn's last transaction, and what it came to be: a person may have come in. None: nothing
    was written, and another turn answers: the lease is somebody else's, or was given back."""
    claim = turn.claim
    if isinstance(decision, Later):
        return await _put_off(turn, read, decision)
    async with _billed(turn) as conn:
        if isinstance(decision, Sale):  # a contact before its conversation
            await hold_contact(conn, claim.user_id, read.found.context.contact_id)
        fenced = await fence(
            conn, claim, turn.worker_id, read.found.read_seq, read.found.context.answered_seq
        )
        if fenced is None:
            return None
        if fenced == "outdated":
            turn.report.outcome = "outdated"
            await _put_back(conn, turn, failed=False)
            return None
        if fenced == "silenced":
            decision = unsaid(decision, read)
        elif fenced == BLOCKED:
            decision = unsaid(decision, read, BLOCKED)
        match decision:
            case Say():
                await _say(conn, turn, read, decision)
                return decision
            case Apologise():
                await _note(conn, turn, read, decision.text, decision.reason)
                await _to_a_person(conn, claim, decision.reason)
            case Notice():
                if await _is_news(conn, claim, decision):
                    await _note(conn, turn, read, decision.text, decision.reason)
            case Told():
                await _note(conn, turn, read, decision.text, decision.reason)
            case StopLoop():
                await _stop_loop(conn, turn, read, decision)
            case Sale(what):
                decision = replace(decision, reason=await _sell(conn, turn, read, what))
            case Silent():
                pass
            case _:
                assert_never(decision)
        await _settle(conn, turn, read, decision)
        if decision.reason in PUT_OFF and read.found.inputs:
            await note_wait(conn, claim.user_id, claim.conversation_id, decision.reason)
        # Also none: a turn that died may have left a reservation behind.
        spend_messages(conn, claim.user_id, claim.conversation_id, 0)
    return decision


async def _say(conn: Conn, turn: Turn, read: Read, say: Say) -> None:
    claim, context = turn.claim, read.found.context
    if context.chatbot_failing and say.reason is None:  # not in fixed words
        await _recovered(conn, claim.user_id, context.chatbot_id)
    calls = [asdict(one) for one in _calls(turn)]
    if say.quoted is not None and say.layout is not None:
        under = await keep_quoted(conn, claim, say.quoted, say.layout, read.found.begun_by)
    else:
        under = with_ids(say.layout)
    text = NewText(
        content_text=say.text,
        metadata=say.metadata | _tokens(calls) | under | decided(read.found),
        in_reply_to=read.found.quotable,
        usage_day=say.unit.usage_day,
        overage=say.unit.overage,
        calls=calls or None,
        confidence_score=None if say.confidence is None else _score(say.confidence),
    )
    queued = await queue_text(conn, claim.user_id, claim.conversation_id, text)
    assert queued is not None, "hidden with its chatbot: nothing of this turn may be committed"
    if say.slot is None:
        await forget_threads(conn, claim.user_id, [claim.conversation_id])
    else:
        await keep_thread(conn, turn, context, say.slot, queued)
    await _settle(conn, turn, read, say)
    # The contact's day before the tenant's, which requests are counted on.
    if read.found.plan.limit(Limit.MAX_MESSAGES_PER_CONTACT_DAY) is not None:
        count_answer(conn, claim.user_id, claim.conversation_id, say.unit.usage_day)
    expiry_hours = read.found.plan.get(ACTION_EXPIRY_HOURS)
    await actions.create(conn, claim.user_id, claim.conversation_id, say.requests, expiry_hours)
    learnt = [(fact.about, fact.text) for fact in say.facts]
    await facts.keep(conn, claim.user_id, [row.id for row in read.found.inputs], learnt)
    if say.unanswered is not None:
        asked = [row.id for row in read.found.inputs]
        await unanswered.note(conn, claim.user_id, context.chatbot_id, asked, say.unanswered)
    if say.handed_over is not None:
        hours = read.found.plan.get(RESPONSE_TIME_HOURS)
        await hand_over_by_bot(conn, claim, hours, say.handed_over)
    if context.off_topic or say.off_topic:
        await note_topic(conn, claim.user_id, claim.conversation_id, off_topic=say.off_topic)
    spend_messages(conn, claim.user_id, claim.conversation_id, 1)
    await leave(conn, claim, read, say, queued, turn.elapsed_s)


def _score(share: float) -> Decimal:
    return Decimal(min(max(share, 0.0), 1.0)).quantize(Decimal("0.0001"))


async def _recovered(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
    if await mark_recovered(conn, user_id, chatbot_id):
        await tell(conn, user_id, BotRecovered(chatbot_id=chatbot_id))


async def _sell(conn: Conn, turn: Turn, read: Read, what: What) -> str:
    """What came of it, in a word."""
    context = read.found.context
    whose = Whose(context.chatbot_id, context.contact_id)
    said, more = await sell(conn, turn.claim, whose, what, read.found.voice, read.found.begun_by)
    await _note(conn, turn, read, said.text, said.reason, **more)
    return said.reason


async def _note(conn: Conn, turn: Turn, read: Read, text: str, reason: str, **more: Any) -> None:
    """In fixed words, and outside the meter."""
    metadata = {"kind": "notice", "reason": reason} | read.found.trace | more
    new = NewText(content_text=text, metadata=metadata, in_reply_to=read.found.quotable)
    await queue_text(conn, turn.claim.user_id, turn.claim.conversation_id, new)


async def _to_a_person(conn: Conn, claim: Claim, reason: str) -> bool:
    """The bot is silent for a while, and the tenant hears why. False: a person has it already."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    handed = await hand_over(conn, user_id, conversation_id, HANDOVER, "product", reason)
    if handed is None:
        return False
    taken = ConversationTakenOver(
        chatbot_id=handed.chatbot_id,
        contact_id=handed.contact_id,
        conversation_id=conversation_id,
        by="product",
        reason=reason,
        until=handed.taken_over_until,
    )
    await tell(conn, user_id, taken)
    since = await mark_failing(conn, user_id, handed.chatbot_id)
    if since is not None:
        failing = BotFailing(
            chatbot_id=handed.chatbot_id,
            contact_id=handed.contact_id,
            conversation_id=conversation_id,
            reason=reason,
            since=since,
        )
        await tell(conn, user_id, failing)
    return True


async def _stop_loop(conn: Conn, turn: Turn, read: Read, decision: StopLoop) -> None:
    user_id, conversation_id = turn.claim.user_id, turn.claim.conversation_id
    stopped = await stop_loop(conn, user_id, conversation_id, SILENCE, decision.reason)
    if stopped is None:
        return
    await _note(conn, turn, read, decision.text, decision.reason)
    event = BotLoopStopped(
        chatbot_id=stopped.chatbot_id,
        contact_id=stopped.contact_id,
        conversation_id=conversation_id,
        until=stopped.taken_over_until,
    )
    await tell(conn, user_id, event)


async def _put_off(turn: Turn, read: Read, later: Later) -> Later | None:
    """Nothing is settled: the turn comes again."""
    claim = turn.claim
    async with _billed(turn) as conn:
        off = PutOff(
            wait=later.wait,
            failing_for=later.failing_for,
            paid=later.paid,
            tells=later.text is not None,
        )
        tells = await put_off(conn, claim, turn.worker_id, off)
        if tells is None:
            return None
        if tells and later.text is not None:
            await _note(conn, turn, read, later.text, later.reason)
        release_messages(conn, claim.user_id, claim.conversation_id)
    return later


async def _is_news(conn: Conn, claim: Claim, notice: Notice) -> bool:
    """The fence holds the conversation's row: of its turns, one tells."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    if notice.usage_day is not None:
        return bool(await note_limit(conn, user_id, conversation_id, notice.usage_day))
    return bool(await note_media(conn, user_id, conversation_id, opaque.NOTICE_EVERY))


async def _settle(conn: Conn, turn: Turn, read: Read, decision: Decision) -> None:
    """What the turn read is dealt with."""
    user_id, this = turn.claim.user_id, read.found
    answered = isinstance(decision, Say | Apologise | Told | Sale)
    told = isinstance(decision, Say)
    reason = None if told else decision.reason
    if this.inputs:
        duration = Decimal(round(turn.elapsed_s, 3)).quantize(Decimal("0.001"))
        await settle_inputs(conn, user_id, this.inputs, answered, reason, duration)
    if this.stale:
        await settle_inputs(conn, user_id, this.stale, False, STALE, None)
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


async def give_up(turn: Turn, *, failed: bool) -> None:
    """Leaves the conversation to another try. When even that fails, the sweep finds the lease."""
    claim = turn.claim
    try:
        async with _billed(turn) as conn:
            failures = await _put_back(conn, turn, failed=failed)
            if failed and failures is not None and failures > MAX_FAILURES:
                await _abandon(conn, claim)
    except Exception as error:
        log.warning("turn.not_put_back", conversation_id=claim.conversation_id, exc_info=error)


async def _put_back(conn: Conn, turn: Turn, *, failed: bool) -> int | None:
    """For another turn, with the unit given back. None: the lease is somebody else's."""
    claim = turn.claim
    failures = await put_back(
        conn, claim.user_id, claim.conversation_id, turn.worker_id, claim.epoch, failed
    )
    if failures is not None:
        release_messages(conn, claim.user_id, claim.conversation_id)
    return failures


async def _abandon(conn: Conn, claim: Claim) -> None:
    """Even the turn that would have apologised failed: something in the record cannot be read. As
    little of it as possible is."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    log.error("turn.abandoned", user_id=user_id, conversation_id=conversation_id)
    await abandon_inputs(conn, user_id, conversation_id, TURN_FAILED)
    await abandon_events(conn, user_id, conversation_id, TURN_FAILED)
    await abandon(conn, user_id, conversation_id)
    if not await _to_a_person(conn, claim, TURN_FAILED):
        return
    manner = await read_manner(conn, user_id, conversation_id, TEXTS_MAX)
    voice = Voice(
        own=manner.texts,
        chosen=manner.contact_language,
        wrote=manner.wrote,
        otherwise=(manner.chatbot_language, manner.tenant_language),
    )
    metadata = {"kind": "notice", "reason": TURN_FAILED}
    text = NewText(content_text=voice.says(Kind.APOLOGY), metadata=metadata)
    await queue_text(conn, user_id, conversation_id, text)
