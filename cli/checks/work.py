"""Work that waits for a worker with its role, and webhooks whose secrets cannot be read."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg

from cli.checks.check import Check, failed, ok, warning
from db.backfills import terms_left
from db.chatbots import owners_of_chatbots
from db.doctor import Untaken, WebhookSecrets, untaken, webhook_secrets
from db.pool import UNAVAILABLE, connect_owner, tenant_transaction
from handlers.deliveries.signing import key_of
from handlers.process.configuration import BadConfiguration
from handlers.process.secrets import Undecryptable, Vault, webhook_secret_of
from worker import settings as worker_settings

AGE = timedelta(minutes=1)  # nothing that a worker takes has to wait so long
NAMED_MAX = 20
WHAT = {
    "turns": "conversations to be answered",
    "sends": "replies to be sent",
    "webhooks": "webhooks with events to be delivered",
    "scheduler": "conversations of workers that died",
}


async def work(values: Mapping[str, str], owner_url: str) -> list[Check]:
    waiting: list[Untaken] = []
    secrets: list[WebhookSecrets] = []
    try:
        conn = await connect_owner(owner_url)
        try:
            unfound = await terms_left(conn)
            for user_id in await owners_of_chatbots(conn):
                async with tenant_transaction(conn, user_id):
                    waiting += await untaken(conn, user_id, AGE)
                    secrets += await webhook_secrets(conn, user_id)
        finally:
            await conn.close()
    except (*UNAVAILABLE, asyncpg.PostgresError):
        return []  # said above
    return [*_backfill(unfound), *_roles(waiting), *_secrets(values, secrets)]


def _backfill(unfound: int) -> list[Check]:
    if not unfound:
        return []
    return [
        warning(
            "search for contacts",
            f"of {unfound} tenants it does not find all yet, since `swiftreplies migrate` ended"
            " before it was done: run it again, it goes on where it was",
        )
    ]


def _roles(waiting: Sequence[Untaken]) -> list[Check]:
    """A role that nobody runs looks like this; so does one that has far too few."""
    checks = []
    for role, what in WHAT.items():
        found = [one for one in waiting if one.role == role]
        if found:
            longest = datetime.now(UTC) - min(one.since for one in found)
            checks.append(
                warning(
                    f"role {role}",
                    f"{sum(one.n for one in found)} {what} wait, one of them for"
                    f" {longest // timedelta(minutes=1)} min, and no worker takes them: see that"
                    f" one runs with the role {role}",
                )
            )
    return checks or [ok("roles", "nothing waits for a worker")]


def _secrets(values: Mapping[str, str], secrets: Sequence[WebhookSecrets]) -> list[Check]:
    try:
        vault = Vault(worker_settings.read(values).secrets_keys)
    except BadConfiguration:
        return []  # said above
    closed = [str(one.id) for one in secrets if not _opens(vault, one)]
    if closed:
        more = f" and {len(closed) - NAMED_MAX} more" if len(closed) > NAMED_MAX else ""
        return [
            failed(
                "webhook secrets",
                f"no key opens those of webhook {', '.join(closed[:NAMED_MAX])}{more}, so nothing"
                " is delivered to them: put the key of before behind the new one in SECRETS_KEY,"
                " or give them new secrets",
            )
        ]
    return [ok("webhook secrets", f"{len(secrets)} can be read")] if secrets else []


def _opens(vault: Vault, one: WebhookSecrets) -> bool:
    stored = [one.secret_token, *([one.prev_secret_token] if one.prev_secret_token else [])]
    try:
        for secret in stored:
            key_of(vault.decrypt(secret or "", webhook_secret_of(one.id)))
    except (Undecryptable, ValueError):
        return False
    return True
