"""Whose webhooks a path is for: the environment's app, or one of the table `apps` by its name.

The table is small and read whole. What it says is believed for 5 s; while the database is slow or
away, the last that it said. A name that is not in it is asked for again, so that an app that was
just created is found at once; however many ask, one look-up is under way, and those who wait for it
hear together.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from db.apps import StoredApp, read_apps
from db.ids import AppId
from db.pool import REFUSED, UNAVAILABLE, Pool
from handlers.process import telemetry
from handlers.process.secrets import Undecryptable, Vault, app_secret_of, verify_token_of

BELIEVED_S = 5.0
LOOKUP_TIMEOUT_S = 0.25
RETRY_AFTER_S = 1.0  # to a database that did not answer
PACE_S = 0.05  # between look-ups, so that names that there are not cost the database little

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class App:
    """The first of each is in force; the others are taken as well, during a rotation."""

    id: AppId | None  # None: the environment's
    name: str | None
    secrets: tuple[str, ...]
    verify_tokens: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoApp:
    """What the sender hears: 404, there is none; 503, that cannot be told now."""

    status: int
    reason: str
    text: str


UNKNOWN = NoApp(404, "unknown_app", "there is no app of this name")
UNREADABLE = NoApp(503, "app_undecryptable", "no key of SECRETS_KEY opens this app's secrets")
AWAY = NoApp(503, "apps_unavailable", "apps cannot be looked up now: come again")


@dataclass(frozen=True, slots=True)
class _Table:
    apps: Mapping[str, App | None]  # None: no key of SECRETS_KEY opens its secrets
    read_at: float  # when the look at it began


class Apps:
    def __init__(self, pool: Pool, secrets_keys: tuple[str, ...]) -> None:
        self._pool = pool
        self._vault = Vault(secrets_keys)
        self._table = _Table({}, float("-inf"))
        self._away_until = 0.0
        self._looking: asyncio.Task[None] | None = None

    async def named(self, name: str) -> App | NoApp:
        came = time.monotonic()
        if name not in self._table.apps or self._table.read_at + BELIEVED_S < came:
            await self._look_again(came)
        if name in self._table.apps:
            return self._table.apps[name] or UNREADABLE
        return AWAY if self._table.read_at < came else UNKNOWN

    def warm_up(self) -> None:
        """Nothing waits for it: so that a database that goes away takes no known app along."""
        self._begin()

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def _look_again(self, came: float) -> None:
        """At the table as it is after `came`, or as soon as can be had."""
        deadline = came + LOOKUP_TIMEOUT_S
        while self._table.read_at < came and time.monotonic() >= self._away_until:
            looking = self._begin()
            # Not asyncio.timeout(): a database that hangs also lets the cancellation wait.
            await asyncio.wait({looking}, timeout=max(0.0, deadline - time.monotonic()))
            if not looking.done():
                self._is_away(TimeoutError())

    def _begin(self) -> asyncio.Task[None]:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return self._looking

    async def _look(self) -> None:
        if (early := self._table.read_at + PACE_S - time.monotonic()) > 0:
            await asyncio.sleep(early)
        began = time.monotonic()
        try:
            async with self._pool.acquire() as conn:
                stored = await read_apps(conn)
        except (*UNAVAILABLE, *REFUSED) as error:
            self._is_away(error)
            return
        self._table = _Table({one.name: self._opened(one) for one in stored}, began)

    def _is_away(self, error: Exception) -> None:
        self._away_until = time.monotonic() + RETRY_AFTER_S
        log.warning("apps.unavailable", **telemetry.named(error))

    def _opened(self, stored: StoredApp) -> App | None:
        def clear(belongs_to: str, *sealed: str | None) -> tuple[str, ...]:
            return tuple(self._vault.decrypt(one, belongs_to) for one in sealed if one is not None)

        try:
            return App(
                stored.id,
                stored.name,
                clear(app_secret_of(stored.id), stored.app_secret, stored.old_app_secret),
                clear(verify_token_of(stored.id), stored.verify_token, stored.old_verify_token),
            )
        except Undecryptable as error:
            log.error("app.undecryptable", app=stored.name, reason=str(error))
            return None
