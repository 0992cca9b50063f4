"""A turn: everything a customer has written since the last one, answered once, together with what
else happened that they have to hear of (events).

    read    one transaction: what the turn has to know, its inputs; and one that reserves a unit
    think   no transaction, no connection: the agent runs
    write   one transaction: fence, what decide() says, inputs settled, counters

Whoever loses the lease in between fails at the fence and writes nothing. A turn that fails gives
its unit back and leaves the conversation ready for another try; after MAX_FAILURES, and at once
when the model gives no answer, the customer gets an apology and the conversation goes to a human.
A decision that a person made is told in any case, if need be in fixed words and later.
"""

import asyncio
from collections.abc import Sequence

import structlog

from db.checkpoints import load_checkpoint
from db.conversation_events import read_events
from db.conversations import Claim, hold_turn, read_turn
from db.ids import WorkerId
from db.messages import TurnMessage, read_messages
from db.pool import Conn, Pool, place, tenant_transaction
from db.quotes import pressed_quotes
from db.usage import reserve_for_turn
from handlers.agent.graph import INPUTS_MAX, Agent
from handlers.agent.memory import Slot
from handlers.agent.window import KEPT_MESSAGES
from handlers.process import telemetry
from handlers.turns.decide import (
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
    decide,
)
from handlers.turns.inputs import Found, found
from handlers.turns.presence import Presence
from handlers.turns.think import thought_of
from handlers.turns.turn import Turn
from handlers.turns.write import give_up, write_patiently

log: structlog.stdlib.BoundLogger = structlog.get_logger()


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
        await give_up(turn, failed=False)
        raise
    except Exception as error:  # whatever it is, the customer is waiting: another try is owed
        report.outcome = "failed"
        log.warning("turn.failed", conversation_id=claim.conversation_id, exc_info=error)
        await give_up(turn, failed=True)
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
    decision = decide(read, await thought_of(turn, read) if read.speaks else None)
    turn.report.reason = decision.reason
    written = await write_patiently(turn, read, decision)
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
                "kb_cited": written.metadata["kb_cited"],
                "actions": len(written.requests),
            }
            if read.found.inputs:
                waited = read.found.context.now - read.found.inputs[-1].sent_at
                telemetry.REPLY_SECONDS.observe(max(0.0, waited.total_seconds() + turn.elapsed_s))
        case Apologise():
            report.outcome = "apologised"
        case Later():
            report.outcome = "put_off"
            report.fields["wait_s"] = round(written.wait.total_seconds(), 1)
        case Told() | StopLoop() | Sale():
            report.outcome = "told"
        case Notice() | Silent():
            anything = report.inputs or read.found.asks
            report.outcome = "silent" if anything else "nothing_to_do"


async def _read(turn: Turn) -> Read | None:
    """None: the lease is no longer ours."""
    async with place(turn.pool, turn.claim.user_id) as conn:
        seen = await _seen(turn, conn)
        if seen is None:
            return None
        this, slot = seen
        if this.held_until is not None:
            async with tenant_transaction(conn, turn.claim.user_id):
                await hold_turn(conn, turn.claim, turn.worker_id, this.held_until)
            turn.report.outcome = "held"
            return None
        if this.silence is not None or not this.asks or this.in_code:
            return Read(this, slot, None)
        # If a crash of the server takes it back, _write() finds that it is gone and the turn is
        # repeated; until then nobody has been told anything.
        reserved = await reserve_for_turn(conn, turn.reserving, 1)
        return None if reserved is None else Read(this, slot, reserved)


async def _seen(turn: Turn, conn: Conn) -> tuple[Found, Slot] | None:
    user_id, conversation_id = turn.claim.user_id, turn.claim.conversation_id
    async with tenant_transaction(conn, user_id):
        context = await read_turn(conn, user_id, conversation_id, turn.worker_id, turn.claim.epoch)
        if context is None or not context.mine:
            return None
        rows = await read_messages(
            conn, user_id, conversation_id, context.answered_seq, KEPT_MESSAGES, INPUTS_MAX
        )
        events = await read_events(conn, user_id, conversation_id, INPUTS_MAX)
        quotes = await _quotes(conn, turn, rows, context.answered_seq)
        this = found(context, rows, events, quotes, turn.agent.awaits)
        loaded = None
        if this.asks and this.silence is None and not this.in_code and not context.rebuild_thread:
            loaded = await load_checkpoint(conn, context.thread_id)
        return this, Slot(loaded)


async def _quotes(
    conn: Conn, turn: Turn, rows: Sequence[TurnMessage], answered_seq: int
) -> list[str]:
    """Of what was pressed since. Nothing is asked where nothing was."""
    pressed = {row.pressed for row in rows if row.pressed and (row.input_seq or 0) > answered_seq}
    if not pressed:
        return []
    claim = turn.claim
    return await pressed_quotes(conn, claim.user_id, claim.conversation_id, sorted(pressed))
