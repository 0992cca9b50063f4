"""/v1/actions"""

from typing import Literal

from db.actions import list_actions, read_action
from db.ids import ActionId
from db.pool import Conn
from handlers import actions
from ingress.api.fields import Field
from ingress.api.problems import Problem
from ingress.api.table import Answer, Call, page_of, there

ACTION_STATUSES = ("pending", "approved", "denied", "expired")
DECISION = (
    Field(
        "user_response",
        "text",
        "what the bot tells the customer about it",
        most=actions.MAX_RESPONSE_CHARS,
    ),
    Field(
        "auto_approve_similar",
        "flag",
        "approve later ones of this chatbot and type without asking; kept with an approval only",
        default=False,
    ),
)


async def _actions(conn: Conn, call: Call) -> Answer:
    q = call.query
    rows = await list_actions(conn, call.user_id, q["status"], q["after"], q["limit"] + 1)
    return page_of(rows, q["limit"])


async def _action(conn: Conn, call: Call) -> Answer:
    return Answer(there(await read_action(conn, call.user_id, ActionId(call.id))))


async def _approve(conn: Conn, call: Call) -> Answer:
    return await _decide(conn, call, "approved")


async def _deny(conn: Conn, call: Call) -> Answer:
    return await _decide(conn, call, "denied")


async def _decide(conn: Conn, call: Call, verdict: Literal["approved", "denied"]) -> Answer:
    outcome: actions.Outcome = there(
        await actions.decide(
            conn,
            call.user_id,
            ActionId(call.id),
            verdict,
            call.body["user_response"],
            auto_approve_similar=call.body["auto_approve_similar"],
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
