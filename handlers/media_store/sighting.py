"""Which store a process reaches, written where `doctor` can compare: they must all be the same."""

from datetime import timedelta

from db.media_stores import forget_sightings, note_sighting
from db.pool import Pool
from handlers.media_store.port import Store

EVERY_S = 60.0
FRESH = timedelta(minutes=3)  # older ones are of processes that have ended


async def note_store(pool: Pool, store: Store, process: str) -> None:
    """Raises StoreProblem."""
    identity = await store.identity()
    async with pool.acquire() as conn:
        await note_sighting(conn, process, identity)
        await forget_sightings(conn, FRESH * 20)
