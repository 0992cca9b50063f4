"""`swiftreplies webhook`: endpoints of tenants that hear what happens."""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from cli.command import Refused, row_id, show, verb, verbs
from cli.operating import as_owner, existing, vault_of
from db.ids import ChatbotId, UserId, WebhookId
from db.pool import Conn, tenant_transaction
from db.tenants import read_plan, user_exists, user_is_on
from db.webhooks import NewWebhook, Webhook, list_webhooks, owners_of_webhooks, webhook_owner
from handlers.deliveries import webhooks
from handlers.deliveries.signing import event_name
from handlers.deliveries.wishes import misfits
from handlers.outbound.urls import problem
from handlers.plans import Limit, Plan
from handlers.process.configuration import Environment

PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    user_id: int
    url: str
    events: str
    chatbot_id: int | None
    ordered: bool


def declare(noun: argparse.ArgumentParser) -> None:
    hooks = verbs(noun)
    create = verb(hooks, "create", "a webhook; its secret is shown once, and stored encrypted")
    create.add_argument("--user", type=row_id, required=True, metavar="ID", help="the tenant")
    create.add_argument("--url", required=True, metavar="https://...", help="where events go")
    create.add_argument(
        "--events",
        default="*",
        metavar="a,b",
        help="names, family.* or * (default: all; a wrong one prints what may be meant)",
    )
    create.add_argument("--chatbot", type=row_id, metavar="ID", help="of this chatbot alone")
    create.add_argument(
        "--ordered", action="store_true", help="keeps the order of each conversation"
    )
    create.set_defaults(run=_create)
    listing = verb(hooks, "list", "webhooks, how they fare, and what they missed")
    listing.add_argument("--user", type=row_id, metavar="ID", help="one tenant's")
    listing.set_defaults(run=_list)
    test = verb(hooks, "test", "sends the event `ping` to it")
    test.add_argument("id", type=row_id, metavar="ID")
    test.set_defaults(run=_test)
    recover = verb(hooks, "recover", "delivers what was not delivered since then; safe to repeat")
    recover.add_argument("id", type=row_id, metavar="ID")
    recover.add_argument("--since", required=True, metavar="2030-01-31T17:00:00Z")
    recover.set_defaults(run=_recover)


def _create(args: argparse.Namespace) -> None:
    wanted = Wanted(
        user_id=args.user,
        url=args.url,
        events=args.events,
        chatbot_id=args.chatbot,
        ordered=args.ordered,
    )
    created = asyncio.run(webhook_create(Environment(os.environ), wanted))
    text = f"webhook {created['webhook_id']} created. Its secret is shown this once:\n"
    show(args, created, text + created["secret_token"])


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(webhook_list(Environment(os.environ), user_id=args.user))
    show(args, found, described(found["webhooks"]) or "there is no webhook")


def _test(args: argparse.Namespace) -> None:
    sent = asyncio.run(webhook_test(Environment(os.environ), args.id))
    text = f"{sent['event_id']} is on its way to webhook {args.id} (delivery {sent['delivery_id']})"
    show(args, sent, text)


def _recover(args: argparse.Namespace) -> None:
    done = asyncio.run(webhook_recover(Environment(os.environ), args.id, args.since))
    text = f"{done['deliveries']} deliveries of webhook {args.id} are due since {done['since']}"
    show(args, done, text + ("; others follow by themselves" if done["more"] else ""))


async def webhook_create(env: Environment, wanted: Wanted) -> dict[str, Any]:
    allow = env.outbound_allow()
    vault = vault_of(env)
    events = [one.strip() for one in wanted.events.split(",") if one.strip()]
    wrong = [
        f"--events {text}" if at is None else f"--events {events[at][:50]!r}: {text}"
        for at, text in misfits(events)
    ]
    if (url_problem := problem(wanted.url, allow)) is not None:
        wrong.insert(0, f"--url: {url_problem}")
    if wrong:
        raise Refused("\n".join(wrong))
    owner = UserId(wanted.user_id)
    chatbot = None if wanted.chatbot_id is None else ChatbotId(wanted.chatbot_id)
    new = NewWebhook(wanted.url, events, chatbot, wanted.ordered, is_active=True)
    async with as_owner(env) as conn, tenant_transaction(conn, owner):
        # Not its lock: whoever makes a webhook through the API has that of webhooks before.
        if not await user_exists(conn, owner):
            raise Refused(f"there is no tenant {owner}: see `swiftreplies tenant create`")
        plan = await _plan_with_webhooks(conn, owner)
        try:
            webhook_id, secret = await webhooks.make(conn, owner, plan, new, vault)
        except webhooks.AtLimit as at:
            raise Refused(
                f"the plan of tenant {owner} allows {at.limit} webhooks ({Limit.MAX_WEBHOOKS}),"
                f" and there are {at.count}"
            ) from None
        except webhooks.NoSuchChatbot:
            raise Refused(f"tenant {owner} has no chatbot {chatbot}") from None
    return {"webhook_id": webhook_id, "secret_token": secret}


async def _plan_with_webhooks(conn: Conn, owner: UserId) -> Plan:
    plan = Plan(await read_plan(conn, owner))
    key = webhooks.forbidden(plan)
    if key is not None:
        raise Refused(f"the plan of tenant {owner} does not allow {key}")
    return plan


async def webhook_list(env: Environment, *, user_id: int | None) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    async with as_owner(env) as conn:
        owners = (
            await owners_of_webhooks(conn) if user_id is None else [await existing(conn, user_id)]
        )
        for owner in owners:
            async with tenant_transaction(conn, owner):
                after: int | None = None
                while True:
                    page = await list_webhooks(conn, owner, after, PAGE)
                    found += [_shown(owner, row) for row in page.rows]
                    if not page.more:
                        break
                    after = page.rows[-1].id
    return {"webhooks": found}


def _shown(owner: UserId, row: Webhook) -> dict[str, Any]:
    plain = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(row).items()
    }
    return {"webhook_id": plain.pop("id"), "user_id": owner, **plain}


def described(rows: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{row['webhook_id']:>6}  tenant {row['user_id']}  {_state(row)}"
        f"  missed {row['missed']}  {row['url']}  {','.join(row['events'])}"
        for row in rows
    )


def _state(row: dict[str, Any]) -> str:
    if not row["is_active"]:
        return f"off ({row['disabled_reason'] or 'by the tenant'})"
    return f"failing since {row['failing_since']}" if row["failing_since"] else "on"


@asynccontextmanager
async def _of_owner(env: Environment, webhook_id: int) -> AsyncIterator[tuple[Conn, UserId]]:
    async with as_owner(env) as conn:
        owner = await webhook_owner(conn, WebhookId(webhook_id))
        if owner is None:
            raise _no_such(webhook_id)
        async with tenant_transaction(conn, owner):
            await _plan_with_webhooks(conn, owner)
            if not await user_is_on(conn, owner):
                raise Refused(f"tenant {owner} is switched off, so nothing would be tried")
            try:
                yield conn, owner
            except webhooks.Rests:
                raise Refused(
                    f"webhook {webhook_id} is switched off, so nothing would be tried: its tenant"
                    ' switches it on by PATCH {"is_active": true}'
                ) from None


def _no_such(webhook_id: int) -> Refused:
    return Refused(f"there is no webhook {webhook_id}: see `swiftreplies webhook list`")


async def webhook_test(env: Environment, webhook_id: int) -> dict[str, Any]:
    async with _of_owner(env, webhook_id) as (conn, owner):
        report = await webhooks.ping(conn, owner, WebhookId(webhook_id))
        if report is None:  # it went since
            raise _no_such(webhook_id)
    return {"delivery_id": report.id, "event_id": event_name(report.event_id)}


async def webhook_recover(env: Environment, webhook_id: int, since: str) -> dict[str, Any]:
    begin = max(_moment(since), datetime.now(UTC) - webhooks.RECOVERABLE)
    async with _of_owner(env, webhook_id) as (conn, owner):
        done = await webhooks.recover(conn, owner, WebhookId(webhook_id), begin)
        if done is None:
            raise _no_such(webhook_id)
    return {"since": begin.isoformat(), "deliveries": done.due, "more": done.more}


def _moment(text: str) -> datetime:
    try:
        given = datetime.fromisoformat(text)
        moment = given.astimezone(UTC) if given.tzinfo else None
    except (ValueError, OverflowError):
        moment = None
    if moment is None or moment > datetime.now(UTC):
        raise Refused(
            f"--since is no past date and time with its zone, like 2026-01-31T17:00:00Z: {text!r}"
        )
    return moment
