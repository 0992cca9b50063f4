"""/v1/actions"""

from typing import Annotated, Any, Literal

from pydantic import Field, WithJsonSchema

from db.actions import (
    Action,
    WantedActions,
    list_actions,
    lock_action_conversation,
    read_action,
)
from db.ids import ActionId, ChatbotId, ContactId
from db.pool import Conn
from handlers import actions
from handlers.rules.requests import APPROVES_FOR, Unbounded
from ingress.api.fields import (
    Body,
    MomentAhead,
    Money,
    NoBody,
    Paged,
    Parameters,
    RowId,
)
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid
from ingress.api.table import Answer, Call, Endpoint, Page, page_of, there, versioned

Most = Annotated[
    Money,
    Field(gt=0),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "pattern": r"^(?=.*[1-9])[0-9]{1,16}(\.[0-9]{1,2})?$",
            "maxLength": 19,
            "exclusiveMinimum": 0,
        }
    ),
]


class ActionsAsked(Paged):
    status: Annotated[
        Literal["pending", "approved", "denied", "expired"] | None,
        Field(description="only these"),
    ] = None
    chatbot_id: Annotated[
        RowId[ChatbotId] | None, Field(description="only those of this chatbot")
    ] = None
    contact_id: Annotated[
        RowId[ContactId] | None, Field(description="only those of this contact")
    ] = None
    auto_approve_similar: Annotated[
        Literal["true", "false"] | None,
        Field(description="true: only those that approve others; false: only the rest"),
    ] = None


class OfAction(Parameters):
    action_id: RowId[ActionId]


class Decision(Body):
    user_response: Annotated[
        str | None,
        Field(
            max_length=actions.MAX_RESPONSE_CHARS,
            description="what the bot tells the customer about it",
        ),
    ] = None
    auto_approve_similar: Annotated[
        bool | None,
        Field(
            description="approve later similar ones of this chatbot and type without asking, within"
            " the bound; kept with an approval only"
        ),
    ] = False


class Approval(Decision):
    max_amount: Annotated[
        Most | None,
        Field(
            description="of one that is approved without asking, in this action's currency;"
            " missing: this action's amount. Of an action without an amount there is none: it"
            " approves equal requests",
        ),
    ] = None
    max_per_day: Annotated[
        Most | None,
        Field(
            description="of all that it approves on one of your days; missing: `max_amount`",
        ),
    ] = None
    any_contact: Annotated[
        bool | None, Field(description="also those of other contacts than this action's")
    ] = False
    expires_at: Annotated[
        MomentAhead | None,
        Field(description=f"when it approves no more; missing: in {APPROVES_FOR.days} days"),
    ] = None


async def _list(conn: Conn, call: Call[ActionsAsked, NoBody]) -> Answer[Page[Action]]:
    asked = call.parameters
    only = asked.auto_approve_similar
    wanted = WantedActions(
        status=asked.status,
        chatbot_id=asked.chatbot_id,
        contact_id=asked.contact_id,
        auto_approve_similar=None if only is None else only == "true",
    )
    return page_of(await list_actions(conn, call.user_id, wanted, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfAction, NoBody]) -> Answer[Action]:
    return _shown(await _found(conn, call))


async def _found(conn: Conn, call: Call[OfAction, Any]) -> Action:
    return there(await read_action(conn, call.user_id, call.parameters.action_id))


async def _expect(conn: Conn, call: Call[OfAction, Any]) -> None:
    """As it stays until the transaction ends: whoever decides locks the conversation first."""
    if call.if_match is not None:
        await lock_action_conversation(conn, call.user_id, call.parameters.action_id)
        call.expect(_version(await _found(conn, call)))


def _shown(action: Action) -> Answer[Action]:
    return versioned(action, _version(action))


def _version(action: Action) -> int:
    """An action is decided once, and what it approves withdrawn once."""
    if action.withdrawn_at is not None:
        return 3
    return 1 if action.status == "pending" else 2


async def _approve(conn: Conn, call: Call[OfAction, Approval]) -> Answer[Action]:
    body = call.body
    similar = None
    if body.auto_approve_similar:
        similar = actions.Similar(
            max_amount=body.max_amount,
            max_per_day=body.max_per_day,
            any_contact=body.any_contact or False,
            until=body.expires_at,
        )
    return await _decide(conn, call, "approved", similar)


async def _deny(conn: Conn, call: Call[OfAction, Decision]) -> Answer[Action]:
    return await _decide(conn, call, "denied", None)


async def _decide(
    conn: Conn,
    call: Call[OfAction, Approval] | Call[OfAction, Decision],
    verdict: Literal["approved", "denied"],
    similar: actions.Similar | None,
) -> Answer[Action]:
    await _expect(conn, call)
    try:
        decided = await actions.decide(
            conn,
            call.user_id,
            call.parameters.action_id,
            verdict,
            call.body.user_response,
            similar=similar,
        )
    except Unbounded as unbounded:
        raise invalid([Mistake(unbounded.field, unbounded.why)]) from None
    outcome = there(decided)
    if outcome.won or outcome.action.status == verdict:
        return _shown(outcome.action)
    resolved_at = outcome.action.resolved_at
    raise Problem(
        "already_decided",
        f"The action is {outcome.action.status}"
        f"{f' since {resolved_at.isoformat()}' if resolved_at else ''}, and a decision is final.",
        action=outcome.action,
    )


async def _withdraw(conn: Conn, call: Call[OfAction, NoBody]) -> Answer[Action]:
    await _expect(conn, call)
    outcome = there(await actions.withdraw(conn, call.user_id, call.parameters.action_id))
    return _shown(outcome.action)


# Without a type of its own: one with Any would keep mypy from comparing models with handlers.
ENDPOINTS = (
    Endpoint(
        name="list_actions",
        method="GET",
        path="/actions",
        permission="actions:read",
        summary="What the chatbots asked a person to decide, newest first",
        parameters=ActionsAsked,
        body=NoBody,
        answers=Page[Action],
        work=_list,
    ),
    Endpoint(
        name="read_action",
        method="GET",
        path="/actions/{action_id}",
        permission="actions:read",
        summary="One action",
        parameters=OfAction,
        body=NoBody,
        answers=Action,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="approve_action",
        method="POST",
        path="/actions/{action_id}/approve",
        permission="actions:write",
        summary="Approves a pending action: it is carried out, and the customer is told; safe to"
        " repeat",
        parameters=OfAction,
        body=Approval,
        answers=Action,
        work=_approve,
        versioned=True,
        problems=("already_decided",),
    ),
    Endpoint(
        name="deny_action",
        method="POST",
        path="/actions/{action_id}/deny",
        permission="actions:write",
        summary="Denies a pending action, and the customer is told; safe to repeat",
        parameters=OfAction,
        body=Decision,
        answers=Action,
        work=_deny,
        versioned=True,
        problems=("already_decided",),
    ),
    Endpoint(
        name="withdraw_action",
        method="POST",
        path="/actions/{action_id}/withdraw",
        permission="actions:write",
        summary="Ends what an approved action approves by itself; it stays approved",
        parameters=OfAction,
        body=NoBody,
        answers=Action,
        work=_withdraw,
        versioned=True,
    ),
)
