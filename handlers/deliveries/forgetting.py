"""Events, deliveries and attempts of long ago go."""

from datetime import timedelta

import structlog

from db.deliveries import forget_attempts, forget_deliveries
from db.pool import Pool

log: structlog.stdlib.BoundLogger = structlog.get_logger()

KEPT = timedelta(days=30)  # events and deliveries; attempts 30 days and up to 12 more
BATCH = 1_000  # rows of each kind in one look


async def forget_old_deliveries(pool: Pool) -> None:
    """However many there are, so many a look, and no lock for long."""
    async with pool.acquire() as conn:
        gone = await forget_deliveries(conn, KEPT, BATCH)
        await forget_attempts(conn)
    if gone:
        log.info("deliveries.forgotten", rows=gone)
