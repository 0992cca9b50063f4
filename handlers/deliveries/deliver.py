"""Deliveries to one webhook, by the worker that holds it, until nothing is due.

Posts, a few at a time; what came of them is written while others are under way, together, and what
is due next comes along. Whatever dies in between is posted again, with the same webhook-id.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import structlog

from db.deliveries import (
    FIRST_KEY,
    ClaimedWebhook,
    Due,
    Fare,
    Settled,
    fare_webhook,
    lock_webhook_url,
    next_deliveries,
    park_deliveries,
    settle_deliveries,
)
from db.ids import WorkerId
from db.pool import Conn, Pool, place, tenant_transaction
from handlers.deliveries import rules
from handlers.deliveries.rules import Attempt, Health
from handlers.deliveries.signing import event_name, headers, key_of
from handlers.outbound.guard import Outbound, Outcome
from handlers.plans import Feature, Plan
from handlers.process import telemetry
from handlers.process.secrets import Undecryptable, Vault, webhook_secret_of

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BATCH = 128  # that are due, read at a time
LOW = 64  # in the queue; then more are read along, where there are more
GATHER_S = 0.05  # what was made waits for others, while any are under way; a write costs as much as
GATHER_MAX = 64  # a post, alone or with so many
LOOK_S = 1.0  # while posts are under way: one that hangs keeps no other waiting
FRESH_S = 2.0  # what is known of the webhook; somebody may have switched it off meanwhile
PARK_BATCH = 500
SUCCESS_EVERY_S = 60.0  # webhook_states.last_success_at is so exact
UNUSABLE_S = 60.0  # a secret that no key opens: looked at again


@dataclass(frozen=True, slots=True)
class Target:
    """The webhook as it was read last."""

    url: str
    keys: tuple[bytes, ...]
    ordered: bool
    version: int


@dataclass(frozen=True, slots=True)
class Made:
    """An attempt."""

    due: Due
    outcome: Outcome
    attempt: Attempt
    began: float  # by the monotonic clock
    target: Target  # that it was posted to


@dataclass(frozen=True, slots=True)
class Courier:
    """What all webhooks of a worker share."""

    pool: Pool
    outbound: Outbound
    vault: Vault
    stop: asyncio.Event  # then what is under way is finished, and nothing new begun

    async def serve(self, worker_id: WorkerId, claimed: ClaimedWebhook) -> None:
        """Raises one of UNAVAILABLE when the database is away: what is not written is posted
        again."""
        await _Serving(self, worker_id, claimed).run()


@dataclass(slots=True)
class _Serving:
    courier: Courier
    worker_id: WorkerId
    claimed: ClaimedWebhook
    queue: deque[Due] = field(default_factory=deque)
    posters: set[asyncio.Task[None]] = field(default_factory=set)
    under_way: dict[int, Due] = field(default_factory=dict)  # by delivery
    made: list[Made] = field(default_factory=list)  # and not written
    wake: asyncio.Event = field(default_factory=asyncio.Event)  # there is something to write
    gathering: asyncio.TimerHandle | None = None
    failed: BaseException | None = None  # a mistake of ours in a poster
    stored: tuple[str, ...] = ()  # secrets, of which `target` has the keys
    target: Target | None = None
    read_at: float = float("-inf")
    after_key: int = FIRST_KEY
    more: bool = False  # was due than was read
    health: Health = field(default_factory=Health)
    noted: bool = True  # the health is as it is written
    succeeded: bool = False  # which is to be written
    succeeded_at: float = float("-inf")
    open_s: float = 0.0  # when it is let go of
    disable: str | None = None
    disables: int | None = None  # the version of the webhook that showed it
    ends: bool = False  # nothing is begun any more
    gone: bool = False  # it is let go of, or another worker's

    async def run(self) -> None:
        try:
            while True:
                if self.courier.stop.is_set():
                    self._stop()
                await self._write()
                self._begin()
                if self.gone and not (self.under_way or self.made):
                    return
                await self._wait()
                if self.failed:
                    raise self.failed
        finally:
            if self.gathering is not None:
                self.gathering.cancel()
            for poster in self.posters:
                poster.cancel()

    async def _wait(self) -> None:
        """For something to write; or, while posts are under way, for a look what else is due."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S if self.under_way else None):
                await self.wake.wait()
        self.wake.clear()

    # ---- posts -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """As many posters as the endpoint may have and there is work for: each takes one delivery
        after the other, since a task of its own costs a delivery a tenth of its time."""
        if self._is_stale():
            return
        for _ in range(min(self.health.width - len(self.posters), len(self.queue))):
            poster = asyncio.create_task(self._deliver())
            self.posters.add(poster)
            poster.add_done_callback(self._ended)

    async def _deliver(self) -> None:
        try:
            while self.queue and self.target and self._may_begin():
                due = self.queue.popleft()
                self.under_way[due.id] = due
                made = await self._post(due, self.target)
                del self.under_way[due.id]
                self._judge(made)
                self._begin()  # it answers again, and may have more at a time
                self._gather()
        finally:
            # At once: the others count who is left.
            self.posters.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _may_begin(self) -> bool:
        return not self._is_stale() and len(self.posters) <= self.health.width

    def _ended(self, poster: asyncio.Task[None]) -> None:
        if not poster.cancelled() and (error := poster.exception()) is not None:
            self.failed = error
            self.wake.set()

    def _is_stale(self) -> bool:
        """The next post would go to what the webhook was some time ago, perhaps before it went."""
        stale = bool(self.queue) and time.monotonic() - self.read_at > FRESH_S
        if stale:
            self.wake.set()  # it is read again, and then goes on
        return stale

    async def _post(self, due: Due, target: Target) -> Made:
        body = due.body.encode()
        signed = headers(target.keys, event_name(due.event_id), int(time.time()), body)
        began = time.monotonic()
        outcome = await self.courier.outbound.post(target.url, body, signed)
        return Made(due, outcome, _attempt(outcome), began, target)

    def _judge(self, made: Made) -> None:
        if self.target is not None and made.target.url == self.target.url:
            self._fare(made)
        self.made.append(made)
        telemetry.DELIVERY_SECONDS.observe(made.outcome.milliseconds / 1000)
        if made.due.tries == 0:
            telemetry.DELIVERY_WAIT_SECONDS.observe(max(0.0, made.due.waited.total_seconds()))

    def _fare(self, made: Made) -> None:
        attempt = made.attempt
        consequence = rules.after(self.health, attempt)
        self.noted = self.noted and consequence.health == self.health
        self.health = consequence.health
        if attempt.succeeded and made.began - self.succeeded_at > SUCCESS_EVERY_S:
            self.succeeded_at = made.began
            self.succeeded, self.noted = True, False
        if consequence.open_s is not None:
            self.open_s = max(self.open_s, consequence.open_s)
            if consequence.disable and (self.disables or 0) <= made.target.version:
                self.disable, self.disables = consequence.disable, made.target.version
            self._stop()

    def _gather(self) -> None:
        """What is made is written with others, unless something waits for that: nothing else is
        under way, there is more to read, or the next of a conversation may go."""
        in_hand = self.under_way or self.queue
        ordered = self.target is not None and self.target.ordered
        low = self.more and len(self.queue) < LOW
        if not in_hand or ordered or low or len(self.made) >= GATHER_MAX:
            self.wake.set()
        elif self.gathering is None:
            loop = asyncio.get_running_loop()
            self.gathering = loop.call_later(GATHER_S, self.wake.set)

    def _stop(self) -> None:
        """What is not begun stays due."""
        self.ends = True
        self.queue.clear()

    # ---- rows ------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """What came of what was made, how the endpoint fares, and what is due next."""
        async with place(self.courier.pool, self.claimed.user_id) as conn:
            made, self.made = self.made, []  # with what came while there was no connection
            if self.gathering is not None:
                self.gathering.cancel()
                self.gathering = None
            low = self.more and len(self.queue) < LOW
            if made and low and not self.ends and self.target and not self.target.ordered:
                # Posts go on while the disk is waited for.
                made_ids = [one.due.id for one in made]
                await self._more(conn, made_ids)
                self._begin()
            if made:
                settled = [_settled(one) for one in made]
                await settle_deliveries(conn, self.claimed.user_id, settled)
                _tell(self.claimed, made, settled)
            if not self.noted and not self.ends:
                await self._note(conn, None)
            stale = time.monotonic() - self.read_at > FRESH_S
            if not self.ends and (stale or len(self.queue) < (LOW if self.more else 1)):
                await self._more(conn)
            if self.ends and not (self.gone or self.under_way or self.made):
                await self._let_go(conn)

    async def _let_go(self, conn: Conn) -> None:
        """What an address did that the webhook has no more is nothing against the one that it
        has."""
        if self.target is None or not (self.open_s or self.disable):
            await self._note(conn, self.open_s)
            return
        async with tenant_transaction(conn, self.claimed.user_id):
            url = await lock_webhook_url(conn, self.claimed)
            if url is None:
                self.disable = None  # whoever changes it is not waited for: 410 comes again
            elif url != self.target.url:
                self.health, self.open_s, self.disable = Health(), 0.0, None
            await self._note(conn, self.open_s)

    async def _note(self, conn: Conn, open_s: float | None) -> None:
        """With `open_s` it is let go of."""
        fare = Fare(
            failures=self.health.failures,
            timeouts=self.health.timeouts,
            opened=self.health.opened,
            open_s=open_s,
            succeeded=self.succeeded,
            disable=self.disable,
            version=self.disables,
        )
        self.noted, self.succeeded = True, False
        ours = await fare_webhook(conn, self.claimed, self.worker_id, fare)
        if not ours or open_s is not None:
            self.gone = True
            self._stop()
        if ours and open_s:
            _tell_pause(self.claimed, fare)

    async def _more(self, conn: Conn, unwritten: Sequence[int] = ()) -> None:
        while True:
            waiting = (*self.queue, *(one.due for one in self.made))
            in_hand = [*unwritten, *self.under_way, *(due.id for due in waiting)]
            # A slow endpoint's webhook is read again every FRESH_S: its queue must not grow by it.
            room = max(0, BATCH - len(self.queue))
            found = await next_deliveries(
                conn, self.claimed, self.worker_id, in_hand, room, self.after_key
            )
            if found is None:
                self.gone = True
                self._stop()
                return
            if not await self._may_go_on(conn, found.webhook):
                self._stop()
                return
            self.queue.extend(found.due)
            self.more = len(found.due) == room
            if found.due and self.target and self.target.ordered:
                self.after_key = found.due[-1].order_key
            if found.due or self.after_key == FIRST_KEY or not room:
                self.gone = not (found.due or in_hand)  # let go of by the same statement
                self.ends = self.ends or self.gone
                return
            self.after_key = FIRST_KEY

    async def _may_go_on(self, conn: Conn, webhook: dict[str, Any]) -> bool:
        """False: it rests, and what is due is kept; or it cannot be signed for."""
        if self.noted or (self.target is not None and self.target.url != webhook["url"]):
            self.health = Health(
                webhook["failures"], webhook["timeouts"], webhook["opened"],
                float(webhook["failing_s"] or 0),
            )  # fmt: skip
        if not _is_on(webhook):
            while await park_deliveries(conn, self.claimed, PARK_BATCH) == PARK_BATCH:
                pass
            return False
        belongs_to = webhook_secret_of(self.claimed.id)
        stored = tuple(one for one in (webhook["secret"], webhook["prev_secret"]) if one)
        try:
            if not webhook["secret"]:
                raise Undecryptable("it has no secret")
            if self.target is None or stored != self.stored:
                keys = tuple(key_of(self.courier.vault.decrypt(one, belongs_to)) for one in stored)
            else:
                keys = self.target.keys
        except (Undecryptable, ValueError) as error:
            log.error("webhook.undecryptable", webhook_id=self.claimed.id, reason=str(error))
            self.open_s = UNUSABLE_S
            return False
        self.read_at, self.stored = time.monotonic(), stored
        self.target = Target(webhook["url"], keys, webhook["ordered"], webhook["version"])
        return True


def _is_on(webhook: dict[str, Any]) -> bool:
    plan = Plan(webhook["plan"])
    return all((webhook["is_active"], webhook["tenant_active"], plan.allows(Feature.WEBHOOKS)))


def _attempt(outcome: Outcome) -> Attempt:
    if outcome.retry_after is None:
        return Attempt(outcome.status)
    return Attempt(outcome.status, rules.retry_after_s(outcome.retry_after, datetime.now(UTC)))


def _settled(made: Made) -> Settled:
    outcome = made.outcome
    fate = rules.fate(made.attempt, made.due.tries, random.random())
    return Settled(
        id=made.due.id,
        status=fate.status,
        after_s=fate.after_s,
        ago_s=time.monotonic() - made.began,
        duration_ms=outcome.milliseconds,
        status_code=outcome.status,
        error=outcome.error,
        response=outcome.text or None,
    )


def _tell(claimed: ClaimedWebhook, made: list[Made], settled: list[Settled]) -> None:
    for one, row in zip(made, settled, strict=True):
        telemetry.DELIVERIES.labels("retry" if row.status == "pending" else row.status).inc()
        if row.status != "delivered":
            log.info(
                "delivery.refused",
                user_id=claimed.user_id,
                webhook_id=claimed.id,
                delivery_id=row.id,
                outcome=row.status,
                tries=one.due.tries + 1,
                status=row.status_code,
                error=row.error,
                again_s=None if row.after_s is None else round(row.after_s),
                duration_ms=row.duration_ms,
            )


def _tell_pause(claimed: ClaimedWebhook, fare: Fare) -> None:
    telemetry.WEBHOOK_PAUSES.inc()
    log.warning(
        "webhook.disabled" if fare.disable else "webhook.paused",
        user_id=claimed.user_id,
        webhook_id=claimed.id,
        reason=fare.disable,
        failures=fare.failures,
        for_s=fare.open_s,
    )
