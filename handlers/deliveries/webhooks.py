"""Webhooks are made, changed, tried, and given what they missed.

Each is part of the caller's transaction, and the rules are the same for the API and for operators.
What cannot be done is raised, so that the transaction leaves nothing behind.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from db.delivery_reports import ATTEMPTS_KEPT, Report, read_delivery, replay_delivery
from db.ids import ChatbotId, UserId, WebhookId
from db.pool import Conn, Pool, tenant
from db.subscriptions import tell_limit
from db.webhooks import (
    LockedWebhook,
    NewWebhook,
    Webhook,
    WebhookOf,
    add_ping,
    begin_recovery,
    change_webhook,
    chatbot_exists,
    count_webhooks_locked,
    create_webhook,
    forgive,
    lock_webhook,
    recover_deliveries,
    recoveries_under_way,
    rotate_secret,
    store_secret,
)
from handlers.deliveries.signing import new_secret
from handlers.plans import Feature, Limit, Permission, Plan
from handlers.process.secrets import Vault, webhook_secret_of
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Of a tenant whose plan names no number. Each event is a row a webhook that wants it, written while
# it is recorded: ten messages a second to 600 webhooks kept other tenants' for 7.5 s, not 0.1 s.
WEBHOOKS_MAX = 50
OVERLAP = timedelta(hours=24)  # in which the secret before signs as well
RECOVERABLE = ATTEMPTS_KEPT  # events are kept no longer
RECOVER_BATCH = 2_000  # events that one transaction looks at
RECOVERIES_AT_ONCE = 100  # in one look of the scheduler
BATCHES_A_LOOK = 10  # of each recovery, before others have their turn
NEEDS: tuple[Feature | Permission, ...] = (Feature.WEBHOOKS, Permission.CONFIGURE_INTEGRATIONS)


@dataclass(frozen=True, slots=True)
class Recovered:
    due: int  # deliveries
    more: bool  # the scheduler goes on with


class AtLimit(Exception):
    def __init__(self, limit: int, count: int) -> None:
        super().__init__("at_limit")
        self.limit, self.count = limit, count


class NoSuchChatbot(Exception):
    """Or another tenant's."""


class Rests(Exception):
    """The webhook is switched off, so nothing would be tried."""


def forbidden(plan: Plan) -> Feature | Permission | None:
    """What of the plan keeps webhooks from being made and changed."""
    return next((key for key in NEEDS if not plan.allows(key)), None)


async def make(
    conn: Conn, user_id: UserId, plan: Plan, webhook: NewWebhook, vault: Vault
) -> tuple[WebhookId, str]:
    """With its secret, which nobody is told again. Raises AtLimit, NoSuchChatbot."""
    named = plan.limit(Limit.MAX_WEBHOOKS)
    limit = WEBHOOKS_MAX if named is None else named
    count = await count_webhooks_locked(conn, user_id)
    if count >= limit:
        raise AtLimit(limit, count)
    if limit is not None:
        await tell_limit(conn, user_id, "max_webhooks", count + 1, limit, False)
    await _be_ours(conn, user_id, webhook.chatbot_id)
    webhook_id = await create_webhook(conn, user_id, webhook)
    secret = new_secret()
    await store_secret(conn, user_id, webhook_id, _sealed(vault, webhook_id, secret))
    return webhook_id, secret


async def _be_ours(conn: Conn, user_id: UserId, chatbot_id: ChatbotId | None) -> None:
    if chatbot_id is not None and not await chatbot_exists(conn, user_id, chatbot_id):
        raise NoSuchChatbot


def _sealed(vault: Vault, webhook_id: WebhookId, secret: str) -> str:
    return vault.encrypt(secret, webhook_secret_of(webhook_id))


async def change(conn: Conn, user_id: UserId, webhook: Webhook, given: dict[str, Any]) -> None:
    """Of a locked one. To switch it on forgives what it failed with, and so does another address.
    Raises NoSuchChatbot."""
    differs = {name: value for name, value in given.items() if getattr(webhook, name) != value}
    if differs:
        await _be_ours(conn, user_id, differs.get("chatbot_id"))
        new = NewWebhook(
            url=differs.get("url", webhook.url),
            events=differs.get("events", webhook.events),
            chatbot_id=differs.get("chatbot_id", webhook.chatbot_id),
            ordered=differs.get("ordered", webhook.ordered),
            is_active=differs.get("is_active", webhook.is_active),
        )
        await change_webhook(conn, user_id, webhook.id, new, events="events" in differs)
    if given.get("is_active") or "url" in differs:
        await forgive(conn, user_id, webhook.id)


async def rotate(conn: Conn, user_id: UserId, webhook_id: WebhookId, vault: Vault) -> str:
    """The new secret of a locked webhook. The one before signs along for OVERLAP; one before that
    no more."""
    secret = new_secret()
    await rotate_secret(conn, user_id, webhook_id, _sealed(vault, webhook_id, secret), OVERLAP)
    return secret


async def _awake(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> LockedWebhook | None:
    """Raises Rests."""
    webhook = await lock_webhook(conn, user_id, webhook_id)
    if webhook is not None and not webhook.is_active:
        raise Rests
    return webhook


async def ping(conn: Conn, user_id: UserId, webhook_id: WebhookId) -> Report | None:
    """A delivery for it alone. None: there is no such webhook. Raises Rests."""
    if await _awake(conn, user_id, webhook_id) is None:
        return None
    return await read_delivery(conn, user_id, await add_ping(conn, user_id, webhook_id))


async def replay(conn: Conn, user_id: UserId, delivery_id: int) -> Report | None:
    """Due now, under its webhook-id of before. None: there is no such delivery. Raises Rests."""
    report = await read_delivery(conn, user_id, delivery_id)
    if report is None or await _awake(conn, user_id, report.webhook_id) is None:
        return None
    await replay_delivery(conn, user_id, delivery_id)
    return await read_delivery(conn, user_id, delivery_id)


async def recover(
    conn: Conn, user_id: UserId, webhook_id: WebhookId, since: datetime
) -> Recovered | None:
    """The first batch; the scheduler does the others. None: there is no such webhook. Raises
    Rests."""
    if await _awake(conn, user_id, webhook_id) is None:
        return None
    await begin_recovery(conn, user_id, webhook_id, since)
    return Recovered(*await recover_deliveries(conn, user_id, webhook_id, RECOVER_BATCH))


async def go_on_recovering(pool: Pool, sweep: Sweep[WebhookOf]) -> None:
    """Some batches of each recovery that is under way."""
    async with pool.acquire() as conn:
        found = await recoveries_under_way(conn, sweep.limit(RECOVERIES_AT_ONCE))
    await sweep.each(found, partial(_go_on, pool))


async def _go_on(pool: Pool, one: WebhookOf) -> None:
    due, more = 0, True
    for _ in range(BATCHES_A_LOOK):
        async with tenant(pool, one.user_id) as conn:
            more_due, more = await recover_deliveries(conn, one.user_id, one.id, RECOVER_BATCH)
        due += more_due
        if not more:
            break
    log.info("webhook.recovers", user_id=one.user_id, webhook_id=one.id, due=due, more=more)
