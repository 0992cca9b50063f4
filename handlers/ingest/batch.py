"""A batch of the log: opened, given to its tenants, written once, and only the poison parked."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeAlias, TypeVar

import structlog

from db.chatbots import resolve_numbers
from db.errors import is_data, is_hidden, is_integrity
from db.ids import AppId, ChatbotId, UserId
from db.parked import ParkedItem, park_items
from db.pool import CONFLICT, UNAVAILABLE, Conn, Pool, tenant
from handlers.ingest.envelope import Envelope, Malformed, decode
from handlers.ingest.parking import parked_raw
from handlers.ingest.unparking import look_again
from handlers.process import telemetry
from handlers.rules.numbers import normalised
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.wire import Update

T = TypeVar("T")
log: structlog.stdlib.BoundLogger = structlog.get_logger()

MAX_NUMBER_CHARS = 255  # an id that no index takes would stop the batch it is in
# Tenants share no row, so their transactions run side by side: commits that wait for the disk
# together wait once. Of messages and statuses each: half of the connections of intake.
TENANTS_AT_ONCE = 4
SAMPLE = 3  # items of a refused batch that are tried alone before it is taken apart
# For a row that somebody has locked: a process that fell silent in mid-transaction keeps its locks
# for 30 s, an operator's forgotten one for ever. What waits is then set aside like anything that
# cannot be written, and all the others' messages do not wait with it.
LOCK_WAIT_S = 3
TRIES_ON_CONFLICT = 5  # deadlock, or a row that another worker made between our look and our write


@dataclass(frozen=True, slots=True)
class Arrived:
    """One update, and where it came from."""

    update: Update
    trace_id: str
    received_at: str | None = None  # by the ingress's clock
    app_id: AppId | None = None  # of the webhook; None: the environment's

    def parked(self, reason: str, detail: str | None = None) -> ParkedItem:
        return ParkedItem(
            reason=reason,
            detail=column_text(detail, None),
            kind=self.update.kind,
            phone_number_id=column_text(self.update.phone_number_id),
            display_number=column_text(self.update.display_number),
            trace_id=column_text(self.trace_id),
            raw=parked_raw(self.update, self.app_id),
        )


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """What was understood of it (a message, a status, ...), and whose it is."""

    arrived: Arrived
    value: T
    chatbot_id: ChatbotId


def opened(bodies: Sequence[bytes]) -> tuple[list[Arrived], list[ParkedItem]]:
    """The updates of a batch in order, and what is no envelope."""
    arrived: list[Arrived] = []
    parked: list[ParkedItem] = []
    for body in bodies:
        try:
            envelope: Envelope = decode(body)
        except Malformed as error:
            parked.append(_undecodable(body, str(error)))
            continue
        parked += [_undecodable(alone, why) for alone, why in envelope.spoilt]
        arrived += [
            Arrived(update, envelope.trace_id, envelope.received_at, envelope.app_id)
            for update in envelope.updates
        ]
    return arrived, parked


def _undecodable(body: bytes, why: str) -> ParkedItem:
    return ParkedItem(
        reason="undecodable",
        detail=column_text(why),
        kind="envelope",
        phone_number_id=None,
        display_number=None,
        trace_id=None,
        raw=body,
    )


async def by_tenant(
    conn: Conn, arrived: Sequence[tuple[Arrived, T]], *, bind: bool
) -> tuple[dict[UserId, list[Item[T]]], list[ParkedItem]]:
    """Asks the database whose each item is; what is nobody's, or its app's webhooks may not speak
    of, is parked."""
    named = [_number(one) for one, _ in arrived]
    numbers = sorted(set(named), key=lambda n: (n[0] or "", n[1] or "", n[2] or 0))
    asked = [n[0] for n in numbers], [n[1] for n in numbers], [n[2] for n in numbers]
    found = await resolve_numbers(conn, *asked, bind)
    for row in found:
        if row.outcome == "bound":
            log.info("chatbot.number_bound", chatbot_id=row.chatbot_id, user_id=row.user_id)
    if any(row.outcome == "phone_number_id_of_another" for row in found):
        # So it looks, too, when another worker binds it to the very same id at this moment; a
        # second look tells.
        found = await resolve_numbers(conn, *asked, bind)
    owners = {numbers[row.place - 1]: row for row in found}
    tenants: dict[UserId, list[Item[T]]] = defaultdict(list)
    parked: list[ParkedItem] = []
    for number, (one, value) in zip(named, arrived, strict=True):
        owner = owners[number]
        if owner.user_id is None or owner.chatbot_id is None:
            parked.append(one.parked(owner.outcome))
        else:
            tenants[owner.user_id].append(Item(one, value, owner.chatbot_id))
    # Who brings little is not to wait for who brings much.
    return dict(sorted(tenants.items(), key=lambda of: len(of[1]))), parked


def delay_s(received_at: str | None, now: datetime) -> float | None:
    """Since the ingress had it; None: the entry does not say. Two machines' clocks may differ, and
    nothing takes less than no time."""
    try:
        received = datetime.fromisoformat(received_at or "")
        return max(0.0, (now - received).total_seconds())
    except (ValueError, TypeError):  # no time at all, or one without a zone
        return None


Write: TypeAlias = Callable[[UserId, Sequence[Item[T]]], Awaitable[int]]
Resolve: TypeAlias = Callable[
    [Sequence[tuple[Arrived, T]]],
    Awaitable[tuple[dict[UserId, list[Item[T]]], list[ParkedItem]]],
]


class Kept(Exception):
    """Nothing of the batch could be written, and no item is known to be to blame: it is kept."""


@dataclass(frozen=True, slots=True)
class Failing(Generic[T]):
    """An item that alone could not be written, and why."""

    user_id: UserId
    item: Item[T]
    error: Exception


@dataclass(slots=True)
class Done(Generic[T]):
    """What became of some items."""

    written: int = 0  # as `write` counts
    items: int = 0  # that were written, new or not
    erased: int = 0  # messages that were dropped, since their people are erased
    parked: list[ParkedItem] = field(default_factory=list)
    failing: list[Failing[T]] = field(default_factory=list)

    def __iadd__(self, more: "Done[T]") -> "Done[T]":
        self.written += more.written
        self.items += more.items
        self.erased += more.erased
        self.parked += more.parked
        self.failing += more.failing
        return self


async def write_all(
    found: Sequence[tuple[Arrived, T]], resolve: Resolve[T], write: Write[T]
) -> Done[T]:
    """Each ends written or parked. Raises one of UNAVAILABLE, and Kept.

    Poison is only what data can do; and what does not fit what is there, when it is refused again,
    alone and resolved anew. What else an item fails with, while others are written, is left to be
    set aside; when nothing is written, it is not the items' fault.
    """
    tenants, nobodys = await resolve(found)
    done = await _side_by_side(tenants, write)
    done.parked += nobodys
    again = [f for f in done.failing if _is_old(f.error)]
    done.failing = [f for f in done.failing if not _is_old(f.error)]
    for one in again:
        done += await _resolved_anew(one.item, resolve, write)
    if done.failing and not done.items:
        raise Kept from done.failing[0].error
    return done


def _is_old(error: Exception) -> bool:
    """What we knew when it was resolved: a chatbot may be gone."""
    return is_integrity(error) or is_hidden(error)


async def _resolved_anew(item: Item[T], resolve: Resolve[T], write: Write[T]) -> Done[T]:
    tenants, nobodys = await resolve([(item.arrived, item.value)])
    done = await _side_by_side(tenants, write)
    done.parked += nobodys
    refused = [f for f in done.failing if is_integrity(f.error)]
    done.failing = [f for f in done.failing if not is_integrity(f.error)]
    done.parked += [_poison(f.item, f.error) for f in refused]
    return done


async def _side_by_side(tenants: Mapping[UserId, Sequence[Item[T]]], write: Write[T]) -> Done[T]:
    """Raises when all have ended: what still ran of a batch that comes again would meet it."""
    places = asyncio.Semaphore(TENANTS_AT_ONCE)

    async def placed(user_id: UserId, items: Sequence[Item[T]]) -> Done[T]:
        async with places:
            return await _divided(user_id, items, write)

    ended = await asyncio.gather(
        *(placed(user_id, items) for user_id, items in tenants.items()), return_exceptions=True
    )
    done: Done[T] = Done()
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome
        done += outcome
    return done


async def _divided(user_id: UserId, items: Sequence[Item[T]], write: Write[T]) -> Done[T]:
    """All of a tenant's items at once; if that fails, in parts, so that only what fails alone is
    left out, and few of them among many cost few transactions more."""
    try:
        return Done(await _patiently(write, user_id, items), len(items))
    except UNAVAILABLE:
        raise
    except Exception as error:  # whatever one item does to the transaction that it is in
        if len(items) == 1:
            return _alone(user_id, items[0], error)
        log.warning("batch.split", user_id=user_id, items=len(items), exc_info=error)
        if len(items) > SAMPLE * 2 and not is_data(error):
            # When all is refused, hundreds of transactions more would only say so again.
            sample = [await _divided(user_id, [one], write) for one in random.sample(items, SAMPLE)]
            if not any(one.items or one.parked for one in sample):
                return Done(failing=[Failing(user_id, item, error) for item in items])
    half = len(items) // 2
    done = await _divided(user_id, items[:half], write)
    done += await _divided(user_id, items[half:], write)
    return done


def _alone(user_id: UserId, item: Item[T], error: Exception) -> Done[T]:
    if is_data(error):
        return Done(parked=[_poison(item, error)])
    return Done(failing=[Failing(user_id, item, error)])


def _poison(item: Item[T], error: Exception) -> ParkedItem:
    log.error("item.poisonous", exc_info=error)
    return item.arrived.parked("poison", type(error).__name__)


def writing(pool: Pool, user_id: UserId) -> AbstractAsyncContextManager[Conn]:
    """The transaction for what came for this tenant."""
    return tenant(pool, user_id, lock_wait_s=LOCK_WAIT_S)


async def park(pool: Pool, parked: Sequence[ParkedItem]) -> None:
    if not parked:
        return
    async with pool.acquire() as conn:
        await park_items(conn, parked)
    for item in parked:
        telemetry.PARKED.labels(item.reason).inc()
    await look_again(pool, parked)


async def _patiently(write: Write[T], user_id: UserId, items: Sequence[Item[T]]) -> int:
    for tries_left in reversed(range(TRIES_ON_CONFLICT)):
        try:
            return await write(user_id, items)
        except CONFLICT:
            if not tries_left:
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("unreachable: the last try returns or raises")


def _number(arrived: Arrived) -> tuple[str | None, str | None, AppId | None]:
    """phone_number_id, the business's number in the form it is stored in, and who speaks of it."""
    update = arrived.update
    named = column_text(update.phone_number_id), normalised(update.display_number)
    return *named, arrived.app_id


def column_text(value: str | None, longest: int | None = MAX_NUMBER_CHARS) -> str | None:
    """As a text column, and an index on it, takes it."""
    return storable(value)[:longest] if value else None
