"""`swiftreplies tenant erase`: a tenant and all that its customers wrote."""

import argparse
import asyncio
import os
from typing import Any

from cli.command import Refused, Verbs, row_id, show, verb
from cli.operating import as_owner
from db.ids import UserId
from db.pool import CONFLICT, tenant_transaction
from handlers.erasure.begin import erase_tenant
from handlers.process.configuration import Environment

TRIES = 5  # while messages of its customers are recorded


def declare(tenant: Verbs) -> None:
    erase = verb(
        tenant,
        "erase",
        "erases a tenant: at once it has no keys, numbers or plan, within minutes no rows but what"
        " it used; there is no way back",
    )
    erase.add_argument("id", type=row_id, metavar="ID")
    erase.set_defaults(run=_erase)


def _erase(args: argparse.Namespace) -> None:
    erased = asyncio.run(tenant_erase(Environment(os.environ), UserId(args.id)))
    show(args, erased, f"tenant {erased['user_id']} is in no answer; its rows go now")


async def tenant_erase(env: Environment, user_id: UserId) -> dict[str, Any]:
    async with as_owner(env) as conn:
        for tries_left in reversed(range(TRIES)):
            try:
                async with tenant_transaction(conn, user_id):
                    erased = await erase_tenant(conn, user_id)
            except CONFLICT:
                if not tries_left:
                    raise
                continue
            if erased:
                return {"user_id": user_id}
            break
    raise Refused(f"there is no tenant {user_id}, or it is erased already")
