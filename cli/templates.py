"""`swiftreplies template`: which templates tenants' accounts have, and listing one at Meta now."""

import argparse
import asyncio
import os
from typing import Any

import aiohttp

from cli.command import Refused, one_line, row_id, show, verb, verbs
from cli.operating import as_owner, check, existing, vault_of
from db.chatbots import chatbot_owner, owners_of_chatbots
from db.ids import ChatbotId, UserId
from db.pool import Conn, tenant_transaction
from db.templates import Wanted, account_of_chatbot, list_templates
from handlers.process.configuration import Environment
from handlers.sends.tokens import Tokens
from handlers.templates.account import Meta
from handlers.templates.sync import problem_of, store
from handlers.whatsapp.cloud_api.graph_api import GraphApi

PAGE = 200
SHOWN = ("id", "waba_id", "name", "language", "category", "status", "quality_score")


def declare(noun: argparse.ArgumentParser) -> None:
    templates = verbs(noun)
    listing = verb(templates, "list", "templates as Meta told of them last")
    listing.add_argument("--user", type=row_id, metavar="ID", help="one tenant's")
    listing.add_argument("--status", metavar="WORD", help="Meta's, as APPROVED")
    listing.set_defaults(run=_list)
    now = verb(templates, "sync", "lists a chatbot's account at Meta now; it is done hourly anyway")
    now.add_argument("chatbot", type=row_id, metavar="CHATBOT")
    now.set_defaults(run=_sync)


def _list(args: argparse.Namespace) -> None:
    found = asyncio.run(template_list(Environment(os.environ), args.user, args.status))
    show(args, found, described(found["templates"]) or "there are none")


def _sync(args: argparse.Namespace) -> None:
    done = asyncio.run(template_sync(Environment(os.environ), args.chatbot))
    text = f"{done['new']} new, {done['changed']} changed, {done['gone']} gone"
    show(args, done, text)


def described(rows: list[dict[str, Any]]) -> str:
    return "\n".join(
        f"{row['id']}  tenant {row['user_id']}  "
        + "  ".join(one_line(row[name]) for name in SHOWN[2:])
        for row in rows
    )


async def template_list(
    env: Environment, user_id: int | None = None, status: str | None = None
) -> dict[str, Any]:
    """Oldest first."""
    async with as_owner(env) as conn:
        users = [await existing(conn, user_id)] if user_id else await owners_of_chatbots(conn)
        rows = [row for one in users for row in await _of(conn, one, status)]
    return {"templates": sorted(rows, key=lambda row: row["id"])}


async def _of(conn: Conn, user_id: UserId, status: str | None) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    after: int | None = None
    while True:
        async with tenant_transaction(conn, user_id):
            page = await list_templates(conn, user_id, Wanted(status=status), after, PAGE)
        rows += [
            {"user_id": user_id, **{name: getattr(one, name) for name in SHOWN}}
            for one in page.rows
        ]
        if not page.more:
            return rows
        after = page.rows[-1].id


async def template_sync(env: Environment, chatbot_id: int) -> dict[str, Any]:
    tokens = Tokens(vault_of(env), env.optional("WHATSAPP_ACCESS_TOKEN"))
    url, version = env.graph_url(), env.graph_version()
    check(env)
    async with as_owner(env) as conn:
        user_id = await chatbot_owner(conn, ChatbotId(chatbot_id))
        if user_id is None:
            raise Refused(f"there is no chatbot {chatbot_id}: see `swiftreplies chatbot list`")
        async with tenant_transaction(conn, user_id):
            account = await account_of_chatbot(conn, user_id, ChatbotId(chatbot_id))
        if account is None or account.waba_id is None:
            raise Refused(
                f"chatbot {chatbot_id} has no proven waba_id: its tenant gives it, or the first"
                " webhook of its number brings it"
            )
        async with aiohttp.ClientSession() as http:
            meta = Meta(GraphApi(http, url, version), tokens)
            told = await meta.list_all(account.waba_id, meta.tokens_of([account]))
        if not isinstance(told, list):
            raise Refused(problem_of(told))
        async with tenant_transaction(conn, user_id):
            done = await store(conn, user_id, account.waba_id, told, account.asked_at)
    counts = (done.new, done.changed, done.gone) if done else (0, 0, 0)
    return dict(zip(("new", "changed", "gone"), counts, strict=True))
