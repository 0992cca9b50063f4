"""Whose number a webhook speaks of, as far as the ingress needs to know.

A hit is believed for 5 s, a miss never: a chatbot that was just created is found at once. The
answer goes along with what is published and decides nothing; so a database that is slow, away or
not migrated costs LOOKUP_TIMEOUT_S once in RETRY_AFTER_S, and no webhook waits longer for it.
"""

import asyncio
import time

import structlog

from db.chatbots import note_numbers
from db.ids import UserId
from db.pool import REFUSED, UNAVAILABLE, Pool
from handlers.process import telemetry
from handlers.rules.numbers import normalised
from handlers.rules.texts import storable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BELIEVED_S = 5.0
LOOKUP_TIMEOUT_S = 0.25
RETRY_AFTER_S = 1.0
REMEMBERED_MAX = 10_000  # numbers; then all are forgotten and asked again


class Directory:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, tuple[UserId, float]] = {}
        self._away_until = 0.0
        self._looking: set[asyncio.Task[dict[str, UserId]]] = set()

    @property
    def problem(self) -> str | None:
        return "not reachable" if time.monotonic() < self._away_until else None

    async def tenants(self, numbers: dict[str, str | None]) -> dict[str, int]:
        """The tenants of those that are known; `numbers`: phone_number_id -> display number."""
        now = time.monotonic()
        believed = {p: self._known[p] for p in numbers if p in self._known}
        found = {p: user_id for p, (user_id, until) in believed.items() if until > now}
        missing = [pnid for pnid in numbers if pnid not in found]
        if missing and now >= self._away_until:
            looking = asyncio.create_task(self._look_up(missing, numbers))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
            # Not asyncio.timeout(): a database that hangs also lets the cancellation wait.
            await asyncio.wait({looking}, timeout=LOOKUP_TIMEOUT_S)
            if looking.done():
                found |= looking.result()
            else:
                self._is_away(TimeoutError())
        return {**found}

    async def _look_up(
        self, missing: list[str], numbers: dict[str, str | None]
    ) -> dict[str, UserId]:
        displayed = [normalised(numbers[p]) for p in missing]
        try:
            async with self._pool.acquire() as conn:
                rows = await note_numbers(conn, [storable(p) for p in missing], displayed)
        except (*UNAVAILABLE, *REFUSED) as error:
            self._is_away(error)
            return {}
        if len(self._known) + len(rows) > REMEMBERED_MAX:
            self._known.clear()
        found = {missing[r.place - 1]: r.user_id for r in rows if r.user_id is not None}
        until = time.monotonic() + BELIEVED_S
        self._known |= {p: (user_id, until) for p, user_id in found.items()}
        return found

    def _is_away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + RETRY_AFTER_S
        log.warning("directory.unavailable", **telemetry.named(error))
