"""`swiftreplies action`: what the bots asked a person, and the person's decision."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from cli.operating import Refused, as_owner
from db.actions import Action, list_actions, owner_of_action, owners_of_actions
from db.ids import ActionId, UserId
from db.pool import tenant_transaction
from handlers.actions import MAX_RESPONSE_CHARS, Verdict, decide
from handlers.process.configuration import Environment

PAGE = 500


async def action_list(
    env: Environment, *, user_id: int | None, status: str | None
) -> dict[str, Any]:
    """Oldest first."""
    found: list[Action] = []
    async with as_owner(env) as conn:
        owners = await owners_of_actions(conn) if user_id is None else [UserId(user_id)]
        for owner in owners:
            async with tenant_transaction(conn, owner):
                before: ActionId | None = None
                while page := await list_actions(conn, owner, status, before, PAGE):
                    found += page
                    before = page[-1].id
    return {"actions": [_shown(action) for action in sorted(found, key=lambda a: a.id)]}


async def action_decide(
    env: Environment, action_id: int, verdict: Verdict, response: str | None, *, similar: bool
) -> dict[str, Any]:
    response = (response or "").strip() or None
    if response is not None and len(response) > MAX_RESPONSE_CHARS:
        raise Refused(f"--response has {len(response)} characters, {MAX_RESPONSE_CHARS} at most")
    async with as_owner(env) as conn:
        owner = await owner_of_action(conn, ActionId(action_id))
        outcome = None
        if owner is not None:
            async with tenant_transaction(conn, owner):
                outcome = await decide(
                    conn,
                    owner,
                    ActionId(action_id),
                    verdict,
                    response,
                    auto_approve_similar=similar,
                )
    if outcome is None:
        raise Refused(f"there is no action {action_id}: see `swiftreplies action list`")
    if not outcome.won:
        raise Refused(f"action {action_id} is {outcome.action.status} already")
    return _shown(outcome.action)


def _shown(action: Action) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(action).items()
    }


def described(actions: Sequence[dict[str, Any]]) -> str:
    """For a terminal, a line each. The details are a model's words about a customer's: they get
    no control characters through."""
    return "\n".join(
        f"{a['id']:>8}  {a['created_at'][:19]}  user {a['user_id']:<6} {a['status']:<9}"
        f" {_line(a['request_type']):<20} {_line(a['request_details'])}"
        for a in actions
    )


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
