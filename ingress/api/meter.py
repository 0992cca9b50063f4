"""Calls of the API, counted in memory and written a moment later; and with them charged to the
pace that processes share.

One update a call would make a tenant's counter row the thing that its calls wait for. Written once
in FLUSH_S instead: what a killed process had not written is not counted, and nothing ever twice.
"""

import asyncio
import contextlib
from collections import Counter
from datetime import UTC, date, datetime

import structlog

from db.api_keys import note_api_use
from db.ids import ApiKeyId, UserId
from db.pool import REFUSED, UNAVAILABLE, Pool, tenant
from db.usage import count_api_calls
from ingress.api.pace import CALLS_PER_MINUTE, Pace

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FLUSH_S = 1.0


class Meter:
    def __init__(self, pool: Pool, calls_per_minute: int = CALLS_PER_MINUTE) -> None:
        self._pool = pool
        self.pace = Pace(pool, calls_per_minute)
        self._calls: Counter[tuple[UserId, date]] = Counter()
        self._used: dict[UserId, dict[ApiKeyId, datetime]] = {}

    def note(self, user_id: UserId, key_id: ApiKeyId, usage_day: date) -> None:
        self._calls[user_id, usage_day] += 1
        self._used.setdefault(user_id, {})[key_id] = datetime.now(UTC)

    async def run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FLUSH_S)
            await self._flush()

    async def _flush(self) -> None:
        calls, self._calls = self._calls, Counter()
        used, self._used = self._used, {}
        for user_id in sorted(used.keys() | self.pace.owing()):
            keys = used.get(user_id, {})
            days = {day: n for (user, day), n in calls.items() if user == user_id}
            try:
                async with tenant(self._pool, user_id) as conn:
                    if keys:
                        await note_api_use(conn, user_id, list(keys), list(keys.values()))
                    await self.pace.charge_with(conn, user_id)
                    for day, count in sorted(days.items()):
                        count_api_calls(conn, user_id, day, count)
            except (*UNAVAILABLE, *REFUSED) as error:
                # Perhaps it was committed: counting less is better than counting twice.
                uncounted = sum(days.values())
                log.warning("api.uncounted", user_id=user_id, calls=uncounted, exc_info=error)
