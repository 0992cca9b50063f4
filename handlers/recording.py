"""Ingest: a batch of the log into the record. Once, in order, one transaction a tenant.

Whatever the batch holds, each item ends recorded, known as a duplicate, or parked with a reason;
one bad item never takes its neighbours along. When the database is away the caller hears
Unavailable and keeps the batch.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Generic, TypeGuard, TypeVar

import structlog

from db.accounts import keep_event, learn_accounts, raise_rate
from db.changes import (
    edit_message,
    hand_to_human,
    known_messages,
    quoted_texts,
    react,
    record_past,
    revoke_message,
)
from db.chatbots import resolve_numbers
from db.contacts import choose_marketing
from db.conversations import forget_thread, lock_conversations, mark_ready, open_conversations
from db.events import tell_tenant
from db.ids import ChatbotId, ContactId, ConversationId, UserId
from db.messages import record_inbound
from db.parked import ParkedItem, park_items
from db.pool import CONFLICT, REFUSED, UNAVAILABLE, Conn, Pool, tenant
from db.usage import count_received
from handlers import telemetry
from handlers.envelope import Envelope, Malformed, decode
from handlers.parking import parked_raw
from handlers.people import contacts_of, learn, move
from handlers.whatsapp.inbound import (
    Change,
    Happening,
    Inbound,
    Moved,
    Parsed,
    Past,
    Preference,
    parse_message,
    stand_in,
)
from handlers.whatsapp.notes import note, part
from handlers.whatsapp.wire import Unknown, Update, normalised, storable

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# What one item can do to its batch: data that the database refuses, or that cannot be encoded.
_POISON = (*REFUSED, ValueError, LookupError, TypeError)

MAX_NUMBER_CHARS = 255  # an id that no index takes would stop the batch it is in
# How long the bot is silent after a person wrote to the customer on the phone: as long as people
# leave a chat and come back to it. It ends by itself, because the phone has no button for it.
ECHO_SILENCE = timedelta(minutes=60)
# Meta's limits of messages in and out together are 80 a second, and 1,000 after an upgrade; of both
# we take seven tenths for what goes out (the default is send_limits.max_rate's).
DEFAULT_RATE, UPGRADED_RATE = 56, 700
QUOTED_CHARS = 120
LEARNED_MAX = 10_000
# Tenants share no row, so their transactions run side by side: commits that wait for the disk
# together wait once. Of messages and statuses each: half of a worker's connections.
TENANTS_AT_ONCE = 4
TRIES_ON_CONFLICT = 5  # deadlock, or a row that another worker made between our look and our write


# Which account each number was last seen in, so that the database is told once a process.
_LEARNED: dict[ChatbotId, str] = {}


@dataclass(frozen=True, slots=True)
class Arrived:
    """One update, and where it came from."""

    update: Update
    trace_id: str
    received_at: str | None = None  # by the ingress's clock

    def parked(self, reason: str, detail: str | None = None) -> ParkedItem:
        return ParkedItem(
            reason=reason,
            detail=column(detail, None),
            kind=self.update.kind,
            phone_number_id=column(self.update.phone_number_id),
            display_number=column(self.update.display_number),
            trace_id=self.trace_id,
            raw=parked_raw(self.update),
        )


T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """What was understood of it (a message, a status, ...), and whose it is."""

    arrived: Arrived
    value: T
    chatbot_id: ChatbotId


@dataclass(frozen=True, slots=True)
class Debounce:
    quiet: timedelta
    longest: timedelta


def opened(bodies: Sequence[bytes]) -> tuple[list[Arrived], list[ParkedItem]]:
    """The updates of a batch in order, and what is no envelope."""
    arrived: list[Arrived] = []
    parked: list[ParkedItem] = []
    for body in bodies:
        try:
            envelope: Envelope = decode(body)
        except Malformed as error:
            parked.append(
                ParkedItem(
                    reason="undecodable",
                    detail=str(error),
                    kind="envelope",
                    phone_number_id=None,
                    display_number=None,
                    trace_id=None,
                    raw=body,
                )
            )
            continue
        arrived += [
            Arrived(update, envelope.trace_id, envelope.received_at) for update in envelope.updates
        ]
    return arrived, parked


async def by_tenant(
    conn: Conn, arrived: Sequence[tuple[Arrived, T]], *, bind: bool
) -> tuple[dict[UserId, list[Item[T]]], list[ParkedItem]]:
    """Asks the database whose each item is; what is nobody's is parked."""
    named = [_number(one) for one, _ in arrived]
    numbers = sorted(set(named), key=lambda n: (n[0] or "", n[1] or ""))
    ids, display = [n[0] for n in numbers], [n[1] for n in numbers]
    found = await resolve_numbers(conn, ids, display, bind)
    for row in found:
        if row.outcome == "bound":
            log.info("chatbot.number_bound", chatbot_id=row.chatbot_id, user_id=row.user_id)
    if any(row.outcome == "phone_number_id_of_another" for row in found):
        # So it looks, too, when another worker binds it to the very same id at this moment; a
        # second look tells.
        found = await resolve_numbers(conn, ids, display, bind)
    owners = {numbers[row.place - 1]: row for row in found}
    tenants: dict[UserId, list[Item[T]]] = defaultdict(list)
    parked: list[ParkedItem] = []
    for number, (one, value) in zip(named, arrived, strict=True):
        owner = owners[number]
        if owner.user_id is None or owner.chatbot_id is None or owner.outcome == "bindable":
            parked.append(one.parked(owner.outcome))
        else:
            tenants[owner.user_id].append(Item(one, value, owner.chatbot_id))
    return dict(sorted(tenants.items())), parked


async def record_batch(pool: Pool, bodies: Sequence[bytes], debounce: Debounce) -> None:
    """What came in customers' lanes. Raises one of db.pool.UNAVAILABLE when it is away."""
    arrived, parked = opened(bodies)
    understood: list[tuple[Arrived, Parsed]] = []
    for one in arrived:
        parsed = parse_message(one.update)
        if isinstance(parsed, Unknown):
            parked.append(one.parked("not_understood", parsed.reason))
        else:
            understood.append((one, parsed))
    tenants: dict[UserId, list[Item[Parsed]]] = {}
    if understood:
        async with pool.acquire() as conn:
            tenants, nobodys = await by_tenant(conn, understood, bind=True)
        parked += nobodys
    recorded, poison = await record_tenants(pool, tenants, debounce)
    parked += poison
    await park(pool, parked)
    telemetry.RECORDED.inc(recorded)
    messages = sum(isinstance(i.value, Inbound) for items in tenants.values() for i in items)
    telemetry.DUPLICATES.inc(max(0, messages - recorded))
    now = datetime.now(UTC)
    for one, _ in understood:
        if (took := delay_s(one.received_at, now)) is not None:
            telemetry.INGEST_SECONDS.observe(took)
    log.info(
        "batch.recorded",
        entries=len(bodies),
        messages=messages,
        others=len(understood) - messages,
        recorded=recorded,
        duplicates=max(0, messages - recorded),
        parked=len(parked),
        tenants=len(tenants),
        trace_ids=sorted({a.trace_id for a in arrived})[:20],
    )


def delay_s(received_at: str | None, now: datetime) -> float | None:
    """Since the ingress had it; None: the entry does not say. Two machines' clocks may differ, and
    nothing takes less than no time."""
    try:
        received = datetime.fromisoformat(received_at or "")
        return max(0.0, (now - received).total_seconds())
    except (ValueError, TypeError):  # no time at all, or one without a zone
        return None


async def record_tenants(
    pool: Pool, tenants: dict[UserId, list[Item[Parsed]]], debounce: Debounce
) -> tuple[int, list[ParkedItem]]:
    """How many inbound messages were new, and what could not be recorded."""
    lost: list[ParkedItem] = []

    async def write(user_id: UserId, items: Sequence[Item[Parsed]]) -> int:
        async with tenant(pool, user_id) as conn:
            new, without_target = await _record(conn, user_id, items, debounce)
        lost.extend(without_target)  # committed; a repeated write parks the same items again
        return new

    async def one(user_id: UserId, items: Sequence[Item[Parsed]]) -> tuple[int, list[ParkedItem]]:
        written = await each_or_park(user_id, items, write)
        await _learn_accounts(pool, user_id, items)
        return written

    recorded = 0
    parked: list[ParkedItem] = []
    for written, poison in await side_by_side(tenants, one):
        recorded += written
        parked += poison
    values = (item.value for items in tenants.values() for item in items)
    for what, count in Counter(type(value).__name__.lower() for value in values).items():
        telemetry.UNDERSTOOD.labels(what).inc(count)
    return recorded, parked + lost


async def side_by_side(
    tenants: Mapping[UserId, Sequence[Item[T]]],
    work: Callable[[UserId, Sequence[Item[T]]], Awaitable[R]],
) -> list[R]:
    """In the tenants' order. Raises when all have ended: what still ran of a batch that comes again
    would meet it."""
    places = asyncio.Semaphore(TENANTS_AT_ONCE)

    async def placed(user_id: UserId, items: Sequence[Item[T]]) -> R:
        async with places:
            return await work(user_id, items)

    ended = await asyncio.gather(
        *(placed(user_id, items) for user_id, items in tenants.items()), return_exceptions=True
    )
    done: list[R] = []
    for outcome in ended:
        if isinstance(outcome, BaseException):
            raise outcome
        done.append(outcome)
    return done


async def each_or_park(
    user_id: UserId,
    items: Sequence[Item[T]],
    write: Callable[[UserId, Sequence[Item[T]]], Awaitable[int]],
) -> tuple[int, list[ParkedItem]]:
    """All of a tenant's items at once; if that fails, each half, so that only the poison is parked,
    and few of them among many cost few transactions more."""
    try:
        return await _patiently(write, user_id, items), []
    except UNAVAILABLE:
        raise
    except _POISON as error:
        if len(items) == 1:
            log.error("item.poisonous", user_id=user_id, exc_info=error)
            return 0, [items[0].arrived.parked("poison", type(error).__name__)]
        log.warning("batch.split", user_id=user_id, items=len(items), exc_info=error)
    half = len(items) // 2
    first, parked = await each_or_park(user_id, items[:half], write)
    second, more = await each_or_park(user_id, items[half:], write)
    return first + second, parked + more


async def park(pool: Pool, parked: Sequence[ParkedItem]) -> None:
    if not parked:
        return
    async with pool.acquire() as conn:
        await park_items(conn, parked)
    for item in parked:
        telemetry.PARKED.labels(item.reason).inc()


async def _patiently(
    write: Callable[[UserId, Sequence[Item[T]]], Awaitable[int]],
    user_id: UserId,
    items: Sequence[Item[T]],
) -> int:
    for tries_left in reversed(range(TRIES_ON_CONFLICT)):
        try:
            return await write(user_id, items)
        except CONFLICT:
            if not tries_left:
                raise
            await asyncio.sleep(0.05)
    raise AssertionError("unreachable: the last try returns or raises")


async def _record(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]], debounce: Debounce
) -> tuple[int, list[ParkedItem]]:
    """One transaction of one tenant: contacts, conversations, messages, counters last. How many
    inbound messages were new, and what speaks of nothing that we know."""
    new = 0
    lost: list[ParkedItem] = []
    # Who wrote before a move was somebody else by number or BSUID than who writes after it.
    for is_move, run in groupby(items, lambda i: isinstance(i.value, Moved)):
        group = list(run)
        if is_move:
            for item in group:
                assert isinstance(item.value, Moved)
                if not await move(conn, user_id, item.value):
                    lost.append(item.arrived.parked("unknown_contact"))
            continue
        group = await _with_targets(conn, user_id, group)
        new += await _record_messages(conn, user_id, group, debounce)
        for item in group:
            if isinstance(item.value, Change):
                if not await _change(conn, user_id, item.chatbot_id, item.value):
                    lost.append(item.arrived.parked("unknown_message"))
            elif isinstance(item.value, Happening):
                await keep(conn, user_id, item.arrived, item.chatbot_id, item.value)
    if new:
        await count_received(conn, user_id, new)
    return new, lost


async def _with_targets(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]]
) -> list[Item[Parsed]]:
    """An edit of a message that never came is the message; a revocation leaves a tombstone, so that
    the message is not answered when it comes after all."""
    late = [i for i in items if isinstance(i.value, Change) and i.value.what != "reaction"]
    if not late:
        return [*items]
    targets = [i.value.target for i in late if isinstance(i.value, Change)]
    found = await known_messages(conn, user_id, [i.chatbot_id for i in late], targets)
    seen = {(late[p - 1].chatbot_id, targets[p - 1]) for p in found}
    out: list[Item[Parsed]] = []
    for item in items:
        value = item.value
        if isinstance(value, Inbound | Past):
            seen.add((item.chatbot_id, value.wamid))
        elif isinstance(value, Change) and value.what != "reaction":
            key = (item.chatbot_id, value.target)
            if key not in seen:
                seen.add(key)
                value = stand_in(value)
        out.append(Item(item.arrived, value, item.chatbot_id))
    return out


async def _record_messages(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]], debounce: Debounce
) -> int:
    """How many inbound messages were new."""
    people = [i for i in items if _has_contact(i)]
    ids = await contacts_of(conn, user_id, [(i.chatbot_id, i.value.who) for i in people])
    contact_ids = dict(zip(map(id, people), ids, strict=True))
    for item in people:
        if isinstance(item.value, Preference):
            contact_id = contact_ids[id(item)]
            await choose_marketing(conn, user_id, contact_id, item.value.choice, item.value.at)
    spoken = [i for i in people if not isinstance(i.value, Preference)]
    if not spoken:
        return 0
    written = [i for i in items if _is_inbound(i)]
    if written:
        await learn(
            conn,
            user_id,
            [contact_ids[id(i)] for i in written],
            [i.value.who for i in written],
            [i.value.sent_at for i in written],
        )
    keys = sorted({(i.chatbot_id, contact_ids[id(i)]) for i in spoken})
    bots, contacts = [k[0] for k in keys], [k[1] for k in keys]
    locked = await lock_conversations(conn, user_id, bots, contacts)
    if len(locked) < len(keys):
        await open_conversations(conn, user_id, bots, contacts)
        locked = await lock_conversations(conn, user_id, bots, contacts)
    conversations: dict[tuple[ChatbotId, ContactId], ConversationId] = {
        (row.chatbot_id, row.contact_id): row.id for row in locked
    }
    places = {
        id(i): (contact_ids[id(i)], conversations[i.chatbot_id, contact_ids[id(i)]]) for i in spoken
    }
    await _record_past(conn, user_id, [i for i in items if _is_past(i)], places)
    if not written:
        return 0
    quoted = await _quoted(conn, user_id, written)
    recorded = await record_inbound(
        conn,
        user_id,
        [i.chatbot_id for i in written],
        [places[id(i)][0] for i in written],
        [places[id(i)][1] for i in written],
        [i.value.wamid for i in written],
        [i.value.kind for i in written],
        [quoted.get(id(i), "") + i.value.text for i in written],
        [i.value.sent_at for i in written],
        [_metadata(i) for i in written],
    )
    newest: dict[ConversationId, tuple[int, datetime]] = {}
    for row in recorded:
        seq, at = newest.get(row.conversation_id, (row.input_seq, row.sent_at))
        newest[row.conversation_id] = (max(seq, row.input_seq), max(at, row.sent_at))
    ready = sorted(newest)
    if ready:
        await mark_ready(
            conn,
            user_id,
            ready,
            [newest[v][0] for v in ready],
            [newest[v][1] for v in ready],
            debounce.quiet,
            debounce.longest,
        )
    return len(recorded)


async def _quoted(conn: Conn, user_id: UserId, items: Sequence[Item[Inbound]]) -> dict[int, str]:
    """By item, the note of what the customer quotes."""
    quoting = [i for i in items if i.value.replies_to]
    if not quoting:
        return {}
    wamids = [i.value.replies_to or "" for i in quoting]
    rows = await quoted_texts(conn, user_id, [i.chatbot_id for i in quoting], wamids)
    texts = {row.place: part(row.content_text or "", QUOTED_CHARS) for row in rows}
    notes = {}
    for place, item in enumerate(quoting, start=1):
        text = texts.get(place)
        said = f'in reply to "{text}"' if text else "in reply to an earlier message"
        notes[id(item)] = note(said) + "\n"
    return notes


async def _record_past(
    conn: Conn,
    user_id: UserId,
    items: Sequence[Item[Past]],
    places: dict[int, tuple[ContactId, ConversationId]],
) -> None:
    once: dict[tuple[ChatbotId, str], Item[Past]] = {}
    for item in items:
        key = (item.chatbot_id, item.value.wamid)
        if key not in once or once[key].value.kind == "media_placeholder":
            once[key] = item
    for source, run in groupby(once.values(), lambda i: i.value.source):
        group = list(run)
        said = await record_past(
            conn,
            user_id,
            [i.chatbot_id for i in group],
            [places[id(i)][0] for i in group],
            [places[id(i)][1] for i in group],
            [i.value.wamid for i in group],
            [i.value.direction for i in group],
            [i.value.kind for i in group],
            [i.value.text for i in group],
            [i.value.status for i in group],
            [i.value.sent_at for i in group],
            [_past_metadata(i) for i in group],
        )
        if source == "echo" and said:
            now = datetime.now(UTC)
            until = [min(row.sent_at, now) + ECHO_SILENCE for row in said]
            await hand_to_human(conn, user_id, [row.conversation_id for row in said], until)


async def _learn_accounts(pool: Pool, user_id: UserId, items: Sequence[Item[Parsed]]) -> None:
    told = {
        i.chatbot_id: account
        for i in items
        if (account := column(i.arrived.update.waba_id)) is not None
    }
    news = sorted((bot, account) for bot, account in told.items() if _LEARNED.get(bot) != account)
    if news:
        async with tenant(pool, user_id) as conn:
            await learn_accounts(conn, user_id, [n[0] for n in news], [n[1] for n in news])
        if len(_LEARNED) > LEARNED_MAX:
            _LEARNED.clear()
        _LEARNED.update(news)


async def _change(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, change: Change) -> bool:
    """False: the message that it concerns is not known."""
    direction = "inbound" if change.by == "customer" else "outbound"
    if change.what == "reaction":
        found = await react(
            conn, user_id, chatbot_id, change.target, change.by, change.emoji, change.at
        )
        return found is not None
    if change.what == "revoke":
        changed = await revoke_message(
            conn, user_id, chatbot_id, change.target, direction, change.at
        )
    else:
        assert change.new is not None, "an edit has a new text"
        changed = await edit_message(
            conn,
            user_id,
            chatbot_id,
            change.target,
            direction,
            change.new.text,
            change.wamid,
            change.at,
            {"opaque": True} if change.new.opaque else {},
        )
    if changed is not None:
        # What the thread remembers is not what the chat shows any more.
        await forget_thread(conn, user_id, changed)
    return True


async def keep(
    conn: Conn, user_id: UserId, arrived: Arrived, chatbot_id: ChatbotId | None, what: Happening
) -> None:
    parked = arrived.parked(what.field)
    kept = await keep_event(
        conn,
        user_id,
        chatbot_id,
        parked.key,
        what.field,
        what.event,
        arrived.trace_id,
        parked.raw,
    )
    if kept is None:
        return
    if what.throughput and chatbot_id is not None:
        await raise_rate(conn, user_id, chatbot_id, UPGRADED_RATE, DEFAULT_RATE)
    if what.told:
        event = {"field": what.field, "event": what.event, "account_event_id": kept}
        await tell_tenant(conn, user_id, "account.event", event, chatbot_id=chatbot_id)


def _metadata(item: Item[Inbound]) -> dict[str, Any]:
    value = item.value
    metadata: dict[str, Any] = {"trace_id": item.arrived.trace_id}
    if value.replies_to:
        metadata["replies_to"] = value.replies_to
    if value.opaque:
        metadata["opaque"] = True
    if value.details:
        metadata["details"] = value.details
    return metadata


def _past_metadata(item: Item[Past]) -> dict[str, Any]:
    value = item.value
    metadata = {"trace_id": item.arrived.trace_id, "source": value.source}
    if value.source == "revoke":
        return metadata | value.details
    return metadata | ({"details": value.details} if value.details else {})


def _has_contact(item: Item[Any]) -> TypeGuard[Item[Inbound | Past | Preference]]:
    return isinstance(item.value, Inbound | Past | Preference)


def _is_inbound(item: Item[Any]) -> TypeGuard[Item[Inbound]]:
    return isinstance(item.value, Inbound)


def _is_past(item: Item[Any]) -> TypeGuard[Item[Past]]:
    return isinstance(item.value, Past)


def _number(arrived: Arrived) -> tuple[str | None, str | None]:
    """phone_number_id, and the business's number in the form it is stored in."""
    update = arrived.update
    return column(update.phone_number_id), normalised(update.display_number)


def column(value: str | None, longest: int | None = MAX_NUMBER_CHARS) -> str | None:
    """As a text column, and an index on it, takes it."""
    return storable(value)[:longest] if value else None
