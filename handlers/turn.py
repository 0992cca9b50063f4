"""A turn: everything a customer has written since the last one, answered once.

    read    one transaction: what the turn has to know, its inputs, one unit reserved
    think   no transaction, no connection: the agent runs
    write   one transaction: fence, reply queued, checkpoint, inputs settled, counters

Whoever loses the lease in between fails at the fence and writes nothing. A turn that fails gives
its unit back and leaves the conversation ready for another try; after MAX_FAILURES, and at once
when the model gives no answer, the customer gets an apology and the conversation goes to a human.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog

from db.checkpoints import load_checkpoint
from db.conversations import Claim, TurnContext, fence, hand_over, put_back, read_turn
from db.ids import MessageId, WorkerId
from db.messages import Message, queue_reply, read_messages, settle_inputs
from db.pool import UNAVAILABLE, Pool, tenant
from db.usage import release_messages, reserve_messages, settle_messages
from handlers import telemetry
from handlers.agent.answerer import NoAnswer
from handlers.agent.graph import HISTORY_MESSAGES, INPUTS_MAX, Agent, Reply
from handlers.agent.memory import Slot
from handlers.agent.prompt import Briefing, Row
from handlers.rules.backoff import backoff
from handlers.rules.reply import fitted
from handlers.whatsapp.wire import storable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TURN_TIMEOUT_S = 45.0  # of the agent's run, all its calls together
MAX_FAILURES = 6  # turns that failed, or died with their worker, one after the other
WRITE_PATIENCE_S = 20.0  # an answer is dear: keep it while the database restarts
# How long the bot stays silent after it gave up, so that a colleague can take over. It ends by
# itself, because nobody may be looking.
HANDOVER = timedelta(minutes=30)
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
    slot: Slot
    usage_day: date | None  # of the unit held; None: none is
    silence: str | None  # why no answer will be given

    @property
    def read_seq(self) -> int:
        return max([self.context.answered_seq, *(i.input_seq or 0 for i in self.inputs)])

    @property
    def history(self) -> list[Message]:
        """What was said before, in the order of the record."""
        return [r for r in self.rows if r.input_seq is None or not self._is_input(r.input_seq)]

    def _is_input(self, input_seq: int) -> bool:
        return input_seq > self.context.answered_seq


@dataclass(slots=True)
class Report:
    """The turn's log line."""

    outcome: str = "lost_lease"
    reason: str | None = None
    inputs: int = 0
    fields: dict[str, Any] = field(default_factory=dict)


async def run_turn(pool: Pool, agent: Agent, worker_id: WorkerId, claim: Claim) -> None:
    """Never raises but for cancellation; whatever happens is in the record and in one log line."""
    started = time.monotonic()
    report = Report()
    try:
        await _turn(pool, agent, worker_id, claim, report)
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
    pool: Pool, agent: Agent, worker_id: WorkerId, claim: Claim, report: Report
) -> None:
    started = time.monotonic()
    read = await _read(pool, worker_id, claim)
    if read is None:
        return
    report.inputs = len(read.inputs)
    report.reason = read.silence
    if not read.inputs or read.silence:
        done = await _write(pool, agent, worker_id, claim, read, None, None, started)
        report.outcome = ("silent" if read.inputs else "nothing_to_do") if done else "lost_lease"
        return
    reply: Reply | None = None
    apology: str | None = None
    if read.context.attempts >= MAX_FAILURES:
        apology = "turn_failed"
    else:
        thought = time.monotonic()
        try:
            async with asyncio.timeout(TURN_TIMEOUT_S):
                reply = await agent.run(
                    read.context.thread_id,
                    read.slot,
                    read.history,
                    read.inputs,
                    _briefing(read.context),
                )
        except (NoAnswer, TimeoutError) as error:
            apology = f"model:{error if isinstance(error, NoAnswer) else 'turn_timeout'}"
        report.fields["agent_ms"] = round((time.monotonic() - thought) * 1000)
    if reply is not None:
        report.fields |= {
            "model": reply.model,
            "reply_chars": len(reply.text),
            "input_tokens": reply.input_tokens,
            "output_tokens": reply.output_tokens,
            "kb_ids": reply.kb_ids,
        }
    report.reason = apology
    if await _write_patiently(pool, agent, worker_id, claim, read, reply, apology, started):
        report.outcome = "replied" if reply else "apologised"


async def _read(pool: Pool, worker_id: WorkerId, claim: Claim) -> Read | None:
    """None: the lease is no longer ours."""
    user_id, conversation_id = claim.user_id, claim.conversation_id
    async with tenant(pool, user_id) as conn:
        context = await read_turn(conn, user_id, conversation_id, worker_id, claim.epoch)
        if context is None or not context.mine:
            return None
        rows = await read_messages(
            conn, user_id, conversation_id, context.answered_seq, HISTORY_MESSAGES, INPUTS_MAX
        )
        inputs = unanswered(rows, context.answered_seq)
        silence = why_silent(context)
        usage_day = None
        loaded = None
        if inputs and silence is None:
            if not context.rebuild_thread:
                loaded = await load_checkpoint(conn, context.thread_id)
            held = await reserve_messages(conn, user_id, conversation_id, 1)
            silence = None if held.outcome == "granted" else held.outcome
            usage_day = held.usage_day if silence is None else None
    return Read(context, rows, inputs, Slot(loaded), usage_day, silence)


def unanswered(rows: Sequence[Message], answered_seq: int) -> list[Message]:
    """In the order in which they are answered: WhatsApp's timestamp, then arrival."""
    inputs = [r for r in rows if r.input_seq is not None and r.input_seq > answered_seq]
    return sorted(inputs, key=lambda r: (r.sent_at, r.id))


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
    async with tenant(pool, user_id) as conn:
        rebuilt = reply is not None and read.context.rebuild_thread
        silenced = await fence(
            conn, user_id, conversation_id, worker_id, claim.epoch, read.read_seq, rebuilt
        )
        if silenced is None:
            return False
        silence = read.silence
        if silenced and silence is None and inputs:
            # A human came in while the model was thinking: what it thought stays unsaid.
            reply, apology, silence = None, None, "taken_over"
        if reply is not None:
            await queue_reply(
                conn,
                user_id,
                conversation_id,
                fitted(storable(reply.text)),
                {"kind": "reply", "model": reply.model, "kb_ids": list(reply.kb_ids)},
                read.inputs[-1].wamid,
                read.usage_day,
            )
            await agent.saver.store(conn, read.context.thread_id, reply.slot)
        elif apology is not None:
            await queue_reply(
                conn,
                user_id,
                conversation_id,
                APOLOGY,
                {"kind": "notice", "reason": apology},
                read.inputs[-1].wamid,
                None,
            )
            await hand_over(conn, user_id, conversation_id, HANDOVER, apology)
        if inputs:
            duration = Decimal(round(time.monotonic() - started, 3)).quantize(Decimal("0.001"))
            answered = reply is not None or apology is not None
            reason = silence or apology
            await settle_inputs(conn, user_id, inputs, answered, reason, duration)
        # Also without a unit of its own: a turn that died may have left one behind.
        spent = 1 if reply is not None else 0
        if not await settle_messages(conn, user_id, conversation_id, spent):
            raise RuntimeError("the unit that this turn reserved is gone")
    return True


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


def _briefing(context: TurnContext) -> Briefing:
    return Briefing(
        chatbot_name=context.chatbot_name,
        general_instructions=context.general_instructions,
        knowledge=tuple(Row(*row) for row in context.knowledge),
        conversation_instructions=tuple(context.instructions),
        customer_name=context.contact_name,
        now=datetime.now(UTC),
        timezone=context.timezone,
    )
