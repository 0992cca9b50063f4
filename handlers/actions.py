"""Actions: requested by a turn, decided by a human, by time, or by an earlier decision.

Whatever takes an action out of 'pending' puts the event that a turn tells the customer of into the
same transaction. Deciding twice, or at once, is decided once.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import structlog

from db.actions import (
    Action,
    NewAction,
    Overdue,
    create_action,
    lock_action_conversation,
    overdue_actions,
    read_action,
    resolve_action,
)
from db.conversation_events import (
    DECIDED,
    Passed,
    add_event,
    lock_passed,
    passed_events,
    raise_events,
)
from db.ids import ActionId, ConversationId, UserId
from db.pool import Conn, Pool, tenant
from db.usage import take_actions
from handlers.deliveries.catalogue import (
    ActionCreated,
    ActionDecided,
    ActionEvent,
    ActionExpired,
)
from handlers.deliveries.outbox import tell
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Verdict: TypeAlias = Literal["approved", "denied", "expired"]

MAX_RESPONSE_CHARS = 2_000  # of a decision, which goes into the prompt
SWEEP_BATCH = 100


@dataclass(frozen=True, slots=True)
class Request:
    """What the agent asks for during a turn; an action once the turn commits."""

    request_type: str
    details: str
    context: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    action: Action  # as it is now
    won: bool  # this call decided it; else somebody or something else had


async def create(
    conn: Conn,
    user_id: UserId,
    conversation_id: ConversationId,
    requests: tuple[Request, ...],
    expiry_hours: int,
) -> list[Action]:
    """In the turn's last transaction, within what its hold has."""
    if not requests:
        return []
    usage_day = await take_actions(conn, user_id, conversation_id, len(requests))
    if usage_day is None:
        raise RuntimeError("the actions that this turn reserved are gone")
    created = []
    for one in requests:
        new = NewAction(
            request_type=one.request_type,
            request_details=one.details,
            context_data=one.context,
            usage_day=usage_day,
            expiry_hours=expiry_hours,
        )
        action = await create_action(conn, user_id, conversation_id, new)
        await _tell(conn, action, ActionCreated)
        if action.status != "pending":
            await _announce(conn, conversation_id, action)
        created.append(action)
    return created


async def decide(
    conn: Conn,
    user_id: UserId,
    action_id: ActionId,
    verdict: Verdict,
    response: str | None = None,
    *,
    auto_approve_similar: bool = False,
) -> Outcome | None:
    """Inside a transaction of the tenant. None: it has no such action."""
    conversation_id = await lock_action_conversation(conn, user_id, action_id)
    decided = await resolve_action(
        conn, user_id, action_id, verdict, response, auto_approve_similar
    )
    if decided is None:
        before = await read_action(conn, user_id, action_id)
        return Outcome(before, won=False) if before else None
    await _announce(conn, conversation_id, decided)
    return Outcome(decided, won=True)


async def _announce(conn: Conn, conversation_id: ConversationId | None, action: Action) -> None:
    """To the customer, by a turn; to the tenant."""
    if conversation_id is not None:
        data = {
            "action_id": action.id,
            "request_type": action.request_type,
            "details": action.request_details,
            "status": action.status,
            "response": action.user_response,
        }
        await add_event(conn, action.user_id, conversation_id, DECIDED, data)
    await _tell(conn, action, ActionExpired if action.status == "expired" else ActionDecided)


async def _tell(conn: Conn, action: Action, kind: type[ActionEvent]) -> None:
    event = kind(
        chatbot_id=action.chatbot_id,
        contact_id=action.contact_id,
        action_id=action.id,
        request_type=action.request_type,
        status=action.status,
        auto_approved_by=action.auto_approved_by,
    )
    await tell(conn, action.user_id, event)


async def expire_overdue(pool: Pool, sweep: Sweep[Overdue]) -> None:
    """Time has decided."""
    async with pool.acquire() as conn:
        overdue = await overdue_actions(conn, sweep.limit(SWEEP_BATCH))
    await sweep.each(overdue, partial(_expire, pool))


async def _expire(pool: Pool, one: Overdue) -> None:
    async with tenant(pool, one.user_id) as conn:
        outcome = await decide(conn, one.user_id, one.id, "expired")
    if outcome is not None and outcome.won:
        log.info("action.expired", user_id=one.user_id, action_id=one.id)


async def raise_passed_events(pool: Pool, sweep: Sweep[Passed]) -> None:
    """Events that a turn went past without telling them are inputs again."""
    async with pool.acquire() as conn:
        passed = await passed_events(conn, sweep.limit(SWEEP_BATCH))
    await sweep.each(passed, partial(_raise, pool))


async def _raise(pool: Pool, one: Passed) -> None:
    async with tenant(pool, one.user_id) as conn:
        answered_seq = await lock_passed(conn, one.user_id, one.conversation_id)
        if answered_seq is not None:
            await raise_events(conn, one.user_id, one.conversation_id, answered_seq)
