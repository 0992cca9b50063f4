"""`swiftreplies chatbot`: the chatbots of a tenant, each on a number of its own."""

import argparse
import asyncio
import os
import re
from dataclasses import dataclass
from typing import Any

import asyncpg

from cli.command import Refused, show, verb, verbs
from cli.dead_items import DeadId, replay
from cli.operating import as_owner, check
from db.chatbots import count_chatbots, create_chatbot, store_access_token
from db.ids import UserId
from db.parked import parked_of_number
from db.pool import Conn, tenant_transaction
from db.tenants import lock_user, read_plan
from handlers.plans import Limit, Plan
from handlers.process.configuration import Environment
from handlers.process.secrets import MIN_KEY_CHARS, Vault, access_token_of
from handlers.rules.numbers import normalised


@dataclass(frozen=True, slots=True, kw_only=True)
class NewChatbot:
    user_id: int
    name: str
    number: str
    phone_number_id: str | None = None
    access_token: str | None = None
    instructions: str | None = None


def declare(noun: argparse.ArgumentParser) -> None:
    create = verb(verbs(noun), "create", "a chatbot on its own WhatsApp number")
    create.add_argument("--user", type=int, required=True, metavar="ID", help="the tenant")
    create.add_argument("--name", required=True)
    create.add_argument("--number", required=True, metavar="+12025550143")
    create.add_argument(
        "--phone-number-id", metavar="ID", help="Meta's; without it the first webhook brings it"
    )
    create.add_argument(
        "--access-token", metavar="T", help="without it WHATSAPP_ACCESS_TOKEN is used"
    )
    create.add_argument("--instructions", metavar="TEXT", help="what the bot is told about itself")
    create.set_defaults(run=_create)


def _create(args: argparse.Namespace) -> None:
    wanted = NewChatbot(
        user_id=args.user,
        name=args.name,
        number=args.number,
        phone_number_id=args.phone_number_id,
        access_token=args.access_token,
        instructions=args.instructions,
    )
    created = asyncio.run(chatbot_create(Environment(os.environ), wanted))
    text = f"chatbot {created['chatbot_id']} created"
    if "replayed" in created:
        text += f", {created['replayed']} items that waited for its number replayed"
    if "waiting" in created:
        text += f"; {created['waiting']} items wait for its number: {created['hint']}"
    show(args, created, text)


async def chatbot_create(env: Environment, wanted: NewChatbot) -> dict[str, Any]:
    number, phone_number_id = normalised(wanted.number), wanted.phone_number_id
    if number is None or not re.fullmatch(r"\+[\d\s().-]+", wanted.number):
        raise Refused(f"--number is not a number like +12025550143: {wanted.number!r}")
    if phone_number_id is not None and not re.fullmatch(r"[0-9A-Za-z_-]{1,64}", phone_number_id):
        raise Refused("--phone-number-id is not an id as Meta's dashboard shows it")
    vault = _vault(env) if wanted.access_token else None
    owner = UserId(wanted.user_id)
    async with as_owner(env) as conn:
        try:
            async with tenant_transaction(conn, owner):
                if not await lock_user(conn, owner):
                    raise Refused(f"there is no tenant {owner}: see `swiftreplies tenant create`")
                limit = Plan(await read_plan(conn, owner)).limit(Limit.MAX_CHATBOTS)
                if limit is not None and await count_chatbots(conn, owner) >= limit:
                    raise Refused(
                        f"the plan of tenant {owner} allows {limit} chatbots"
                        " (limits.max_chatbots), and it has them"
                    )
                chatbot_id = await create_chatbot(
                    conn, owner, wanted.name, number, phone_number_id, wanted.instructions
                )
                if vault is not None and wanted.access_token is not None:
                    sealed = vault.encrypt(wanted.access_token, access_token_of(chatbot_id))
                    await store_access_token(conn, owner, chatbot_id, sealed)
        except asyncpg.UniqueViolationError as error:
            taken = "id" if "phone_number_id" in (error.constraint_name or "") else "number"
            raise Refused(f"a chatbot with this {taken} exists already") from None
        created: dict[str, Any] = {"chatbot_id": chatbot_id}
        waiting = await parked_of_number(conn, phone_number_id, number)
        if waiting:
            created |= await _replay_waiting(env, conn, waiting)
    return created


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


def _vault(env: Environment) -> Vault:
    keys = env.names("SECRETS_KEY", what="encrypts the access token")
    if any(len(key) < MIN_KEY_CHARS for key in keys):
        env.problems.append(f"SECRETS_KEY is shorter than {MIN_KEY_CHARS} characters")
    env.database_url()  # so that both are told when both are missing
    check(env)
    return Vault(keys)
