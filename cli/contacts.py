"""`swiftreplies contact`: the customers of a tenant."""

import argparse
import asyncio
import os
from typing import Any

from cli.command import Refused, row_id, show, verb, verbs
from cli.operating import as_owner
from db.erasures import owner_of_contact
from db.ids import ContactId
from db.pool import CONFLICT, tenant_transaction
from handlers.erasure.begin import erase_contact
from handlers.process.configuration import Environment

TRIES = 5  # while a turn or a send has its rows


def declare(noun: argparse.ArgumentParser) -> None:
    erase = verb(
        verbs(noun),
        "erase",
        "erases a person, whatever the plan says: at once in no answer, within a minute in no row",
    )
    erase.add_argument("id", type=row_id, metavar="ID", help="the contact's")
    erase.set_defaults(run=_erase)


def _erase(args: argparse.Namespace) -> None:
    erased = asyncio.run(contact_erase(Environment(os.environ), ContactId(args.id)))
    show(args, erased, f"contact {erased['contact_id']} is in no answer; its rows go now")


async def contact_erase(env: Environment, contact_id: ContactId) -> dict[str, Any]:
    async with as_owner(env) as conn:
        user_id = await owner_of_contact(conn, contact_id)
        for tries_left in reversed(range(TRIES)):
            if user_id is None:
                break
            try:
                async with tenant_transaction(conn, user_id):
                    erased = await erase_contact(conn, user_id, contact_id)
            except CONFLICT:
                if not tries_left:
                    raise
                continue
            if erased:
                return {"contact_id": contact_id, "user_id": user_id}
            break
    raise Refused(f"there is no contact {contact_id}, or it is erased already")
