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
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from db.checkpoints import load_checkpoint
from db.conversation_events import (
    DECIDED,
    HANDED_BACK,
    Event,
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
from handlers import actions, telemetry
from handlers.agent.answerer import OFFLINE, NoAnswer
from handlers.agent.events import decided_text
from handlers.agent.graph import HISTORY_MESSAGES, INPUTS_MAX, Agent, Reply
from handlers.agent.knowledge import Knowledge
from handlers.agent.memory import Slot
from handlers.agent.prompt import Beyond, Briefing, OpenAction
from handlers.agent.tools import Toolbox
from handlers.presence import Presence
from handlers.rules import opaque
from handlers.rules.backoff import backoff
from handlers.rules.formatting import whatsapp
from handlers.rules.opaque import why_unanswered
from handlers.rules.reply import fitted
from handlers.rules.sends import OUTSIDE_WINDOW
from handlers.rules.window import is_open, is_stale
from handlers.sending import end

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TURN_TIMEOUT_S = 45.0  # of the agent's run, all its calls together
STALE = "stale"  # messages.metadata.reason of what came too late to be answered
MAX_FAILURES = 6  # turns that failed, or died with their worker, one after the other
WRITE_PATIENCE_S = 20.0  # an answer is dear: keep it while the database restarts
# How long the bot stays silent after it gave up, so that a colleague can take over. It ends by
# itself, because nobody may be looking.
HANDOVER = timedelta(minutes=30)
# An event that could not be told comes up again after EVENT_WAIT; after EVENT_AGE WhatsApp would
# not take the message any more.
EVENT_WAIT = timedelta(minutes=5)
EVENT_AGE = timedelta(hours=24)
FIXED = "fixed"  # in the place of the model's name: a decision in fixed words
KB_SAMPLES = 5  # questions in the prompt, of a knowledge base that is not
APOLOGY = (
    "I'm sorry, I can't answer right now. I've passed your message to a colleague, who will get"
    " back to you."
)


@dataclass(frozen=True, slots=True)
class Read:
    """What the first transaction found."""

    context: TurnContext
    rows: list[Message]
    inputs: list[Message]  # unanswered, in the order of G4: WhatsApp's time, then arrival
    stale: list[Message]  # unanswered too, and too old to be answered: history
    events: list[Event]
    slot: Slot
    reserved: Reservation | None  # what came of asking for a unit; None: none was asked for
    silence: str | None  # why no answer will be given

    @property
    def read_seq(self) -> int:
        read = (*self.inputs, *self.stale)
        seqs = [*(i.input_seq or 0 for i in read), *(e.input_seq for e in self.events)]
        return max([self.context.answered_seq, *seqs])

    def since_inbound(self, elapsed_s: float) -> timedelta | None:
        """At most so long ago the customer wrote last: they may have written since."""
        last = self.context.last_inbound_at
        return None if last is None else self.context.now - last + timedelta(seconds=elapsed_s)

    @property
    def asks(self) -> bool:
        """Whether there is something to say."""
        return has_to_say(self.inputs, self.events, self.history)

    @property
    def quotable(self) -> str | None:
        """The last input that is still there."""
        left = [i.wamid for i in self.inputs if "revoked" not in i.metadata]
        return left[-1] if left else None

    @property
    def trace(self) -> dict[str, Any]:
        """For the reply's metadata: the webhook that brought the last input."""
        trace_id = self.inputs[-1].metadata.get("trace_id") if self.inputs else None
        return {"trace_id": trace_id} if trace_id else {}

    @property
    def history(self) -> list[Message]:
        """What was said before, in the order of the record."""
        late = {row.id: row for row in self.stale}
        return [late.get(r.id, r) for r in self.rows if r.id in late or not self._is_input(r)]

    def _is_input(self, row: Message) -> bool:
        return row.input_seq is not None and row.input_seq > self.context.answered_seq


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
        inputs, events = first(unanswered(rows, context.answered_seq), waiting)
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


def unanswered(rows: Sequence[Message], answered_seq: int) -> list[Message]:
    """In the order in which they are answered: WhatsApp's timestamp, then arrival."""
    inputs = [r for r in rows if r.input_seq is not None and r.input_seq > answered_seq]
    return sorted(inputs, key=lambda r: (r.sent_at, r.id))


def first(inputs: Sequence[Message], events: Sequence[Event]) -> tuple[list[Message], list[Event]]:
    """The first INPUTS_MAX of both: what is beyond the last of them was not read by this turn."""
    places = sorted([*(i.input_seq or 0 for i in inputs), *(e.input_seq for e in events)])
    last = places[:INPUTS_MAX][-1] if places else 0
    return (
        [i for i in inputs if (i.input_seq or 0) <= last],
        [e for e in events if e.input_seq <= last],
    )


def has_to_say(
    inputs: Sequence[Message], events: Sequence[Event], history: Sequence[Message]
) -> bool:
    """A hand-back alone wants an answer if the customer wrote last."""
    if inputs or any(event.kind != HANDED_BACK for event in events):
        return True
    return bool(events and history and history[-1].direction == "inbound")


def in_fixed_words(inputs: Sequence[Message], events: Sequence[Event]) -> str | None:
    """What a customer who asked nothing is told when there is no model to tell it."""
    decided = [decided_text(event.data) for event in events if event.kind == DECIDED]
    return "\n\n".join(decided) if decided and not inputs else None


def tells_later(event: Event, silence: str, by_human: bool, now: datetime) -> bool:
    """Whether an event that a silent turn read is kept for another. A person who has the
    conversation tells it."""
    if silence == "conversation_paused" or (silence == "taken_over" and by_human):
        return False
    return event.created_at > now - EVENT_AGE


def marked_stale(row: Message) -> Message:
    """As the record will have it."""
    return replace(row, metadata=row.metadata | {"reason": STALE})


def why_silent(context: TurnContext) -> str | None:
    """A word for messages.metadata.reason, or None when the bot may speak."""
    if not context.chatbot_active:
        return "chatbot_inactive"
    if context.paused:
        return "conversation_paused"
    if context.taken_over:
        return "taken_over"
    return None


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
            await actions.create(conn, user_id, conversation_id, reply.requests)
        # Also without a unit of its own: a turn that died may have left one behind.
        spent = 1 if reply is not None else 0
        if not await settle_messages(conn, user_id, conversation_id, spent):
            raise RuntimeError("the unit that this turn reserved is gone")
        if queued is not None and not (
            is_open(read.since_inbound(time.monotonic() - started))
            or is_open(await since_inbound(conn, user_id, conversation_id))
        ):
            await end(conn, user_id, queued, OUTSIDE_WINDOW)
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
        actions=context.actions_center,
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
    return Toolbox(knowledge, reserve if read.context.actions_center else None, wrote)
