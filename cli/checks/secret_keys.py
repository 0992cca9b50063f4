"""Whether the keys of SECRETS_KEY open what is stored."""

from collections.abc import Mapping

import asyncpg

from cli.checks.check import Check, failed, ok, warning
from db.pool import UNAVAILABLE, connect_owner
from handlers.process.configuration import Environment
from handlers.process.sealed import look_at_all
from handlers.process.secrets import Vault

NAMED_MAX = 20  # of the values that no key opens


async def stored_secrets(values: Mapping[str, str], owner_url: str) -> list[Check]:
    env = Environment(values)
    keys = env.secrets_keys()
    if env.problems:
        return []  # said as the configuration's
    try:
        conn = await connect_owner(owner_url)
        try:
            found = [one async for one in look_at_all(conn, Vault(keys), reseals=False)]
        finally:
            await conn.close()
    except (*UNAVAILABLE, asyncpg.PostgresError):
        return []  # said of the database, or of its schema
    closed = [one for one in found if one.problem is not None]
    checks = [
        failed(
            "stored secret",
            f"{one.place}: {one.problem}: put the key it was made with behind the others in"
            " SECRETS_KEY, or store it anew",
        )
        for one in closed[:NAMED_MAX]
    ]
    if len(closed) > NAMED_MAX:
        checks.append(failed("stored secret", f"and {len(closed) - NAMED_MAX} more"))
    old = sum(not one.is_current for one in found) - len(closed)
    if old:
        checks.append(
            warning(
                "stored secrets",
                f"{old} are encrypted with a key that is not the first of SECRETS_KEY: run"
                " `swiftreplies secrets rotate` before it is taken away",
            )
        )
    return checks or [ok("stored secrets", f"the first of SECRETS_KEY opens all {len(found)}")]
