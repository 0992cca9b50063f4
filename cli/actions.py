"""`swiftreplies action`: what the bots asked a person, and the person's decision."""

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from cli.command import Refused, count, show, verb, verbs
from cli.operating import as_owner
from db.actions import Action, list_actions, owner_of_action, owners_of_actions
from db.ids import ActionId, UserId
from db.pool import tenant_transaction
from handlers.actions import MAX_RESPONSE_CHARS, Verdict, decide
from handlers.process.configuration import Environment

PAGE = 500


def declare(noun: argparse.ArgumentParser) -> None:
    actions = verbs(noun)
    listing = verb(actions, "list", "the actions, oldest first")
    listing.add_argument("--user", type=int, metavar="ID", help="one tenant's")
    listing.add_argument("--status", choices=("pending", "approved", "denied", "expired"))
    listing.set_defaults(run=_list)
    for name, verdict in (("approve", "approved"), ("deny", "denied")):
        decision = verb(actions, name, f"the action is {verdict}; the customer is told")
        decision.add_argument("id", type=count, metavar="ID")
        decision.add_argument("--response", metavar="T", help="what the customer is told besides")
        if name == "approve":
            decision.add_argument(
                "--similar",
                action="store_true",
                help="and every later one of the same contact that asks for the same, by itself",
            )
        decision.set_defaults(run=_decide, verdict=verdict)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(action_list(Environment(os.environ), user_id=args.user, status=args.status))
    show(args, found, described(found["actions"]) or "there are none")


def _decide(args: argparse.Namespace) -> None:
    decided = asyncio.run(
        action_decide(
            Environment(os.environ),
            args.id,
            args.verdict,
            args.response,
            similar=getattr(args, "similar", False),
        )
    )
    show(args, decided, f"action {decided['id']} {decided['status']}")


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
                more = True
                while more:
                    page = await list_actions(conn, owner, status, before, PAGE)
                    found += page.rows
                    before = page.rows[-1].id if page.rows else None
                    more = page.more
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
    } | {"context_data": json.loads(action.context_data)}


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
