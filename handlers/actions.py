"""Actions: requested by a turn, decided by a human, by time, or by an earlier decision.

Whatever takes an action out of 'pending' puts the event that a turn tells the customer of into the
same transaction. Deciding twice, or at once, is decided once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import partial
from typing import Any, Literal, TypeAlias

import structlog

from db import actions as rows
from db.actions import (
    Action,
    NewAction,
    Overdue,
    create_action,
    equal_requests,
    lock_action_conversation,
    lock_approving,
    overdue_actions,
    read_action,
    read_approving,
    resolve_action,
    take_of_bound,
    withdraw_action,
)
from db.conversation_events import (
    DECIDED,
    Passed,
    add_event,
    lock_passed,
    passed_events,
    raise_events,
)
from db.ids import ActionId, ConversationId, ToolId, UserId
from db.pool import Conn, Pool, tenant
from db.tool_calls import CallEnd, Proposal, decide_call, propose_call
from db.usage import take_actions
from handlers.deliveries.catalogue import (
    ActionCreated,
    ActionDecided,
    ActionEvent,
    ActionExpired,
)
from handlers.deliveries.outbox import tell
from handlers.process.sweeps import Sweep
from handlers.rules.requests import (
    APPROVES_FOR,
    EQUAL_A_DAY,
    Approving,
    Money,
    approving,
    bound_of,
    request_key,
)

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Verdict: TypeAlias = Literal["approved", "denied", "expired"]

MAX_RESPONSE_CHARS = 2_000  # of a decision, which goes into the prompt
SWEEP_BATCH = 100


@dataclass(frozen=True, slots=True)
class ToolWish:
    """That a tool of the tenant's is called, once a person approves."""

    tool_id: ToolId
    name: str
    effect: str
    arguments: dict[str, Any]
    arguments_hash: str


@dataclass(frozen=True, slots=True)
class Request:
    """What the agent asks for during a turn; an action once the turn commits."""

    request_type: str
    details: str
    context: dict[str, Any]
    money: Money | None = None
    tool: ToolWish | None = None  # what approving it calls

    @property
    def key(self) -> str:
        # Of a tool not only but for case and spaces: they may be another thing to it.
        details = self.details if self.tool is None else self.tool.arguments_hash
        return request_key(self.request_type, details, self.money)


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """What an approval approves from now on, as far as somebody says so."""

    max_amount: Decimal | None = None
    max_per_day: Decimal | None = None
    any_contact: bool = False
    until: datetime | None = None


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
    """In the turn's last transaction, within what its hold has. What the contact has asked for
    already, and nobody has decided, is not asked again."""
    if not requests:
        return []
    # The fence holds the conversation's row, so that none comes between.
    asked = await equal_requests(conn, user_id, conversation_id, [one.key for one in requests])
    new = {one.key: one for one in reversed(requests) if one.key not in asked}
    if not new:
        return []
    usage_day = await take_actions(conn, user_id, conversation_id, len(new))
    if usage_day is None:
        raise RuntimeError("the actions that this turn reserved are gone")
    decisions = await _approving(conn, user_id, conversation_id, list(new.values()))
    created = []
    for one in reversed(new.values()):
        action = await create_action(
            conn,
            user_id,
            conversation_id,
            NewAction(
                request_type=one.request_type,
                request_details=one.details,
                context_data=one.context,
                amount=one.money.amount if one.money else None,
                currency=one.money.currency if one.money else None,
                request_key=one.key,
                usage_day=usage_day,
                expiry_hours=expiry_hours,
                auto_approved_by=await _approved_by(conn, user_id, decisions, one, usage_day),
            ),
        )
        await _tell(conn, action, ActionCreated)
        if one.tool is not None:
            await _propose(conn, conversation_id, action, one.tool)
        if action.status != "pending":
            await _announce(conn, conversation_id, action, follows=one.tool is not None)
        created.append(action)
    return created


async def _propose(
    conn: Conn, conversation_id: ConversationId, action: Action, wish: ToolWish
) -> None:
    proposal = Proposal(
        action_id=action.id,
        tool_id=wish.tool_id,
        tool_name=wish.name,
        effect=wish.effect,
        arguments_hash=wish.arguments_hash,
        arguments=wish.arguments,
        status="proposed" if action.status == "pending" else "due",
    )
    await propose_call(conn, action.user_id, conversation_id, proposal)


async def _approving(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, requests: Sequence[Request]
) -> list[Approving]:
    """Decisions that may approve them. They are locked until the turn commits, so that of two
    turns that take of one the second sees what the first took."""
    types = [one.request_type for one in requests]
    ids = await lock_approving(conn, user_id, conversation_id, types)
    if not ids:
        return []
    return [
        Approving(
            id=one.id,
            request_type=one.request_type,
            request_key=one.request_key or request_key(one.request_type, one.request_details, None),
            context=_compared(json.loads(one.context)),
            currency=one.currency,
            max_amount=one.max_amount,
        )
        for one in await read_approving(conn, user_id, ids, EQUAL_A_DAY)
    ]


async def _approved_by(
    conn: Conn, user_id: UserId, decisions: Sequence[Approving], one: Request, day: date
) -> ActionId | None:
    """The earlier decision that approves it, of whose day its amount is taken."""
    found = approving(
        decisions,
        request_type=one.request_type,
        key=one.key,
        context=_compared(one.context),
        money=one.money,
        details=one.details,
    )
    for decision in found:
        by = ActionId(decision.id)
        if one.money is None or await take_of_bound(conn, user_id, by, day, one.money.amount):
            return by
    return None


def _compared(context: Any) -> Any:
    """What the customer wrote meanwhile may differ."""
    if not isinstance(context, dict):
        return context
    return {key: value for key, value in context.items() if key != "customer_wrote"}


async def decide(
    conn: Conn,
    user_id: UserId,
    action_id: ActionId,
    verdict: Verdict,
    response: str | None = None,
    *,
    similar: Similar | None = None,
) -> Outcome | None:
    """Inside a transaction of the tenant. None: it has no such action. Raises Unbounded."""
    conversation_id = await lock_action_conversation(conn, user_id, action_id)
    becomes = rows.Verdict(status=verdict, user_response=response)
    if similar is not None and verdict == "approved":
        before = await read_action(conn, user_id, action_id)
        if before is not None and before.status == "pending":
            becomes = _with_bound(becomes, before, similar)
    decided = await resolve_action(conn, user_id, action_id, becomes)
    if decided is None:
        before = await read_action(conn, user_id, action_id)
        return Outcome(before, won=False) if before else None
    call = await decide_call(conn, user_id, action_id, verdict == "approved")
    await _announce(conn, conversation_id, decided, follows=call == "due")
    return Outcome(decided, won=True)


def _with_bound(becomes: rows.Verdict, action: Action, similar: Similar) -> rows.Verdict:
    money = None
    if action.amount is not None and action.currency is not None:
        money = Money(action.amount, action.currency)
    bound = bound_of(money, similar.max_amount, similar.max_per_day, similar.any_contact)
    return replace(
        becomes,
        auto_approve_similar=True,
        max_amount=bound.max_amount,
        max_per_day=bound.max_per_day,
        any_contact=bound.any_contact,
        auto_approve_until=similar.until or datetime.now(UTC) + APPROVES_FOR,
    )


async def withdraw(conn: Conn, user_id: UserId, action_id: ActionId) -> Outcome | None:
    """It approves no others from the commit on. None: there is no such action. A turn that took of
    it holds it locked, and has committed by then."""
    await lock_action_conversation(conn, user_id, action_id)
    withdrawn = await withdraw_action(conn, user_id, action_id)
    if withdrawn is not None:
        return Outcome(withdrawn, won=True)
    action = await read_action(conn, user_id, action_id)
    return Outcome(action, won=False) if action else None


async def _announce(
    conn: Conn, conversation_id: ConversationId | None, action: Action, *, follows: bool = False
) -> None:
    """To the customer, by a turn; to the tenant. `follows`: a tool is called now, and the customer
    hears of both when it is known what came of it."""
    if conversation_id is not None and not follows:
        await add_event(conn, action.user_id, conversation_id, DECIDED, _told_of(action))
    await _tell(conn, action, ActionExpired if action.status == "expired" else ActionDecided)


async def announce_call(
    conn: Conn, conversation_id: ConversationId, action: Action, ended: tuple[str, CallEnd]
) -> None:
    """What came of the tool that approving the action called. Its conversation is locked."""
    name, end = ended
    outcome = {"name": name, "status": end.status, "result": end.result, "error": end.error}
    data = _told_of(action) | {"tool": outcome}
    await add_event(conn, action.user_id, conversation_id, DECIDED, data)


def _told_of(action: Action) -> dict[str, Any]:
    return {
        "action_id": action.id,
        "request_type": action.request_type,
        "details": _told_details(action),
        "status": action.status,
        "response": action.user_response,
    }


def _told_details(action: Action) -> str:
    """Of what was approved by its amount nobody has read the model's words: the amount is told."""
    if action.auto_approved_by is None or action.amount is None:
        return action.request_details
    return f"{action.request_type.replace('_', ' ')}: {action.amount:.2f} {action.currency}"


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
