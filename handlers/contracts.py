"""What the days of a contract bring: it is renewed, or the tenant is told of its end."""

from functools import partial

import structlog

from db.contracts import Due, advance_contract, due_contracts, read_contract
from db.pool import Pool, tenant
from handlers.deliveries.of_plans import SubscriptionEnded, SubscriptionExpiring
from handlers.deliveries.outbox import tell
from handlers.process.sweeps import Sweep

log: structlog.stdlib.BoundLogger = structlog.get_logger()

SWEEP_BATCH = 100


async def keep_contracts(pool: Pool, sweep: Sweep[Due]) -> None:
    async with pool.acquire() as conn:
        due = await due_contracts(conn, sweep.limit(SWEEP_BATCH))
    await sweep.each(due, partial(_advance, pool))


async def _advance(pool: Pool, one: Due) -> None:
    async with tenant(pool, one.user_id) as conn:
        what = await advance_contract(conn, one.user_id, one.id)
        contract = None if what is None else await read_contract(conn, one.user_id, one.id)
        if contract is None or contract.contract_end_date is None:
            return
        if what == "expiring":
            expiring = SubscriptionExpiring(
                subscription_id=contract.subscription_id,
                subscription_name=contract.subscription_name,
                contract_end_date=contract.contract_end_date,
                days_left=contract.days_left or 0,
            )
            await tell(conn, one.user_id, expiring)
        elif what == "ended":
            ended = SubscriptionEnded(
                subscription_id=contract.subscription_id,
                subscription_name=contract.subscription_name,
                contract_end_date=contract.contract_end_date,
            )
            await tell(conn, one.user_id, ended)
    log.info("contract.advanced", what=what, user_id=one.user_id, subscription_id=one.id)
