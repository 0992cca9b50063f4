"""/v1/actions"""

from typing import Annotated, Literal

from pydantic import Field

from db.actions import Action, list_actions, read_action
from db.ids import ActionId
from db.pool import Conn
from handlers import actions
from ingress.api.fields import Body, NoBody, Paged, Parameters, RowId
from ingress.api.problems import Problem
from ingress.api.table import Answer, Call, Endpoint, Page, page_of, there


class ActionsAsked(Paged):
    status: Annotated[
        Literal["pending", "approved", "denied", "expired"] | None,
        Field(description="only these"),
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
            description="approve later ones of this chatbot and type without asking; kept with an"
            " approval only"
        ),
    ] = False


async def _list(conn: Conn, call: Call[ActionsAsked, NoBody]) -> Answer[Page[Action]]:
    asked = call.parameters
    after = None if asked.after is None else ActionId(asked.after)
    rows = await list_actions(conn, call.user_id, asked.status, after, asked.limit)
    return page_of(rows)


async def _read(conn: Conn, call: Call[OfAction, NoBody]) -> Answer[Action]:
    return Answer(there(await read_action(conn, call.user_id, call.parameters.action_id)))


async def _approve(conn: Conn, call: Call[OfAction, Decision]) -> Answer[Action]:
    return await _decide(conn, call, "approved")


async def _deny(conn: Conn, call: Call[OfAction, Decision]) -> Answer[Action]:
    return await _decide(conn, call, "denied")


async def _decide(
    conn: Conn, call: Call[OfAction, Decision], verdict: Literal["approved", "denied"]
) -> Answer[Action]:
    outcome = there(
        await actions.decide(
            conn,
            call.user_id,
            call.parameters.action_id,
            verdict,
            call.body.user_response,
            auto_approve_similar=call.body.auto_approve_similar or False,
        )
    )
    if outcome.won or outcome.action.status == verdict:
        return Answer(outcome.action)
    resolved_at = outcome.action.resolved_at
    raise Problem(
        "already_decided",
        f"The action is {outcome.action.status}"
        f"{f' since {resolved_at.isoformat()}' if resolved_at else ''}, and a decision is final.",
        action=outcome.action,
    )


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
    ),
    Endpoint(
        name="approve_action",
        method="POST",
        path="/actions/{action_id}/approve",
        permission="actions:write",
        summary="Approves a pending action: it is carried out, and the customer is told; safe to"
        " repeat",
        parameters=OfAction,
        body=Decision,
        answers=Action,
        work=_approve,
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
        problems=("already_decided",),
    ),
)
