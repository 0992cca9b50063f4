"""`swiftreplies action`: what the bots asked a person, and the person's decision."""

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from cli.command import Refused, count, moment, one_line, row_id, show, verb, verbs
from cli.operating import as_owner, existing
from db.actions import Action, WantedActions, list_actions, owner_of_action, owners_of_actions
from db.ids import ActionId, UserId
from db.pool import Conn, tenant_transaction
from handlers.actions import MAX_RESPONSE_CHARS, Outcome, Similar, Verdict, decide, withdraw
from handlers.process.configuration import Environment
from handlers.rules.products import PRICE_MAX
from handlers.rules.requests import APPROVES_FOR, Unbounded

PAGE = 500


def declare(noun: argparse.ArgumentParser) -> None:
    actions = verbs(noun)
    listing = verb(actions, "list", "the actions, oldest first")
    listing.add_argument("--user", type=row_id, metavar="ID", help="one tenant's")
    listing.add_argument("--status", choices=("pending", "approved", "denied", "expired"))
    listing.add_argument(
        "--similar", action="store_true", help="those that approve others by themselves"
    )
    listing.set_defaults(run=_list)
    for name, verdict in (("approve", "approved"), ("deny", "denied")):
        decision = verb(actions, name, f"the action is {verdict}; the customer is told")
        decision.add_argument("id", type=row_id, metavar="ID")
        decision.add_argument("--response", metavar="T", help="what the customer is told besides")
        if name == "approve":
            _bound(decision)
        decision.set_defaults(run=_decide, verdict=verdict)
    ending = verb(actions, "withdraw", "the action, approved with --similar, approves no others")
    ending.add_argument("id", type=count, metavar="ID")
    ending.set_defaults(run=_withdraw)


def _bound(decision: argparse.ArgumentParser) -> None:
    decision.add_argument(
        "--similar",
        action="store_true",
        help="and later similar ones of the same contact by themselves, within the bound",
    )
    decision.add_argument(
        "--max-amount", type=_amount, metavar="A", help="of one of them (this action's amount)"
    )
    decision.add_argument(
        "--max-per-day", type=_amount, metavar="A", help="of all of them a day (--max-amount)"
    )
    decision.add_argument("--any-contact", action="store_true", help="also those of other contacts")
    decision.add_argument(
        "--expires", type=moment, metavar="T", help=f"until then (in {APPROVES_FOR.days} days)"
    )


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
        if 0 < amount <= PRICE_MAX and amount == amount.quantize(Decimal("0.01")):
            return amount
    except InvalidOperation:
        pass
    raise argparse.ArgumentTypeError(f"no amount above 0, like 38.50: {text[:40]!r}")


def _list(args: argparse.Namespace) -> None:
    wanted = WantedActions(status=args.status, auto_approve_similar=args.similar or None)
    found = asyncio.run(action_list(Environment(os.environ), args.user, wanted))
    show(args, found, described(found["actions"]) or "there are none")


def _decide(args: argparse.Namespace) -> None:
    similar = _similar(args) if args.verdict == "approved" else None
    decided = asyncio.run(
        action_decide(
            Environment(os.environ), args.id, args.verdict, args.response, similar=similar
        )
    )
    show(args, decided, f"action {decided['id']} {decided['status']}")


def _similar(args: argparse.Namespace) -> Similar | None:
    bound = Similar(
        max_amount=args.max_amount,
        max_per_day=args.max_per_day,
        any_contact=args.any_contact,
        until=args.expires,
    )
    if args.similar:
        if bound.until is not None and bound.until <= datetime.now(UTC):
            raise Refused("--expires is in the past")
        return bound
    if bound != Similar():
        raise Refused("a bound is one of --similar")
    return None


def _withdraw(args: argparse.Namespace) -> None:
    ended = asyncio.run(action_withdraw(Environment(os.environ), args.id))
    show(args, ended, f"action {ended['id']} approves no others")


async def action_list(
    env: Environment, user_id: int | None, wanted: WantedActions
) -> dict[str, Any]:
    """Oldest first."""
    found: list[Action] = []
    async with as_owner(env) as conn:
        owners = (
            await owners_of_actions(conn) if user_id is None else [await existing(conn, user_id)]
        )
        for owner in owners:
            async with tenant_transaction(conn, owner):
                before: ActionId | None = None
                more = True
                while more:
                    page = await list_actions(conn, owner, wanted, before, PAGE)
                    found += page.rows
                    before = page.rows[-1].id if page.rows else None
                    more = page.more
    return {"actions": [_shown(action) for action in sorted(found, key=lambda a: a.id)]}


async def action_decide(
    env: Environment,
    action_id: int,
    verdict: Verdict,
    response: str | None,
    *,
    similar: Similar | None,
) -> dict[str, Any]:
    response = (response or "").strip() or None
    if response is not None and len(response) > MAX_RESPONSE_CHARS:
        raise Refused(f"--response has {len(response)} characters, {MAX_RESPONSE_CHARS} at most")

    async def work(conn: Conn, owner: UserId) -> Outcome | None:
        return await decide(conn, owner, ActionId(action_id), verdict, response, similar=similar)

    try:
        outcome = await _in_its_tenant(env, action_id, work)
    except Unbounded as unbounded:
        option = unbounded.field.replace("_", "-")
        raise Refused(f"--{option}: {unbounded.why}") from None
    if not outcome.won:
        raise Refused(f"action {action_id} is {outcome.action.status} already")
    return _shown(outcome.action)


async def action_withdraw(env: Environment, action_id: int) -> dict[str, Any]:
    async def work(conn: Conn, owner: UserId) -> Outcome | None:
        return await withdraw(conn, owner, ActionId(action_id))

    outcome = await _in_its_tenant(env, action_id, work)
    if not outcome.won:
        raise Refused(f"action {action_id} approves no others")
    return _shown(outcome.action)


async def _in_its_tenant(
    env: Environment, action_id: int, work: Callable[[Conn, UserId], Awaitable[Outcome | None]]
) -> Outcome:
    async with as_owner(env) as conn:
        owner = await owner_of_action(conn, ActionId(action_id))
        outcome = None
        if owner is not None:
            async with tenant_transaction(conn, owner):
                outcome = await work(conn, owner)
    if outcome is None:
        raise Refused(f"there is no action {action_id}: see `swiftreplies action list`")
    return outcome


def _shown(action: Action) -> dict[str, Any]:
    return {name: _plain(value) for name, value in asdict(action).items()} | {
        "context_data": json.loads(action.context_data)
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else value


def described(actions: Sequence[dict[str, Any]]) -> str:
    """For a terminal, a line each. The details are a model's words about a customer's: they get
    no control characters through."""
    return "\n".join(
        f"{a['id']:>8}  {a['created_at'][:19]}  user {a['user_id']:<6} {a['status']:<9}"
        f" {one_line(a['request_type']):<20} {one_line(a['request_details'])}"
        for a in actions
    )
