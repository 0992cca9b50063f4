"""`swiftreplies chatbot`: the chatbots of a tenant, each on a number of its own."""

import argparse
import asyncio
import os
import re
from dataclasses import dataclass
from typing import Any

from cli import chatbot_lives
from cli.apps import app_named
from cli.command import Refused, row_id, show, verb, verbs
from cli.dead_items import DeadId, replay
from cli.operating import as_owner, vault_of, with_place
from db.apps import app_of_user, put_chatbot_on_app
from db.chatbots import (
    chatbot_owner,
    create_chatbot,
    lock_chatbot,
    store_access_token,
)
from db.claims import name_numbers, number_confirmed_at, prove_number
from db.ids import ChatbotId, UserId
from db.parked import parked_of_number
from db.pool import Conn, tenant_transaction
from handlers.plans import Limit
from handlers.process.configuration import Environment
from handlers.process.secrets import access_token_of
from handlers.rules.claims import TAKEN
from handlers.rules.numbers import normalised
from handlers.rules.texts import storable


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChatbot:
    user_id: int
    name: str
    number: str
    phone_number_id: str | None = None
    access_token: str | None = None
    instructions: str | None = None
    app: str | None = None  # its name; None: the tenant's


MAX_NAME_CHARS = 255


def declare(noun: argparse.ArgumentParser) -> None:
    chatbots = verbs(noun)
    create = verb(chatbots, "create", "a chatbot on its own WhatsApp number")
    create.add_argument("--user", type=row_id, required=True, metavar="ID", help="the tenant")
    create.add_argument("--name", required=True)
    create.add_argument("--number", required=True, metavar="+12025550143")
    create.add_argument(
        "--phone-number-id", metavar="ID", help="Meta's; without it the first webhook brings it"
    )
    create.add_argument(
        "--access-token", metavar="T", help="without it WHATSAPP_ACCESS_TOKEN is used"
    )
    create.add_argument("--instructions", metavar="TEXT", help="what the bot is told about itself")
    create.add_argument(
        "--app",
        metavar="NAME",
        help="whose webhooks bring its messages (default: the tenant's, or the environment's)",
    )
    create.set_defaults(run=_create)
    confirm = verb(chatbots, "confirm", "the number is its tenant's: you have made sure of it")
    confirm.add_argument("id", type=row_id, metavar="ID")
    confirm.add_argument(
        "--number", metavar="+12025550143", help="of a chatbot that has none, as a migrated one"
    )
    confirm.add_argument("--phone-number-id", metavar="ID", help="Meta's, where it has none")
    confirm.set_defaults(run=_confirm)
    chatbot_lives.declare(chatbots)


def _create(args: argparse.Namespace) -> None:
    wanted = NewChatbot(
        user_id=args.user,
        name=args.name,
        number=args.number,
        phone_number_id=args.phone_number_id,
        access_token=args.access_token,
        instructions=args.instructions,
        app=args.app,
    )
    created = asyncio.run(chatbot_create(Environment(os.environ), wanted))
    show(args, created, f"chatbot {created['chatbot_id']} created" + _of_waiting(created))


def _confirm(args: argparse.Namespace) -> None:
    done = asyncio.run(
        chatbot_confirm(
            Environment(os.environ), ChatbotId(args.id), args.number, args.phone_number_id
        )
    )
    text = f"the number of chatbot {args.id} is proven since {done['number_confirmed_at']}"
    show(args, done, text + _of_waiting(done))


def _of_waiting(done: dict[str, Any]) -> str:
    """What came for the number before."""
    text = ""
    if "replayed" in done:
        text += f", {done['replayed']} items that waited for its number replayed"
    if "waiting" in done:
        text += f"; {done['waiting']} items wait for its number: {done['hint']}"
    return text


def _number(text: str) -> str:
    """Raises Refused."""
    number = normalised(text)
    if number is None or not re.fullmatch(r"\+[\d\s().-]+", text):
        raise Refused(f"--number is not a number like +12025550143: {text!r}")
    return number


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > MAX_NAME_CHARS or storable(name) != name:
        raise Refused(f"--name is not a text of 1 to {MAX_NAME_CHARS} characters")


def _check_id(phone_number_id: str | None) -> None:
    if phone_number_id is not None and not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", phone_number_id):
        raise Refused("--phone-number-id is not an id as Meta's dashboard shows it")


async def chatbot_create(env: Environment, wanted: NewChatbot) -> dict[str, Any]:
    mistakes: list[str] = []
    for check in (
        lambda: _check_name(wanted.name),
        lambda: _number(wanted.number),
        lambda: _check_id(wanted.phone_number_id),
    ):
        try:
            check()
        except Refused as refused:
            mistakes.append(str(refused))
    if mistakes:
        raise Refused("\n".join(mistakes))
    number, phone_number_id = _number(wanted.number), wanted.phone_number_id
    keys = vault_of(env) if wanted.access_token else None
    owner = UserId(wanted.user_id)
    async with as_owner(env) as conn:
        async with with_place(conn, owner, Limit.MAX_CHATBOTS):
            chatbot_id = await create_chatbot(
                conn, owner, wanted.name, None, None, wanted.instructions
            )
            app_id = (
                await app_of_user(conn, owner)
                if wanted.app is None
                else await app_named(conn, wanted.app)
            )
            await _prove(conn, owner, chatbot_id, number, phone_number_id)
            if app_id is not None:
                await put_chatbot_on_app(conn, owner, chatbot_id, app_id)
            if keys is not None and wanted.access_token is not None:
                sealed = keys.encrypt(wanted.access_token, access_token_of(chatbot_id))
                await store_access_token(conn, owner, chatbot_id, sealed)
        created: dict[str, Any] = {"chatbot_id": chatbot_id}
        waiting = await parked_of_number(conn, phone_number_id, number)
        if waiting:
            created |= await _replay_waiting(env, conn, waiting)
    return created


async def _prove(
    conn: Conn,
    owner: UserId,
    chatbot_id: ChatbotId,
    number: str | None,
    phone_number_id: str | None,
) -> None:
    """What others only claimed of it they lose."""
    proof_seq = await name_numbers(conn, owner, chatbot_id, number, phone_number_id)
    outcome = await prove_number(conn, chatbot_id, proof_seq, None)
    if outcome == "busy":
        raise Refused(
            "somebody writes of this chatbot, or of one that claims its number: repeat it"
        )
    if outcome in TAKEN:
        taken = "number" if outcome == "number" else "id"
        raise Refused(f"a chatbot with this {taken} exists already")


async def chatbot_confirm(
    env: Environment, chatbot_id: ChatbotId, number: str | None, phone_number_id: str | None
) -> dict[str, Any]:
    """Safe to repeat: what is proven stays so, and what a chatbot has is not changed."""
    given = None if number is None else _number(number)
    _check_id(phone_number_id)
    async with as_owner(env) as conn:
        owner = await chatbot_owner(conn, chatbot_id)
        if owner is None:
            raise Refused(f"there is no chatbot {chatbot_id}")
        async with tenant_transaction(conn, owner):
            has = await lock_chatbot(conn, owner, chatbot_id)
            if has is None:
                raise Refused(f"there is no chatbot {chatbot_id}")
            _fits("number", has.whatsapp_phone_number, given)
            _fits("phone-number-id", has.phone_number_id, phone_number_id)
            if has.whatsapp_phone_number is None and given is None:
                raise Refused(f"chatbot {chatbot_id} has no number: name it with --number")
            await _prove(conn, owner, chatbot_id, given, phone_number_id)
            since = await number_confirmed_at(conn, owner, chatbot_id)
        assert since is not None, "it is proven"
        done = {"chatbot_id": chatbot_id, "number_confirmed_at": since.isoformat()}
        waiting = await parked_of_number(
            conn, phone_number_id or has.phone_number_id, given or has.whatsapp_phone_number
        )
        if waiting:
            done |= await _replay_waiting(env, conn, waiting)
    return done


def _fits(option: str, has: str | None, given: str | None) -> None:
    if has is not None and given is not None and has != given:
        raise Refused(f"--{option}: the chatbot has {has}, which a confirmation does not change")


async def _replay_waiting(env: Environment, conn: Conn, waiting: list[int]) -> dict[str, Any]:
    """What came for the number before its chatbot was there. The chatbot exists in any case, so a
    broker that is away or not named only leaves the items where they are."""
    log_url = env.log_url()
    if env.problems:
        return {"waiting": len(waiting), "hint": "set AMQP_URL and run `swiftreplies dead replay`"}
    try:
        items = [DeadId("item", number) for number in waiting]
        return {"replayed": len(await replay(conn, log_url, items))}
    except Refused as refused:
        return {"waiting": len(waiting), "hint": str(refused)}
