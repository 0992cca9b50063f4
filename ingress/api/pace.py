"""How many calls a key, and all keys of a tenant together, may make in a minute.

Over all processes: what they let through is charged to a row that they share, with the writing of
the meter once a second, so that a call by itself costs no statement. In between a process goes by
what it knows, and by no more than a SLICES-th of a minute's calls: then it asks first. So N
processes let through no more than a minute's calls, those that become free meanwhile, and N slices
more; and what was too much is charged all the same, and given back by waiting. A process that dies
takes at most a slice with it that nobody charges.

Each call moves a moment ahead (GCRA): who is less than a minute ahead may call.
"""

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog

from db.api_keys import KeyOwner
from db.api_pace import ALL_KEYS, charge_calls
from db.ids import UserId
from db.pool import REFUSED, UNAVAILABLE, Conn, Pool, tenant
from ingress.api.problems import Problem

WINDOW_S: Final = 60
CALLS_PER_MINUTE: Final = 600  # of a key, unless API_CALLS_PER_MINUTE says otherwise
KEYS_AT_FULL_PACE: Final = 2  # that a tenant may have: all its keys together have twice a key's
SLICES: Final = 20
REMEMBERED_MAX: Final = 10_000  # tenants

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Quota:
    name: str
    calls: int  # in WINDOW_S

    @property
    def each_s(self) -> float:
        return WINDOW_S / self.calls

    @property
    def slice(self) -> int:
        return max(1, self.calls // SLICES)


@dataclass(slots=True)
class Ahead:
    """Of a key, or of all of a tenant's; as this process knows it."""

    quota: Quota
    until: float = 0.0  # by this process's clock
    uncharged: int = 0  # calls that the shared row does not know
    on_the_way: int = 0  # to it

    def left(self, now: float) -> int:
        # A float's last digits must not take a call away.
        return max(0, math.floor((WINDOW_S - self._by(now)) / self.quota.each_s + 1e-6))

    def again_s(self, now: float) -> float:
        """Until there is one more call."""
        return max(0.0, self._by(now) + self.quota.each_s - WINDOW_S)

    def whole_s(self, now: float) -> float:
        """Until there are all again."""
        return self._by(now)

    @property
    def must_ask(self) -> bool:
        return self.uncharged + self.on_the_way >= self.quota.slice

    def take(self, now: float) -> None:
        self.until = max(self.until, now) + self.quota.each_s
        self.uncharged += 1

    def charged(self, ahead_s: float, now: float) -> None:
        """By the shared row, which knows nothing of what was called meanwhile."""
        self.until = now + max(0.0, ahead_s) + self.uncharged * self.quota.each_s

    def _by(self, now: float) -> float:
        return max(0.0, self.until - now)


@dataclass(slots=True)
class OfTenant:
    all_keys: Ahead
    keys: dict[int, Ahead] = field(default_factory=dict)
    charging: asyncio.Future[None] | None = None

    def each(self) -> Iterator[tuple[int, Ahead]]:
        yield ALL_KEYS, self.all_keys
        yield from self.keys.items()


class Pace:
    def __init__(self, pool: Pool, calls_per_minute: int) -> None:
        self._pool = pool
        self._of_key = Quota("key", calls_per_minute)
        self._of_all = Quota("account", calls_per_minute * KEYS_AT_FULL_PACE)
        self._tenants: dict[UserId, OfTenant] = {}  # the last that called last
        self._uncharged: set[UserId] = set()
        self._charges: set[asyncio.Task[None]] = set()
        self._policy = ", ".join(
            f'"{quota.name}";q={quota.calls};w={WINDOW_S}' for quota in (self._of_key, self._of_all)
        )

    async def admit(self, owner: KeyOwner) -> None:
        """Raises too_many_requests. Waits only for its own tenant's row, and seldom."""
        while True:
            of = self._of(owner.user_id)
            both = (of.keys.setdefault(owner.id, Ahead(self._of_key)), of.all_keys)
            now = time.monotonic()
            waits_s = max(one.again_s(now) for one in both)
            if waits_s > 1e-6:
                raise _too_many(waits_s)
            if not any(one.must_ask for one in both):
                break
            await asyncio.shield(self._charge(owner.user_id))
        for one in both:
            one.take(now)
        self._uncharged.add(owner.user_id)
        if any(one.uncharged > one.quota.slice // 2 for one in both):
            self._charge(owner.user_id)  # so that the next ones need not wait for it

    def told(self, owner: KeyOwner) -> dict[str, str]:
        """draft-ietf-httpapi-ratelimit-headers: what there is, and how long it takes until it is
        whole again."""
        of, now = self._of(owner.user_id), time.monotonic()
        both = (of.keys.get(owner.id) or Ahead(self._of_key), of.all_keys)
        return {
            "RateLimit-Policy": self._policy,
            "RateLimit": ", ".join(
                f'"{one.quota.name}";r={one.left(now)};t={math.ceil(one.whole_s(now))}'
                for one in both
            ),
        }

    def _of(self, user_id: UserId) -> OfTenant:
        of = self._tenants.pop(user_id, None) or OfTenant(Ahead(self._of_all))
        self._tenants[user_id] = of
        if len(self._tenants) > REMEMBERED_MAX:
            oldest = next(iter(self._tenants))
            del self._tenants[oldest]  # what it knew, another look at the row tells again
            self._uncharged.discard(oldest)
        return of

    # ---- the row that processes share ------------------------------------------------------------

    def owing(self) -> set[UserId]:
        """Tenants of whose calls the row does not know."""
        return set(self._uncharged)

    async def charge_with(self, conn: Conn, user_id: UserId) -> None:
        """In a transaction that is written anyway."""
        of = self._tenants.get(user_id)
        if of is None or of.charging is not None:
            return
        of.charging = asyncio.get_running_loop().create_future()
        try:
            await self._charge_by(conn, user_id, of)
        finally:
            of.charging.set_result(None)
            of.charging = None

    def _charge(self, user_id: UserId) -> asyncio.Future[None]:
        """Now; one at a time of each tenant."""
        of = self._tenants[user_id]
        if of.charging is not None:
            return of.charging
        of.charging = charging = asyncio.get_running_loop().create_future()

        async def charge() -> None:
            try:
                async with tenant(self._pool, user_id) as conn:
                    await self._charge_by(conn, user_id, of)
            except (*UNAVAILABLE, *REFUSED) as error:
                # Perhaps it was charged: charging less is better than charging twice.
                log.warning("api.pace_uncharged", user_id=user_id, error=type(error).__name__)
            finally:
                of.charging = None
                charging.set_result(None)

        task = asyncio.create_task(charge())
        self._charges.add(task)
        task.add_done_callback(self._charges.discard)
        return charging

    async def _charge_by(self, conn: Conn, user_id: UserId, of: OfTenant) -> None:
        self._uncharged.discard(user_id)
        owing = {one_id: one for one_id, one in of.each() if one.uncharged}
        takes = {
            one_id: timedelta(seconds=one.uncharged * one.quota.each_s)
            for one_id, one in owing.items()
        }
        for one in owing.values():
            one.uncharged, one.on_the_way = 0, one.uncharged
        now = time.monotonic()  # of keys that are long whole again nothing has to be known
        of.keys = {i: one for i, one in of.keys.items() if i in owing or one.until > now}
        if not takes:
            return
        try:
            ahead = await charge_calls(conn, user_id, takes)
        finally:
            for one in owing.values():
                one.on_the_way = 0
        now = time.monotonic()
        for one_id, ahead_s in ahead.items():
            owing[one_id].charged(ahead_s, now)


def _too_many(waits_s: float) -> Problem:
    return Problem(
        "too_many_requests",
        "There are more requests than the account, or this key, may make: `RateLimit` of each"
        " answer tells how many are left, `Retry-After` when there is one again.",
        headers={"Retry-After": str(max(1, math.ceil(waits_s)))},
    )
