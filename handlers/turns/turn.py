"""A turn: everything a customer has written since the last one, answered once, together with what
else happened that they have to hear of (events).

    read    one transaction: what the turn has to know, its inputs, one unit reserved
    think   no transaction, no connection: the agent runs
    write   one transaction: fence, what decide() says, inputs settled, counters

Whoever loses the lease in between fails at the fence and writes nothing. A turn that fails gives
its unit back and leaves the conversation ready for another try; after MAX_FAILURES, and at once
when the model gives no answer, the customer gets an apology and the conversation goes to a human.
A decision that a person made is told in any case, if need be in fixed words and later.
"""

import asyncio
import random
import time
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, assert_never

import structlog

from db.checkpoints import load_checkpoint
from db.conversation_events import defer_events, read_events, settle_events
from db.conversations import (
    Claim,
    TurnContext,
    fence,
    forget_threads,
    hand_over,
    note_limit,
    note_media,
    put_back,
    read_turn,
    since_inbound,
    trust_thread,
)
from db.ids import WorkerId
from db.messages import NewText, queue_text, read_messages, settle_inputs
from db.pool import UNAVAILABLE, Conn, Pool, tenant
from db.usage import release_messages, reserve_actions, reserve_messages, settle_messages
from handlers import actions
from handlers.agent.answerer import NoAnswer
from handlers.agent.graph import HISTORY_MESSAGES, INPUTS_MAX, Agent, Reply, Task
from handlers.agent.knowledge import Knowledge
from handlers.agent.memory import Slot
from handlers.agent.prompt import Beyond, Briefing, OpenAction
from handlers.agent.tools import Toolbox
from handlers.process import telemetry
from handlers.rules import opaque
from handlers.rules.backoff import backoff
from handlers.rules.window import is_open
from handlers.sends.ending import end
from handlers.sends.rules import OUTSIDE_WINDOW
from handlers.turns.decide import (
    Apologise,
    Decision,
    NoThought,
    Notice,
    Read,
    Say,
    Silent,
    Thought,
    decide,
    unsaid,
)
from handlers.turns.inputs import STALE, Found, found, tells_later
from handlers.turns.presence import Presence

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TURN_TIMEOUT_S = 45.0  # of the agent's run, all its calls together
WRITE_PATIENCE_S = 20.0  # an answer is dear: keep it while the database restarts
# How long the bot stays silent after it gave up, so that a colleague can take over. It ends by
# itself, because nobody may be looking.
HANDOVER = timedelta(minutes=30)
EVENT_WAIT = timedelta(minutes=5)  # until an event that could not be told comes up again
KB_SAMPLES = 5  # questions in the prompt, of a knowledge base that is not


@dataclass(slots=True)
class Report:
    """The turn's log line."""

    outcome: str = "lost_lease"
    reason: str | None = None
    inputs: int = 0
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """What belongs to one turn."""

    pool: Pool
    agent: Agent
    worker_id: WorkerId
    claim: Claim
    presence: Presence | None
    started: float = field(default_factory=time.monotonic)
    report: Report = field(default_factory=Report)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started


async def run_turn(
    pool: Pool,
    agent: Agent,
    worker_id: WorkerId,
    claim: Claim,
    presence: Presence | None = None,
) -> None:
    """Never raises but for cancellation; whatever happens is in the record and in one log line."""
    turn = Turn(pool, agent, worker_id, claim, presence)
    report = turn.report
    try:
        await _turn(turn)
    except asyncio.CancelledError:
        report.outcome = "cancelled"
        await _give_up(turn, failed=False)
        raise
    except Exception as error:  # whatever it is, the customer is waiting: another try is owed
        report.outcome = "failed"
        log.warning("turn.failed", conversation_id=claim.conversation_id, exc_info=error)
        await _give_up(turn, failed=True)
    finally:
        telemetry.TURNS.labels(report.outcome).inc()
        telemetry.TURN_SECONDS.observe(turn.elapsed_s)
        log.info(
            "turn.finished",
            user_id=claim.user_id,
            conversation_id=claim.conversation_id,
            epoch=claim.epoch,
            outcome=report.outcome,
            reason=report.reason,
            inputs=report.inputs,
            duration_ms=round(turn.elapsed_s * 1000),
            **report.fields,
        )


async def _turn(turn: Turn) -> None:
    read = await _read(turn)
    if read is None:
        return
    turn.report.inputs = len(read.found.inputs) + len(read.found.stale)
    decision = decide(read, await _thought(turn, read) if read.speaks else None)
    turn.report.reason = decision.reason
    written = await _write_patiently(turn, read, decision)
    if written is not None:
        _tell(turn, read, written)


def _tell(turn: Turn, read: Read, written: Decision) -> None:
    """For the log and the metrics."""
    report = turn.report
    report.reason = written.reason
    match written:
        case Say():
            report.outcome = "replied"
            report.fields |= {
                "model": written.metadata["model"],
                "reply_chars": len(written.text),
                "kb_ids": written.metadata["kb_ids"],
                "actions": len(written.requests),
            }
            if read.found.inputs:
                waited = read.found.context.now - read.found.inputs[-1].sent_at
                telemetry.REPLY_SECONDS.observe(max(0.0, waited.total_seconds() + turn.elapsed_s))
        case Apologise():
            report.outcome = "apologised"
        case Notice() | Silent():
            anything = report.inputs or read.found.asks
            report.outcome = "silent" if anything else "nothing_to_do"


# ---- read ----------------------------------------------------------------------------------------


async def _read(turn: Turn) -> Read | None:
    """None: the lease is no longer ours."""
    user_id, conversation_id = turn.claim.user_id, turn.claim.conversation_id
    # Only a reservation is written. If a crash of the server takes it back, _write() finds that it
    # is gone and the turn is repeated; until then nobody has been told anything.
    async with tenant(turn.pool, user_id, durable=False) as conn:
        context = await read_turn(conn, user_id, conversation_id, turn.worker_id, turn.claim.epoch)
        if context is None or not context.mine:
            return None
        rows = await read_messages(
            conn, user_id, conversation_id, context.answered_seq, HISTORY_MESSAGES, INPUTS_MAX
        )
        this = found(context, rows, await read_events(conn, user_id, conversation_id, INPUTS_MAX))
        if this.silence is not None or not this.asks:
            return Read(this, Slot(None), None)
        loaded = None
        if not context.rebuild_thread:
            loaded = await load_checkpoint(conn, context.thread_id)
        return Read(this, Slot(loaded), await reserve_messages(conn, user_id, conversation_id, 1))


# ---- think ---------------------------------------------------------------------------------------


async def _thought(turn: Turn, read: Read) -> Thought:
    if read.failed_too_often:
        return NoThought("turn_failed")
    began = time.monotonic()
    try:
        async with _shown(turn, read.found), asyncio.timeout(TURN_TIMEOUT_S):
            reply = await _think(turn, read)
    except NoAnswer as error:
        return NoThought(f"model:{error}")
    except TimeoutError:
        return NoThought("model:turn_timeout")
    finally:
        turn.report.fields["agent_ms"] = round((time.monotonic() - began) * 1000)
    if not reply.text:  # nothing to send, though tools were used
        return NoThought("model:empty_answer")
    turn.report.fields |= {
        "input_tokens": reply.input_tokens,
        "output_tokens": reply.output_tokens,
    }
    return reply


async def _think(turn: Turn, read: Read) -> Reply:
    context = read.found.context
    knowledge = await turn.agent.shelf.knowledge(
        turn.pool, turn.claim.user_id, context.chatbot_id, context.kb_version
    )
    task = Task(
        thread_id=context.thread_id,
        slot=read.slot,
        history=read.found.history,
        inputs=read.found.inputs,
        events=read.found.events,
        briefing=_briefing(context, knowledge),
        tools=_toolbox(turn, read.found, knowledge),
    )
    return await turn.agent.run(task)


def _shown(turn: Turn, found: Found) -> AbstractAsyncContextManager[None]:
    if turn.presence is None or not found.inputs:
        return nullcontext()
    return turn.presence.shown(found.context, found.inputs[-1].wamid)


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


def _toolbox(turn: Turn, found: Found, knowledge: Knowledge) -> Toolbox:
    claim = turn.claim

    async def reserve(requests: int) -> str:
        async with tenant(turn.pool, claim.user_id) as conn:
            return await reserve_actions(
                conn, claim.user_id, claim.conversation_id, turn.worker_id, claim.epoch, requests
            )

    wrote = tuple(row.content_text for row in found.inputs if row.content_text)
    return Toolbox(knowledge, reserve if found.context.actions_center else None, wrote)


# ---- write ---------------------------------------------------------------------------------------


async def _write_patiently(turn: Turn, read: Read, decision: Decision) -> Decision | None:
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
    await actions.create(conn, claim.user_id, claim.conversation_id, say.requests)
    await _spend(conn, claim, 1)
    if not (
        is_open(read.found.since_inbound(turn.elapsed_s))
        or is_open(await since_inbound(conn, claim.user_id, claim.conversation_id))
    ):
        await end(conn, claim.user_id, queued, OUTSIDE_WINDOW)


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


async def _give_up(turn: Turn, *, failed: bool) -> None:
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
