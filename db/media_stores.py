"""Which MEDIA_STORE each process reaches."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    process: str
    store: str
    marker: str | None  # what it has last written there
    read_of: str | None = None  # whose marker it has last looked for
    found: bool | None = None  # and whether that was there
    problem: str | None = None


async def note_sighting(conn: Conn, seen: Sighting) -> None:
    args = (seen.process, seen.store, seen.marker, seen.problem)
    await conn.execute(_SQL["note_sighting"], *args)


async def note_reading(conn: Conn, process: str, of: str, *, found: bool) -> None:
    await conn.execute(_SQL["note_reading"], process, of, found)


async def old_sightings(conn: Conn, after: timedelta) -> list[str]:
    return [row["process"] for row in await conn.fetch(_SQL["old_sightings"], after)]


async def forget_sightings(conn: Conn, processes: Sequence[str], after: timedelta) -> None:
    await conn.execute(_SQL["forget_sightings"], processes, after)


async def sightings(conn: Conn, within: timedelta) -> list[Sighting]:
    return [Sighting(**row) for row in await conn.fetch(_SQL["sightings"], within)]
