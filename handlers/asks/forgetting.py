"""Asks are forgotten soon: they have what a tenant typed."""

from datetime import timedelta

from db.asks import forget_asks
from db.pool import Pool

KEPT = timedelta(minutes=5)  # nobody waits for one any more by then
FORGET_BATCH = 1_000


async def forget_old_asks(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_asks(conn, KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
