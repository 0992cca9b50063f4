"""`swiftreplies secrets`: what is stored encrypted, and the keys of SECRETS_KEY."""

import argparse
import asyncio
import os
import sys
from typing import Any

from cli.command import show, verb, verbs
from cli.operating import as_owner, vault_of
from handlers.process.configuration import Environment
from handlers.process.sealed import look_at_all


def declare(noun: argparse.ArgumentParser) -> None:
    rotate = verb(
        verbs(noun),
        "rotate",
        "everything stored is encrypted anew with the first of SECRETS_KEY; safe to repeat",
    )
    rotate.set_defaults(run=_rotate)


def _rotate(args: argparse.Namespace) -> None:
    done = asyncio.run(secrets_rotate(Environment(os.environ)))
    unreadable = "".join(f"\n{one['value']}: {one['why']}" for one in done["unreadable"])
    text = f"{done['rotated']} encrypted anew, {done['current']} had the first key already"
    show(args, done, text + unreadable)
    if unreadable:
        sys.exit(1)


async def secrets_rotate(env: Environment) -> dict[str, Any]:
    keys = vault_of(env)
    done: dict[str, Any] = {"rotated": 0, "current": 0, "unreadable": []}
    async with as_owner(env) as conn:
        async for one in look_at_all(conn, keys, reseals=True):
            if one.problem is not None:
                done["unreadable"].append({"value": one.place, "why": one.problem})
            else:
                done["current" if one.is_current else "rotated"] += 1
    return done
