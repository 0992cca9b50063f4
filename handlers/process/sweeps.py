"""Work over rows of many tenants, one by one: a row that fails holds up nobody else's."""

import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

import structlog

from db.errors import is_overtime
from db.pool import UNAVAILABLE

log: structlog.stdlib.BoundLogger = structlog.get_logger()

K = TypeVar("K", bound=Hashable)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 600.0  # of a row that fails, doubled each time
OVERTIME_MAX = 3  # rows of a look whose statements took too long; then it is the database
REMEMBERED_MAX = 1_000  # failing rows; more are tried in each look


class Sweep(Generic[K]):
    """Remembers which rows failed, and leaves them alone for a while: in a look that takes the
    first hundred that are due they would be the same hundred for ever."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._failed: dict[K, tuple[int, float]] = {}  # how often, and until when it rests

    def limit(self, batch: int) -> int:
        """How many to ask for, so that a batch is left without those that rest."""
        return batch + len(self._failed)

    async def each(self, rows: Sequence[K], work: Callable[[K], Awaitable[None]]) -> None:
        """Raises only when the database is away, or slow, for all of them. A row that somebody has
        locked is one that fails: taken for an outage it kept all others from being looked at."""
        now, overtime = time.monotonic(), 0
        for row in rows:
            times, rests_until = self._failed.get(row, (0, 0.0))
            if rests_until > now:
                continue
            try:
                await work(row)
            except Exception as error:
                if isinstance(error, UNAVAILABLE) and not is_overtime(error):
                    raise
                self._rest(row, times)
                log.error("house.row_failed", what=self._what, row=repr(row), exc_info=error)
                overtime += is_overtime(error)
                if overtime >= OVERTIME_MAX:
                    raise
            else:
                self._failed.pop(row, None)

    def _rest(self, row: K, times: int) -> None:
        if len(self._failed) >= REMEMBERED_MAX:
            self._failed.clear()
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**times)
        self._failed[row] = (min(times + 1, 20), time.monotonic() + pause)
