"""Whose key a request has.

Anybody may send keys that there are not, as many as they like, and well formed. So nothing that is
known waits for a look-up; look-ups have a connection of their own, are one statement for all that
wait, and one in PACE_S: a flood waits that long for each of its answers, and a tenant's first
request no longer.
"""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta

import structlog

from db.api_keys import KeyOwner, find_usable_keys, recent_api_keys
from db.pool import REFUSED, UNAVAILABLE, Pool
from handlers.api_keys import digest, hash_of
from ingress.api.principal import ENDED
from ingress.api.problems import Problem, not_authenticated, unavailable

LOOKUPS_WAITING = 1_000  # keys, with a request in hand each: there are 4,096 connections
PACE_S = 0.1
# Who is nobody hears of it a few at a time: 64 answers at once are 20 ms that webhooks wait.
STRANGERS_AT_ONCE, STRANGERS_EVERY_S = 4, 0.002
REMEMBERED_MAX = 10_000  # keys; then those that were not used for longest are asked for again
LATELY = timedelta(days=30)  # used within it: known before the door opens
WARM_UP_S = 2.0  # and if the database does not answer, it opens all the same
WARM_AGAIN_S = 5.0

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Found = KeyOwner | Exception | None


class Keys:
    """Which key has this hash. That never changes, so it is remembered; whether the key may still
    be used is asked in each request's transaction. One that may not is forgotten: it is looked up
    like a stranger's, and takes none of its tenant's pace and places any more."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool  # of one connection, and nobody else's
        self._known: dict[str, KeyOwner] = {}  # the last used ones last
        self._asked: dict[str, asyncio.Future[Found]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def owner(self, authorization: str) -> KeyOwner:
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer":
            raise _no_key()
        found: Found = self._known.pop(digest(key), None)
        if found is None:
            if (hashed := hash_of(key)) is None:
                raise _no_key()
            found = await self._looked_up(hashed)
        if isinstance(found, Exception):
            raise unavailable("Keys cannot be looked up now: come again.") from found
        if found is None:
            raise not_authenticated(ENDED)
        self._remember(found)
        return found

    def forget(self, owner: KeyOwner) -> None:
        """It may not be used."""
        self._known.pop(owner.key_hash, None)

    def _remember(self, owner: KeyOwner) -> None:
        self._known[owner.key_hash] = owner
        if len(self._known) > REMEMBERED_MAX:
            del self._known[next(iter(self._known))]

    async def _looked_up(self, hashed: str) -> Found:
        waiting = self._asked.get(hashed)
        if waiting is None:
            if len(self._asked) >= LOOKUPS_WAITING:
                raise unavailable("Too many keys are being looked up: come again.", 1)
            waiting = self._asked[hashed] = asyncio.get_running_loop().create_future()
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(waiting)

    async def _look(self) -> None:
        while batch := [*self._asked]:
            answer: Callable[[str], Found]
            try:
                async with self._pool.acquire() as conn:
                    owners = await find_usable_keys(conn, batch)
                answer = {owner.key_hash: owner for owner in owners}.get
            except (*UNAVAILABLE, *REFUSED) as error:
                log.warning("api_keys.unavailable", error=type(error).__name__)
                answer = dict.fromkeys(batch, error).get
            strangers = [hashed for hashed in batch if not self._is_told(hashed, answer(hashed))]
            for number, hashed in enumerate(strangers, 1):
                self._asked.pop(hashed).set_result(None)
                if number % STRANGERS_AT_ONCE == 0:
                    await asyncio.sleep(STRANGERS_EVERY_S)
            await asyncio.sleep(PACE_S)

    def _is_told(self, hashed: str, found: Found) -> bool:
        if found is not None:
            self._asked.pop(hashed).set_result(found)
        return found is not None

    # ---- before the door opens ---------------------------------------------------------------

    async def warm_up(self) -> None:
        """Comes back soon, whatever the database does; what it owes is then done beside."""
        tried = asyncio.Event()
        self._warming = asyncio.create_task(self._warm_up(tried))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(tried.wait(), WARM_UP_S)

    async def _warm_up(self, tried: asyncio.Event) -> None:
        recent: list[KeyOwner] | None = None
        while recent is None:
            try:
                async with self._pool.acquire() as conn:
                    recent = await recent_api_keys(conn, LATELY, REMEMBERED_MAX)
            except (*UNAVAILABLE, *REFUSED) as error:
                log.warning("api_keys.unavailable", error=type(error).__name__)
                tried.set()
                await asyncio.sleep(WARM_AGAIN_S)
        for owner in reversed(recent):
            self._remember(owner)
        log.info("api_keys.known", keys=len(recent))
        tried.set()

    def close(self) -> None:
        self._warming.cancel()
        if self._looking is not None:
            self._looking.cancel()


def _no_key() -> Problem:
    return not_authenticated("Send `Authorization: Bearer <API key>`.")
