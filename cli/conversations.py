"""`swiftreplies conversation`: people without an API take conversations over and hand them back."""

import argparse
import asyncio
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from cli.command import Refused, moment, one_line, row_id, show, verb, verbs
from cli.operating import as_owner, existing, not_in_plan
from db.chatbots import owners_of_chatbots
from db.ids import ConversationId, UserId
from db.pool import Conn, tenant_transaction
from db.takeovers import owner_of_conversation
from db.talks import Conversation, Wanted, list_conversations, read_conversation
from db.tenants import read_plan
from handlers import takeover
from handlers.plans import Feature, Plan
from handlers.process.configuration import Environment
from handlers.rules.texts import storable

PAGE = 500
REASON_CHARS = 200


def declare(noun: argparse.ArgumentParser) -> None:
    conversations = verbs(noun)
    listing = verb(conversations, "list", "conversations, oldest first")
    listing.add_argument("--user", type=row_id, metavar="ID", help="one tenant's")
    listing.add_argument("--status", choices=("bot", "taken_over", "paused"))
    listing.set_defaults(run=_list)
    take = verb(conversations, "takeover", "silences the bot, so that a person answers")
    take.add_argument("id", type=row_id, metavar="ID")
    take.add_argument("--reason", metavar="TEXT", default="operator", help="for the tenant")
    take.add_argument(
        "--until",
        type=moment,
        metavar="2030-01-31T17:00:00Z",
        help="when the bot goes on (default: when it is handed back)",
    )
    take.set_defaults(run=_take_over)
    back = verb(conversations, "handback", "lets the bot answer again; safe to repeat")
    back.add_argument("id", type=row_id, metavar="ID")
    back.set_defaults(run=_hand_back)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(conversation_list(Environment(os.environ), args.user, args.status))
    show(args, found, described(found["conversations"]) or "there are none")


def _take_over(args: argparse.Namespace) -> None:
    env = Environment(os.environ)
    taken = asyncio.run(conversation_takeover(env, args.id, args.reason, args.until))
    until = taken["taken_over_until"] or "it is handed back"
    show(args, taken, f"conversation {args.id} is a person's until {until}")


def _hand_back(args: argparse.Namespace) -> None:
    back = asyncio.run(conversation_handback(Environment(os.environ), args.id))
    show(args, back, f"conversation {args.id} is the bot's")


async def conversation_list(
    env: Environment, user_id: int | None, status: str | None
) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    async with as_owner(env) as conn:
        owners = (
            await owners_of_chatbots(conn) if user_id is None else [await existing(conn, user_id)]
        )
        for owner in owners:
            async with tenant_transaction(conn, owner):
                found += [_shown(owner, one) for one in await _of_tenant(conn, owner, status)]
    return {"conversations": sorted(found, key=lambda one: one["conversation_id"])}


async def _of_tenant(conn: Conn, owner: UserId, status: str | None) -> list[Conversation]:
    found: list[Conversation] = []
    more = True
    while more:
        before = found[-1].id if found else None
        page = await list_conversations(conn, owner, Wanted(status=status), before, PAGE)
        found += page.rows
        more = page.more
    return found


async def conversation_takeover(
    env: Environment, conversation_id: int, reason: str, until: datetime | None
) -> dict[str, Any]:
    mistakes = []
    if not reason.strip() or len(reason) > REASON_CHARS or storable(reason) != reason:
        mistakes.append(f"--reason is not a text of 1 to {REASON_CHARS} characters")
    if until is not None and until <= datetime.now(UTC):
        mistakes.append("--until is in the past")
    if mistakes:
        raise Refused("\n".join(mistakes))
    number = ConversationId(conversation_id)
    async with as_owner(env) as conn:
        owner = await _owner(conn, number)
        async with tenant_transaction(conn, owner):
            if not Plan(await read_plan(conn, owner)).allows(Feature.LIVE_CHAT_TAKEOVER):
                raise not_in_plan(owner, Feature.LIVE_CHAT_TAKEOVER)
            try:
                await takeover.take_over_conversation(conn, owner, number, until, reason)
            except takeover.NotDone:  # it was erased meanwhile
                raise _none(number) from None
            return await _as_it_is(conn, owner, number)


async def conversation_handback(env: Environment, conversation_id: int) -> dict[str, Any]:
    number = ConversationId(conversation_id)
    async with as_owner(env) as conn:
        owner = await _owner(conn, number)
        async with tenant_transaction(conn, owner):
            try:
                await takeover.hand_back_conversation(conn, owner, number)
            except takeover.NotDone:
                raise _none(number) from None
            return await _as_it_is(conn, owner, number)


async def _owner(conn: Conn, conversation_id: ConversationId) -> UserId:
    owner = await owner_of_conversation(conn, conversation_id)
    if owner is None:
        raise _none(conversation_id)
    return owner


async def _as_it_is(conn: Conn, owner: UserId, conversation_id: ConversationId) -> dict[str, Any]:
    found = await read_conversation(conn, owner, conversation_id)
    if found is None:
        raise _none(conversation_id)
    return _shown(owner, found)


def _none(conversation_id: ConversationId) -> Refused:
    return Refused(
        f"there is no conversation {conversation_id}: see `swiftreplies conversation list`"
    )


def _shown(owner: UserId, conversation: Conversation) -> dict[str, Any]:
    row = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(conversation).items()
    }
    return {"conversation_id": row.pop("id"), "user_id": owner, **row}


def described(conversations: list[dict[str, Any]]) -> str:
    """For a terminal, a line each. A name is the customer's: it gets no control characters
    through."""
    return "\n".join(
        f"{one['conversation_id']:>8}  user {one['user_id']:<6} {one['status']:<10}"
        f" {'waits ' if one['unanswered'] else '      '}"
        f" {one['phone_number'] or one['bsuid'] or '':<16} {one_line(one['name'] or '')}"
        for one in conversations
    )
