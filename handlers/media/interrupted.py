"""A medium with which something went wrong that is not its fault, or ours."""

from datetime import timedelta

import structlog

from db.media import MediumClaim, blame_medium, give_back_medium
from db.pool import UNAVAILABLE, Pool, tenant

log: structlog.stdlib.BoundLogger = structlog.get_logger()

AGAIN_AFTER = timedelta(seconds=5)
OUR_MISTAKE_AGAIN_AFTER = timedelta(minutes=5)


async def interrupted(pool: Pool, claim: MediumClaim, wait: timedelta = AGAIN_AFTER) -> None:
    """Unfinished, for another worker. While the database is away nobody is told; then the row is
    claimed again by the worker that does not hold it any more."""
    try:
        async with tenant(pool, claim.user_id) as conn:
            await give_back_medium(conn, claim, wait)
    except UNAVAILABLE as error:
        log.warning("medium.not_given_back", medium_id=claim.id, exc_info=error)


async def blamed(pool: Pool, claim: MediumClaim) -> None:
    """A mistake of ours with it counts as a death, so that it ends."""
    try:
        async with tenant(pool, claim.user_id) as conn:
            await blame_medium(conn, claim, OUR_MISTAKE_AGAIN_AFTER)
    except UNAVAILABLE as error:
        log.warning("medium.not_put_off", medium_id=claim.id, exc_info=error)
