"""Which MEDIA_STORE each process reaches."""

from dataclasses import dataclass
from datetime import timedelta

from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    process: str
    store: str


async def note_sighting(conn: Conn, process: str, store: str) -> None:
    await conn.execute(_SQL["note_sighting"], process, store)


async def forget_sightings(conn: Conn, after: timedelta) -> None:
    await conn.execute(_SQL["forget_sightings"], after)


async def sightings(conn: Conn, within: timedelta) -> list[Sighting]:
    return [Sighting(**row) for row in await conn.fetch(_SQL["sightings"], within)]
