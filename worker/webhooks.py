"""The role `webhooks`: holds tenants' webhooks that have something due, and delivers it; and calls
tenants' tools that a person has approved."""

import asyncio

import structlog

from db.deliveries import ClaimedWebhook, claim_webhooks
from db.ids import WebhookId, WorkerId
from db.pool import CONFLICT, UNAVAILABLE, Pool, create_pool
from handlers.deliveries.deliver import Courier
from handlers.deliveries.rules import WIDTH
from handlers.outbound.guard import Outbound
from handlers.process import telemetry
from handlers.process.http.server import connections_allowed
from handlers.process.secrets import Vault
from worker.claims import Claims, Work, work
from worker.clock import pause
from worker.liveness import TERM
from worker.process import Worker
from worker.tools import approved_calls

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# Webhooks held at once. One whose endpoint hangs keeps its place for 10 s, so there are many: they
# cost memory, and a file a post: where the machine gives few of those, there are fewer, or posts to
# endpoints that answer failed for want of them. A tenant has half of them at most.
WEBHOOK_SLOTS = 512
CLAIM_MAX = 128
POLL_S = 0.05
POST_S = 10.0  # to connect and to answer
# One with which we made a mistake. Taken again at once, its endpoint got 20 posts a second.
BROKEN_S = 60.0
POOL_SIZE = 8  # of the role alone: no turn waits behind deliveries, nor they behind turns


async def webhooks(worker: Worker) -> None:
    pool = await create_pool(
        worker.settings.database_url, size=POOL_SIZE, name=f"swiftreplies webhooks {worker.name}"
    )
    telemetry.watch(pool, "webhooks")
    slots = min(WEBHOOK_SLOTS, connections_allowed() // WIDTH)
    try:
        async with Outbound(
            worker.settings.outbound_allow, connections=slots * WIDTH, seconds=POST_S
        ) as outbound:
            vault = Vault(worker.settings.secrets_keys)
            courier = Courier(pool, outbound, vault, worker.stop)
            async with asyncio.TaskGroup() as group:
                group.create_task(work(worker, _claims(worker, pool, courier, slots)))
                group.create_task(approved_calls(worker, pool, vault))
    finally:
        pool.terminate()


def _claims(worker: Worker, pool: Pool, courier: Courier, slots: int) -> Claims:
    held: set[WebhookId] = set()

    async def one(worker_id: WorkerId, claimed: ClaimedWebhook) -> None:
        try:
            await courier.serve(worker_id, claimed)
        except (*UNAVAILABLE, *CONFLICT) as error:
            log.warning("webhook.interrupted", webhook_id=claimed.id, exc_info=error)
        except Exception as error:  # a mistake of ours with one webhook must not end the role
            log.error("webhook.failed", webhook_id=claimed.id, exc_info=error)
            await pause(worker.stop, None, BROKEN_S)  # held meanwhile
        finally:
            held.discard(claimed.id)
            telemetry.WEBHOOKS_HELD.set(len(held))

    async def take(free: int) -> list[Work]:
        worker_id = worker.liveness.worker_id
        if worker_id is None:
            return []
        async with pool.acquire() as conn:
            claims = await claim_webhooks(conn, worker_id, list(held), free, slots // 2, TERM)
        held.update(claimed.id for claimed in claims)
        telemetry.WEBHOOKS_HELD.set(len(held))
        return [one(worker_id, claimed) for claimed in claims]

    return Claims(
        role="webhooks",
        slots=slots,
        take=take,
        poll_s=lambda: POLL_S,
        room=lambda: CLAIM_MAX,
    )
