"""A turn: everything a customer has written since the last one, answered once, together with what
else happened that they have to hear of (events).

    read    one transaction: what the turn has to know, its inputs, one unit reserved
    think   no transaction, no connection: the agent runs
    write   one transaction: fence, reply queued, actions, checkpoint, inputs settled, counters

Whoever loses the lease in between fails at the fence and writes nothing. A turn that fails gives
its unit back and leaves the conversation ready for another try; after MAX_FAILURES, and at once
when the model gives no answer, the customer gets an apology and the conversation goes to a human.
A decision that a person made is told in any case, if need be in fixed words and later.
"""

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from db.checkpoints import load_checkpoint
from db.conversation_events import (
    defer_events,
    read_events,
    settle_events,
)
from db.conversations import (
    Claim,
    TurnContext,
    fence,
    forget_thread,
    hand_over,
    note_limit,
    note_media,
    put_back,
    read_turn,
    since_inbound,
)
from db.ids import EventId, MessageId, WorkerId
from db.messages import Message, queue_reply, read_messages, settle_inputs
from db.pool import UNAVAILABLE, Conn, Pool, tenant
from db.usage import (
    Reservation,
    release_messages,
    reserve_actions,
    reserve_messages,
    settle_messages,
)
from handlers import actions
from handlers.agent.answerer import NoAnswer
from handlers.agent.graph import HISTORY_MESSAGES, INPUTS_MAX, Agent, Reply
from handlers.agent.knowledge import Knowledge
from handlers.agent.memory import Slot
from handlers.agent.offline import OFFLINE
from handlers.agent.prompt import Beyond, Briefing, OpenAction
from handlers.agent.tools import Toolbox
from handlers.plans import ACTION_EXPIRY_HOURS, Feature, Plan
from handlers.process import telemetry
from handlers.rules import opaque
from handlers.rules.backoff import backoff
from handlers.rules.formatting import whatsapp
from handlers.rules.opaque import why_unanswered
from handlers.rules.reply import fitted
from handlers.rules.window import is_open, is_stale
from handlers.sends.ending import end_for_good
from handlers.sends.rules import OUTSIDE_WINDOW
from handlers.turns.inputs import (
    STALE,
    Read,
    first_inputs,
    in_fixed_words,
    marked_stale,
    tells_later,
    unanswered,
    why_silent,
)
from handlers.turns.presence import Presence

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TURN_TIMEOUT_S = 45.0  # of the agent's run, all its calls together
MAX_FAILURES = 6  # turns that failed, or died with their worker, one after the other
WRITE_PATIENCE_S = 20.0  # an answer is dear: keep it while the database restarts
# How long the bot stays silent after it gave up, so that a colleague can take over. It ends by
# itself, because nobody may be looking.
HANDOVER = timedelta(minutes=30)
# An event that could not be told comes up again after EVENT_WAIT; after EVENT_AGE WhatsApp would
# not take the message any more.
EVENT_WAIT = timedelta(minutes=5)
FIXED = "fixed"  # in the place of the model's name: a decision in fixed words
KB_SAMPLES = 5  # questions in the prompt, of a knowledge base that is not
APOLOGY = (
    "I'm sorry, I can't answer right now. I've passed your message to a colleague, who will get"
    " back to you."
)


@dataclass(slots=True)
class Report:
    """The turn's log line."""

    outcome: str = "lost_lease"
    reason: str | None = None
    inputs: int = 0
    fields: dict[str, Any] = field(default_factory=dict)


async def run_turn(
    pool: Pool,
    agent: Agent,
    worker_id: WorkerId,
    claim: Claim,
    presence: Presence | None = None,
) -> None:
    """Never raises but for cancellation; whatever happens is in the record and in one log line."""
    started = time.monotonic()
    report = Report()
    try:
        await _turn(pool, agent, worker_id, claim, presence, report)
    except asyncio.CancelledError:
        report.outcome = "cancelled"
        await _give_up(pool, worker_id, claim, failed=False)
        raise
    except Exception as error:  # whatever it is, the customer is waiting: another try is owed
        report.outcome = "failed"
        log.warning("turn.failed", conversation_id=claim.conversation_id, exc_info=error)
        await _give_up(pool, worker_id, claim, failed=True)
    finally:
        took = time.monotonic() - started
        telemetry.TURNS.labels(report.outcome).inc()
        telemetry.TURN_SECONDS.observe(took)
        log.info(
            "turn.finished",
            user_id=claim.user_id,
            conversation_id=claim.conversation_id,
            epoch=claim.epoch,
            outcome=report.outcome,
            reason=report.reason,
            inputs=report.inputs,
            duration_ms=round(took * 1000),
            **report.fields,
        )


async def _turn(
    pool: Pool,
    agent: Agent,
    worker_id: WorkerId,
    claim: Claim,
    presence: Presence | None,
    report: Report,
) -> None:
    started = time.monotonic()
    read = await _read(pool, worker_id, claim)
    if read is None:
        return
    report.inputs = len(read.inputs) + len(read.stale)
    report.reason = read.silence
    if not read.asks or read.silence:
        done = await _write(pool, agent, worker_id, claim, read, None, None, started)
        found = report.inputs or read.asks
        report.outcome = ("silent" if found else "nothing_to_do") if done else "lost_lease"
        return
    reply: Reply | None = None
    apology: str | None = None
    if read.context.attempts >= MAX_FAILURES:
        apology = "turn_failed"
    else:
        thought = time.monotonic()
        try:
            async with _shown(presence, read), asyncio.timeout(TURN_TIMEOUT_S):
                context = read.context
                knowledge = await agent.shelf.knowledge(
                    pool, claim.user_id, context.chatbot_id, context.kb_version
                )
                reply = await agent.run(
                    context.thread_id,
                    read.slot,
                    read.history,
                    read.inputs,
                    read.events,
                    _briefing(context, knowledge),
                    _toolbox(pool, worker_id, claim, read, knowledge),
                )
        except (NoAnswer, TimeoutError) as error:
            apology = f"model:{error if isinstance(error, NoAnswer) else 'turn_timeout'}"
        if reply is not None and not reply.text:  # nothing to send, though tools were used
            reply, apology = None, "model:empty_answer"
        report.fields["agent_ms"] = round((time.monotonic() - thought) * 1000)
    if apology is not None and (text := in_fixed_words(read.inputs, read.events)):
        report.reason, apology = apology, None
        reply = Reply(text, FIXED, (), 0, 0, Slot(None))
    if reply is not None:
        report.fields |= {
            "model": reply.model,
            "reply_chars": len(reply.text),
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
            "kb_ids": reply.kb_ids,
            "actions": len(reply.requests),
        }
    report.reason = apology or report.reason
    if await _write_patiently(pool, agent, worker_id, claim, read, reply, apology, started):
        report.outcome = "replied" if reply else "apologised"
        if reply and read.inputs:
            waited = (read.context.now - read.inputs[-1].sent_at).total_seconds()
            telemetry.REPLY_SECONDS.observe(max(0.0, waited + time.monotonic() - started))


def _shown(presence: Presence | None, read: Read) -> AbstractAsyncContextManager[None]:
    if presence is None or not read.inputs:
        return nullcontext()
    return presence.shown(read.context, read.inputs[-1].wamid)


async def _read(pool: Pool, worker_id: WorkerId, claim: Claim) -> Read | None:
    """None: the lease is no longer ours."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    # Only a reservation is written. If a crash of the server takes it back, _write() finds that it
    # is gone and the turn is repeated; until then nobody has been told anything.
    async with tenant(pool, user_id, durable=False) as conn:
        context = await read_turn(conn, user_id, conversation_id, worker_id, claim.epoch)
        if context is None or not context.mine:
            return None
        rows = await read_messages(
            conn, user_id, conversation_id, context.answered_seq, HISTORY_MESSAGES, INPUTS_MAX
        )
        waiting = await read_events(conn, user_id, conversation_id, INPUTS_MAX)
        inputs, events = first_inputs(unanswered(rows, context.answered_seq), waiting)
        silence = why_silent(context)
        stale: list[Message] = []
        if silence is None:
            stale = [marked_stale(i) for i in inputs if is_stale(context.now - i.sent_at)]
            inputs = [i for i in inputs if not is_stale(context.now - i.sent_at)]
            if not events:
                late = STALE if stale and not inputs else None
                silence = late or why_unanswered([i.metadata for i in inputs])
        reserved = None
        loaded = None
        read = Read(context, rows, inputs, stale, events, Slot(None), None, silence)
        if read.asks and silence is None:
            if not context.rebuild_thread:
                loaded = await load_checkpoint(conn, context.thread_id)
            reserved = await reserve_messages(conn, user_id, conversation_id, 1)
            silence = None if reserved.outcome == "granted" else reserved.outcome
    return replace(read, slot=Slot(loaded), reserved=reserved, silence=silence)


async def _write_patiently(
    pool: Pool,
    agent: Agent,
    worker_id: WorkerId,
    claim: Claim,
    read: Read,
    reply: Reply | None,
    apology: str | None,
    started: float,
) -> bool:
    """Repeats a write that the database's absence cut short. If the first one did commit after
    all, the second misses at the fence: the lease went with the commit."""
    deadline = time.monotonic() + WRITE_PATIENCE_S
    for failures in range(1_000):
        try:
            return await _write(pool, agent, worker_id, claim, read, reply, apology, started)
        except UNAVAILABLE:
            if time.monotonic() > deadline:
                raise
            wait = backoff(failures, base_s=0.1, cap_s=2.0, dice=random.random())
            await asyncio.sleep(wait.total_seconds())
    raise AssertionError("unreachable: the deadline comes first")


async def _write(
    pool: Pool,
    agent: Agent,
    worker_id: WorkerId,
    claim: Claim,
    read: Read,
    reply: Reply | None,
    apology: str | None,
    started: float,
) -> bool:
    """The turn's last transaction. False: the lease is somebody else's, nothing was written."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    inputs: list[MessageId] = [row.id for row in read.inputs]
    by_human = read.context.by_human
    async with tenant(pool, user_id) as conn:
        rebuilt = reply is not None and read.context.rebuild_thread
        silenced = await fence(
            conn, user_id, conversation_id, worker_id, claim.epoch, read.read_seq, rebuilt
        )
        if silenced is None:
            return False
        silence = read.silence
        if silenced and silence is None and read.asks:
            # A human came in while the model was thinking: what it thought stays unsaid.
            reply, apology, silence, by_human = None, None, "taken_over", True
        queued: MessageId | None = None
        if reply is not None:
            metadata: dict[str, Any] = {
                "kind": "reply",
                "model": reply.model,
                "kb_ids": list(reply.kb_ids),
            }
            # Stored answers are sent word for word.
            text = reply.text if reply.model == OFFLINE else whatsapp(reply.text)
            queued = await _queue(conn, claim, read, text, metadata, read.reserved)
            await agent.saver.store(conn, read.context.thread_id, reply.slot)
            if reply.model == FIXED:  # the thread does not know of it
                await forget_thread(conn, user_id, conversation_id)
        elif apology is not None:
            await _queue(conn, claim, read, APOLOGY, {"kind": "notice", "reason": apology}, None)
            await hand_over(conn, user_id, conversation_id, HANDOVER, apology)
        elif (
            (at_limit := read.reserved) is not None
            and at_limit.notice is not None
            and inputs  # who only would have heard a decision asked nothing
            and not silenced
            # The fence holds the conversation's row: of its turns of this day, one tells.
            and await note_limit(conn, user_id, conversation_id, at_limit.usage_day)
        ):
            metadata = {"kind": "notice", "reason": at_limit.outcome}
            await _queue(conn, claim, read, at_limit.notice, metadata, None)
        elif (
            silence == "media"
            and not silenced
            and await note_media(conn, user_id, conversation_id, opaque.NOTICE_EVERY)
        ):
            metadata = {"kind": "notice", "reason": silence}
            await _queue(conn, claim, read, opaque.NOTICE, metadata, None)
        if inputs:
            duration = Decimal(round(time.monotonic() - started, 3)).quantize(Decimal("0.001"))
            answered = reply is not None or apology is not None
            reason = silence or apology
            await settle_inputs(conn, user_id, inputs, answered, reason, duration)
        if read.stale:
            await settle_inputs(conn, user_id, [row.id for row in read.stale], False, STALE, None)
        await _settle_events(
            conn, claim, read, silence or apology, by_human, told=reply is not None
        )
        if reply is not None:
            expiry_hours = read.plan.get(ACTION_EXPIRY_HOURS)
            await actions.create(conn, user_id, conversation_id, reply.requests, expiry_hours)
        # Also without a unit of its own: a turn that died may have left one behind.
        spent = 1 if reply is not None else 0
        if not await settle_messages(conn, user_id, conversation_id, spent):
            raise RuntimeError("the unit that this turn reserved is gone")
        if queued is not None and not (
            is_open(read.since_inbound(time.monotonic() - started))
            or is_open(await since_inbound(conn, user_id, conversation_id))
        ):
            await end_for_good(conn, user_id, queued, OUTSIDE_WINDOW)
    return True


async def _settle_events(
    conn: Conn, claim: Claim, read: Read, silence: str | None, by_human: bool, *, told: bool
) -> None:
    now = datetime.now(UTC)
    later: list[EventId] = []
    if silence is not None and not told:
        later = [e.id for e in read.events if tells_later(e, silence, by_human, now)]
    done = [e.id for e in read.events if e.id not in later]
    if done:
        await settle_events(conn, claim.user_id, done, None if told else silence)
    if later:
        await defer_events(conn, claim.user_id, later, EVENT_WAIT)


async def _queue(
    conn: Conn,
    claim: Claim,
    read: Read,
    text: str,
    metadata: dict[str, Any],
    unit: Reservation | None,
) -> MessageId:
    """What the turn says; without a unit it is outside the meter."""
    return await queue_reply(
        conn,
        claim.user_id,
        claim.conversation_id,
        fitted(text),
        metadata | read.trace,
        read.quotable,
        unit.usage_day if unit else None,
        unit.overage if unit else False,
    )


async def _give_up(pool: Pool, worker_id: WorkerId, claim: Claim, *, failed: bool) -> None:
    """Leaves the conversation to another try. When even that fails, the sweep finds the lease."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    try:
        async with tenant(pool, user_id) as conn:
            held = await put_back(conn, user_id, conversation_id, worker_id, claim.epoch, failed)
            if held is not None:
                await release_messages(conn, user_id, conversation_id)
    except Exception as error:
        log.warning("turn.not_put_back", conversation_id=conversation_id, exc_info=error)


def _briefing(context: TurnContext, knowledge: Knowledge) -> Briefing:
    fits = knowledge.fits_prompt
    samples = tuple(row.question[:200] for row in knowledge.rows[:KB_SAMPLES])
    return Briefing(
        chatbot_name=context.chatbot_name,
        general_instructions=context.general_instructions,
        knowledge=knowledge.rows if fits else (),
        beyond=None if fits else Beyond(len(knowledge.rows), samples),
        actions=Plan(context.plan).allows(Feature.ACTIONS_CENTER),
        open_actions=tuple(OpenAction(*one) for one in context.open_actions),
        conversation_instructions=tuple(context.instructions),
        customer_name=context.contact_name,
        now=datetime.now(UTC),
        timezone=context.timezone,
    )


def _toolbox(
    pool: Pool, worker_id: WorkerId, claim: Claim, read: Read, knowledge: Knowledge
) -> Toolbox:
    async def reserve(requests: int) -> str:
        async with tenant(pool, claim.user_id) as conn:
            return await reserve_actions(
                conn, claim.user_id, claim.conversation_id, worker_id, claim.epoch, requests
            )

    wrote = tuple(row.content_text for row in read.inputs if row.content_text)
    asks = read.plan.allows(Feature.ACTIONS_CENTER)
    return Toolbox(knowledge, reserve if asks else None, wrote)
