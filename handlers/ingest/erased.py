"""What comes again of erased people, and for numbers of erased tenants: dropped and counted.

Older than the erasure is what WhatsApp's own time says is older. What a person writes later is a
new contact's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from db.changes import known_messages
from db.chatbots import note_numbers
from db.erasures import ErasedOne, erased_among, find_erased_numbers
from db.ids import UserId
from db.parked import ParkedItem
from db.pool import Conn, Pool, tenant_transaction
from handlers.erasure.marks import Marker, number_marks
from handlers.erasure.traces import moment_of, people_in
from handlers.ingest import batch
from handlers.ingest.batch import Item
from handlers.ingest.envelope import Malformed, decode, encode
from handlers.ingest.parking import parked_update
from handlers.process import telemetry
from handlers.rules.numbers import normalised, variants
from handlers.whatsapp.cloud_api.wire import Update
from handlers.whatsapp.values import Change, Customer, Happening, Moved, Parsed

# An edit, or a revocation, of a message that is gone with its writer would bring it back. WhatsApp
# takes them for about two and a half days.
CHANGED_WITHIN = timedelta(days=3)


@dataclass(frozen=True, slots=True)
class Erased:
    """Who of some people was erased."""

    user_id: UserId
    marker: Marker
    found: Sequence[ErasedOne]

    def of(self, who: Customer) -> ErasedOne | None:
        if not self.found:
            return None
        numbers, bsuids = _names([who])
        names = {*numbers, *bsuids}
        marks = set(_marks(self.user_id, self.marker, numbers, bsuids))
        mine = [one for one in self.found if one.named in names or one.mark in marks]
        return max(mine, key=lambda one: one.erased_at, default=None)

    def has(self, who: Customer, at: datetime | None) -> bool:
        """They were erased, and this is of before, or says not when it is of."""
        one = self.of(who)
        return one is not None and (at is None or at <= one.erased_at)


def keys_of(
    user_id: UserId, marker: Marker, people: Iterable[Customer]
) -> tuple[list[str], list[str], list[bytes]]:
    """What erased people among them are looked for by: numbers, BSUIDs, marks."""
    numbers, bsuids = _names(people)
    return numbers, bsuids, _marks(user_id, marker, numbers, bsuids)


async def erased_of(
    conn: Conn, user_id: UserId, marker: Marker, people: Sequence[Customer]
) -> Erased:
    keys = keys_of(user_id, marker, people)
    return Erased(user_id, marker, await erased_among(conn, user_id, *keys) if people else [])


def _names(people: Iterable[Customer]) -> tuple[list[str], list[str]]:
    numbers: set[str] = set()
    bsuids: set[str] = set()
    for who in people:
        for number in (who.phone_number, normalised(who.wa_id)):
            if number is not None:
                numbers |= {number, *variants(number)}
        if who.bsuid is not None:
            bsuids.add(who.bsuid)
    return sorted(numbers), sorted(bsuids)


def _marks(
    user_id: UserId, marker: Marker, numbers: Sequence[str], bsuids: Sequence[str]
) -> list[bytes]:
    marks = [m for n in numbers for m in marker.marks(user_id, "number", n)]
    return [*marks, *(m for b in bsuids for m in marker.marks(user_id, "bsuid", b))]


# ---- what is no message of somebody's, but speaks of one ----------------------------------------


async def without_erased(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]], marker: Marker
) -> list[Item[Parsed]]:
    """Messages have been looked at with their contacts; here is the rest."""
    spoken = [(item, people) for item in items if (people := _spoken_of(item))]
    if not spoken:
        return [*items]
    erased = await erased_of(conn, user_id, marker, [who for _, people in spoken for who in people])
    if not erased.found:
        return [*items]
    changes = [i for i, _ in spoken if isinstance(i.value, Change)]
    targets = [i.value.target for i in changes if isinstance(i.value, Change)]
    places = await known_messages(conn, user_id, [i.chatbot_id for i in changes], targets)
    known = {id(changes[place - 1]) for place in places}
    gone = {
        id(item)
        for item, people in spoken
        if id(item) not in known and any(_is_gone(item, erased.of(who)) for who in people)
    }
    if gone:
        telemetry.ERASED.labels("other").inc(len(gone))
    return [item for item in items if id(item) not in gone]


def _spoken_of(item: Item[Parsed]) -> list[Customer]:
    match item.value:
        case Change(who=who):
            return [who]
        case Moved(before=before, after=after):
            return [before, after]
        case Happening():
            return people_in(item.arrived.update)
        case _:
            return []


def _is_gone(item: Item[Parsed], one: ErasedOne | None) -> bool:
    if one is None:
        return False
    match item.value:
        case Change(what="reaction"):
            return True  # to a message that nobody knows
        case Change(at=at):
            return at <= one.erased_at + CHANGED_WITHIN
        case Moved(at=at):
            return at <= one.erased_at
        case _:
            at_ = moment_of(item.arrived.update)
            return at_ is None or at_ <= one.erased_at


# ---- what is to be kept whole -------------------------------------------------------------------


async def park(pool: Pool, parked: Sequence[ParkedItem], marker: Marker) -> None:
    """As batch.park(), without what an erased person or tenant would come back by."""
    if not parked:
        return
    async with pool.acquire() as conn:
        kept = await _kept(conn, parked, marker)
    await batch.park(pool, kept)


async def _kept(conn: Conn, parked: Sequence[ParkedItem], marker: Marker) -> list[ParkedItem]:
    opened = [(item, _updates(item)) for item in parked]
    spoken = [update for _, updates in opened for update in updates]
    gone = await _gone(conn, spoken, marker) if spoken else set()
    kept = []
    for item, updates in opened:
        left = [update for update in updates if id(update) not in gone]
        if len(left) == len(updates):
            kept.append(item)
        elif left:  # only an envelope has several
            envelope = replace(decode(item.raw), updates=tuple(left))
            kept.append(replace(item, raw=encode(envelope)))
    if gone:
        telemetry.ERASED.labels("parked").inc(len(gone))
    return kept


def _updates(item: ParkedItem) -> list[Update]:
    """None of what cannot be read."""
    match item.kind:
        case "message" | "status" | "other" as kind:
            return [parked_update(kind, item.phone_number_id, item.display_number, item.raw)]
        case _:
            try:
                return list(decode(item.raw).updates)
            except Malformed:
                return []


async def _gone(conn: Conn, updates: Sequence[Update], marker: Marker) -> set[int]:
    """Which of them (by id()) are of erased people or tenants: a transaction a tenant, since only
    its own sees its marks."""
    ids = [batch.column_text(u.phone_number_id) for u in updates]
    numbers = [normalised(u.display_number) for u in updates]
    marks = [
        mark for pair in zip(number_marks(ids), number_marks(numbers), strict=True) for mark in pair
    ]
    tenants = {(p - 1) // 2 for p in await find_erased_numbers(conn, marks)}
    owners: dict[UserId, list[Update]] = {}
    gone: set[int] = set()
    for row in await note_numbers(conn, ids, numbers):  # whatever app said it
        update = updates[row.place - 1]
        if row.user_id is not None:
            owners.setdefault(row.user_id, []).append(update)
        elif row.place - 1 in tenants:
            gone.add(id(update))
    for user_id, theirs in owners.items():
        gone |= await _gone_of_tenant(conn, user_id, theirs, marker)
    return gone


async def _gone_of_tenant(
    conn: Conn, user_id: UserId, updates: Sequence[Update], marker: Marker
) -> set[int]:
    people: Mapping[int, list[Customer]] = {id(u): people_in(u) for u in updates}
    everybody = [who for some in people.values() for who in some]
    async with tenant_transaction(conn, user_id):
        erased = await erased_of(conn, user_id, marker, everybody)
    return {id(u) for u in updates if any(erased.has(who, moment_of(u)) for who in people[id(u)])}


def status_is_gone(erased: Erased, update: Update, at: datetime, our_id: Any) -> bool:
    """Of a status that no message was found for: a message of ours that an erased person got, or
    one from before."""
    for who in people_in(update):
        one = erased.of(who)
        if one is not None and (our_id is not None or at <= one.erased_at):
            return True
    return False
