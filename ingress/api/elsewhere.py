"""Calls that ask somebody else, as Meta: after their transaction, with nothing held; in another one
they write what came of it. How many of them are in hand is bounded by itself: whoever is asked may
be slow, and takes no place of what answers at once."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db.ids import UserId
from ingress.api.problems import Problem, unavailable

TENANT_MAX = 4  # of one tenant at once; then 429
ALL_MAX = 64  # of all tenants; then 503


class Abroad:
    def __init__(self) -> None:
        self._of: Counter[UserId] = Counter()

    @asynccontextmanager
    async def of(self, user_id: UserId) -> AsyncIterator[None]:
        if self._of[user_id] >= TENANT_MAX:
            raise Problem(
                "too_many_requests",
                f"{TENANT_MAX} requests of this account wait for Meta's answer. Wait for theirs.",
                headers={"Retry-After": "1"},
            )
        if self._of.total() >= ALL_MAX:
            raise unavailable("Too many requests wait for Meta's answer: come again.", 1)
        self._of[user_id] += 1
        try:
            yield
        finally:
            self._of[user_id] -= 1
            if not self._of[user_id]:
                del self._of[user_id]
