"""How much a customer had on a day is of no use when the day is over, in whatever zone."""

from datetime import timedelta

from db.contact_days import forget_contact_days
from db.pool import Pool

KEPT = timedelta(days=3)
FORGET_BATCH = 1_000


async def forget_old_contact_days(pool: Pool) -> None:
    while True:
        async with pool.acquire() as conn:
            if await forget_contact_days(conn, KEPT, FORGET_BATCH) < FORGET_BATCH:
                return
