"""`swiftreplies chatbot list / show / delete`"""

import argparse
import asyncio
import os
from dataclasses import asdict
from datetime import datetime
from typing import Any

from cli.command import Refused, Verbs, described_row, one_line, row_id, show, verb
from cli.operating import as_owner, existing
from db.chatbots import Chatbot, chatbot_owner, list_chatbots, owners_of_chatbots, read_chatbot
from db.deletions import owner_of_deleted_chatbot
from db.ids import ChatbotId, UserId
from db.pool import CONFLICT, Conn, tenant_transaction
from handlers.deletion.begin import CampaignRuns, NoSuchChatbot, delete_chatbot
from handlers.process.configuration import Environment

PAGE = 200
TRIES = 5  # while a turn or a send has its rows


def declare(chatbots: Verbs) -> None:
    listing = verb(chatbots, "list", "chatbots, newest first, without their access tokens")
    listing.add_argument("--user", type=row_id, metavar="ID", help="one tenant's")
    listing.set_defaults(run=_list)
    shown = verb(chatbots, "show", "one chatbot, and whether its number is proven")
    shown.add_argument("id", type=row_id, metavar="ID")
    shown.set_defaults(run=_show)
    delete = verb(
        chatbots,
        "delete",
        "deletes a chatbot with its conversations, whatever the plan says: at once in no answer,"
        " soon in no row; safe to repeat. There is no way back",
    )
    delete.add_argument("id", type=row_id, metavar="ID")
    delete.set_defaults(run=_delete)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(chatbot_list(Environment(os.environ), args.user))
    lines = [
        f"{one['id']}  tenant {one['user_id']}  {one['whatsapp_phone_number'] or '-'}"
        f"  {_state(one)}  {one_line(one['name'])}"
        for one in found["chatbots"]
    ]
    show(args, found, "\n".join(lines) or "there is no chatbot")


def _show(args: argparse.Namespace) -> None:
    found = asyncio.run(chatbot_show(Environment(os.environ), ChatbotId(args.id)))
    show(args, found, described_row(found))


def _delete(args: argparse.Namespace) -> None:
    done = asyncio.run(chatbot_delete(Environment(os.environ), ChatbotId(args.id)))
    what = "is in no answer; its rows go now" if done["deleted"] else "was deleted before"
    show(args, done, f"chatbot {args.id} {what}")


def _state(one: dict[str, Any]) -> str:
    if not one["is_active"]:
        return "inactive"
    return str(one["bot_status"]) + (", unproven" if one["unproven"] else "")


async def chatbot_list(env: Environment, user: int | None) -> dict[str, Any]:
    async with as_owner(env) as conn:
        owners = (
            sorted(set(await owners_of_chatbots(conn)))
            if user is None
            else [await existing(conn, user)]
        )
        return {"chatbots": [row for one in owners for row in await _all(conn, one)]}


async def _all(conn: Conn, owner: UserId) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: int | None = None
    while True:
        async with tenant_transaction(conn, owner):
            page = await list_chatbots(conn, owner, after, PAGE)
        rows += [_plain(owner, one) for one in page.rows]
        if not page.more:
            return rows
        after = page.rows[-1].id


async def chatbot_show(env: Environment, chatbot_id: ChatbotId) -> dict[str, Any]:
    async with as_owner(env) as conn:
        owner = await chatbot_owner(conn, chatbot_id)
        if owner is not None:
            async with tenant_transaction(conn, owner):
                found = await read_chatbot(conn, owner, chatbot_id)
            if found is not None:
                return _plain(owner, found.chatbot)
    raise _no_such(chatbot_id)


async def chatbot_delete(env: Environment, chatbot_id: ChatbotId) -> dict[str, Any]:
    async with as_owner(env) as conn:
        for tries_left in reversed(range(TRIES)):
            owner = await chatbot_owner(conn, chatbot_id)
            if owner is None:
                break
            try:
                async with tenant_transaction(conn, owner):
                    await delete_chatbot(conn, owner, chatbot_id, lambda _: None)
            except NoSuchChatbot:  # somebody else deleted it at this moment
                break
            except CampaignRuns as runs:
                raise Refused(
                    f"campaign {runs.campaign_id} sends from chatbot {chatbot_id}: wait until it"
                    " is over, or pause or cancel it first"
                ) from None
            except CONFLICT:
                if not tries_left:
                    raise
                continue
            return {"chatbot_id": chatbot_id, "user_id": owner, "deleted": True}
        owner = await owner_of_deleted_chatbot(conn, chatbot_id)
        if owner is None:
            raise _no_such(chatbot_id)
        return {"chatbot_id": chatbot_id, "user_id": owner, "deleted": False}


def _no_such(chatbot_id: ChatbotId) -> Refused:
    return Refused(f"there is no chatbot {chatbot_id}: see `swiftreplies chatbot list`")


def _plain(owner: UserId, one: Chatbot) -> dict[str, Any]:
    row = {"user_id": owner, **asdict(one)}
    return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in row.items()}
