"""Which store a process reaches, proven for `doctor`: they must all be the same.

Every minute a process writes a marker into its store and then names it in the database; and it
looks in its store for the marker that the next process has named, in a ring. Who finds it reaches
what the other wrote to. An identity of the store alone would be the same in a copy.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from db.media_stores import (
    Sighting,
    forget_sightings,
    note_reading,
    note_sighting,
    old_sightings,
    sightings,
)
from db.pool import UNAVAILABLE, Pool
from handlers.media_store.port import Store, StoreProblem

log: structlog.stdlib.BoundLogger = structlog.get_logger()

EVERY_S = 60.0
FRESH = timedelta(minutes=3)  # older ones are of processes that have ended
FORGOTTEN = FRESH * 20
# Of a directory that another machine has: a look may be at what was there a while ago.
OLD_S = FRESH.total_seconds()
PROBLEM_CHARS = 500


@dataclass(slots=True)
class Sight:
    """Of one process, as long as it lives."""

    pool: Pool
    store: Store
    process: str
    life: str = field(default_factory=lambda: secrets.token_hex(16))

    async def look(self) -> None:
        """Raises what the database does; a store that cannot be used is told."""
        try:
            identity, marker = await self.store.identity(), f"{self.life}-{int(time.time())}"
            await self.store.write(_key(self.process), _once(marker.encode()))
        except StoreProblem as problem:
            said = str(problem)[:PROBLEM_CHARS]
            log.warning("media_store.not_seen", problem=said)
            seen = Sighting(process=self.process, store="", marker=None, problem=said)
            async with self.pool.acquire() as conn:
                await note_sighting(conn, seen)
            return
        async with self.pool.acquire() as conn:
            seen = Sighting(process=self.process, store=identity, marker=marker)
            await note_sighting(conn, seen)
            fresh = await sightings(conn, FRESH)
        if (other := next_of(self.process, fresh)) is not None:
            found = await self._finds(other)
            async with self.pool.acquire() as conn:
                await note_reading(conn, self.process, other.process, found=found)
        await self._forget()

    async def keep_looking(self) -> None:
        """A process whose database or store is away has other work."""
        while True:
            try:
                await self.look()
            except (StoreProblem, *UNAVAILABLE) as error:
                log.warning("media_store.not_noted", exc_info=error)
            await asyncio.sleep(EVERY_S)

    async def _finds(self, other: Sighting) -> bool:
        try:
            there = b"".join([piece async for piece in self.store.read(_key(other.process))])
        except (FileNotFoundError, StoreProblem):
            return False
        return is_of(there.decode(errors="replace"), other.marker or "")

    async def _forget(self) -> None:
        """First what they left: a row is what knows of it."""
        async with self.pool.acquire() as conn:
            old = await old_sightings(conn, FORGOTTEN)
        for process in old:
            await self.store.remove(_key(process))
        if old:
            async with self.pool.acquire() as conn:
                await forget_sightings(conn, old, FORGOTTEN)


def next_of(process: str, seen: Sequence[Sighting]) -> Sighting | None:
    """In the ring of those that have a marker; None: there is no other."""
    others = [one for one in seen if one.process != process and one.marker is not None]
    later = [one for one in others if one.process > process]
    return min(later or others, key=lambda one: one.process, default=None)


def is_of(there: str, named: str) -> bool:
    """Whether this marker is the one that was named, or a later or slightly older one of the same
    life."""
    (life, _, at), (named_life, _, named_at) = there.partition("-"), named.partition("-")
    if life != named_life or not (at.isdecimal() and named_at.isdecimal()):
        return False
    return int(at) >= int(named_at) - OLD_S


def apart(seen: Sequence[Sighting]) -> list[tuple[str, str]]:
    """Who has not found what whom has written."""
    there = {one.process for one in seen}
    return [
        (one.process, one.read_of)
        for one in seen
        if one.found is False and one.read_of is not None and one.read_of in there
    ]


def proven(seen: Sequence[Sighting]) -> list[list[str]]:
    """Groups of processes that were found to reach one store. One group: all of them do."""
    group = {one.process: {one.process} for one in seen}
    for one in seen:
        if one.found and one.read_of in group and group[one.process] is not group[one.read_of]:
            merged = group[one.process] | group[one.read_of]
            group.update(dict.fromkeys(merged, merged))
    return sorted({id(names): sorted(names) for names in group.values()}.values())


def _key(process: str) -> str:
    return f"seen/{hashlib.sha256(process.encode()).hexdigest()[:32]}"


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
