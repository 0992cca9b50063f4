"""Messages of one tenant into the record: who said it, in which conversation, and what it wakes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any, Generic, TypeGuard, TypeVar

from db.changes import PastMessage, hand_to_human, known_messages, quoted_texts, record_past
from db.contacts import choose_marketing, lock_contacts, resume_marketing
from db.conversations import (
    Debounce,
    Written,
    lock_conversations,
    mark_ready,
    open_conversations,
)
from db.ids import ChatbotId, ContactId, ConversationId, UserId, Wamid
from db.media import NewMedium, add_media
from db.messages import NewMessage, record_inbound
from db.messages import Recorded as New
from db.pool import Conn
from db.takeovers import answered_by_person, wake_held
from db.telling import tell_messages
from handlers.deliveries.catalogue import MESSAGE_RECEIVED, ConversationTakenOver
from handlers.deliveries.outbox import tell
from handlers.erasure.marks import Marker
from handlers.fixed.choices import choice_of
from handlers.ingest.batch import Item
from handlers.ingest.people import contacts_of, known_people, learn
from handlers.media.kinds import brought
from handlers.whatsapp.cloud_api.notes import note, part
from handlers.whatsapp.values import Inbound, Parsed, Past, Preference

# How long the bot is silent after a person wrote to the customer on the phone: as long as people
# leave a chat and come back to it. It ends by itself, because the phone has no button for it.
ECHO_SILENCE = timedelta(minutes=60)
QUOTED_CHARS = 120

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recorded:
    new: Counter[date]  # inbound messages, by the day that each is counted on
    erased: int  # messages that were dropped, since their people are


@dataclass(frozen=True, slots=True)
class Named(Generic[T]):
    item: Item[T]
    contact_id: ContactId


@dataclass(frozen=True, slots=True)
class Placed(Generic[T]):
    item: Item[T]
    contact_id: ContactId
    conversation_id: ConversationId

    @property
    def value(self) -> T:
        return self.item.value


async def record_messages(
    conn: Conn,
    user_id: UserId,
    items: Sequence[Item[Parsed]],
    debounce: Debounce,
    marker: Marker,
) -> Recorded:
    named, erased = await _named(conn, user_id, items, marker)
    for one in named:
        if isinstance(one.item.value, Preference):
            choice = one.item.value
            await choose_marketing(conn, user_id, one.contact_id, choice.choice, choice.at)
    written = [(n.contact_id, n.item.value) for n in named if isinstance(n.item.value, Inbound)]
    if len(written) < len(named):  # those are locked by what is learned of them
        await lock_contacts(conn, user_id, sorted({n.contact_id for n in named}))
    if written:
        await learn(conn, user_id, written)
    placed = await _placed(conn, user_id, named)
    await _record_past(conn, user_id, [p for p in placed if _is_past(p)])
    inbound = [p for p in placed if _is_inbound(p)]
    return Recorded(await _record_inbound(conn, user_id, inbound, debounce), erased)


async def _named(
    conn: Conn, user_id: UserId, items: Sequence[Item[Parsed]], marker: Marker
) -> tuple[list[Named[Inbound | Past | Preference]], int]:
    """And how many are of people who were erased after it."""
    everybody = [i for i in items if _has_contact(i)]
    known, erased = await known_people(conn, user_id, [i.value.who for i in everybody], marker)
    left = [
        (item, contact_id)
        for item, contact_id in zip(everybody, known, strict=True)
        if not erased.has(item.value.who, _at(item.value))
    ]
    people = await _not_strange_again(conn, user_id, left)
    ids = await contacts_of(conn, user_id, [(i.chatbot_id, i.value.who) for i in people])
    before = {contact_id for _, contact_id in left}
    for item, contact_id in zip(people, ids, strict=True):
        one = erased.of(item.value.who)
        if one is not None and one.stopped_at is not None and contact_id not in before:
            # A new contact, of a person who had said so before they were erased.
            await choose_marketing(conn, user_id, contact_id, "stop", one.stopped_at)
    named = [Named(item, contact_id) for item, contact_id in zip(people, ids, strict=True)]
    return named, len(everybody) - len(left)


def _at(value: Inbound | Past | Preference) -> datetime:
    return value.at if isinstance(value, Preference) else value.sent_at


async def _not_strange_again(
    conn: Conn,
    user_id: UserId,
    known: Sequence[tuple[Item[Inbound | Past | Preference], ContactId | None]],
) -> list[Item[Inbound | Past | Preference]]:
    """Without those that nobody is known for and whose message is: recorded before a customer
    changed their number, it would make a contact of the old one once more."""
    strange = [i for i, c in known if c is None and _is_said(i)]
    if not strange:
        return [item for item, _ in known]
    wamids = [i.value.wamid for i in strange]
    found = await known_messages(conn, user_id, [i.chatbot_id for i in strange], wamids)
    recorded = {(strange[place - 1].chatbot_id, wamids[place - 1]) for place in found}
    return [
        item
        for item, contact_id in known
        if contact_id is not None
        or not _is_said(item)
        or (item.chatbot_id, item.value.wamid) not in recorded
    ]


async def _placed(
    conn: Conn, user_id: UserId, named: Sequence[Named[Inbound | Past | Preference]]
) -> list[Placed[Inbound | Past]]:
    """In their conversations, which are locked from here on."""
    keys = sorted({(n.item.chatbot_id, n.contact_id) for n in named if _is_said(n.item)})
    if not keys:
        return []
    bots, contacts = [k[0] for k in keys], [k[1] for k in keys]
    locked = await lock_conversations(conn, user_id, bots, contacts)
    if len(locked) < len(keys):
        await open_conversations(conn, user_id, bots, contacts)
        locked = await lock_conversations(conn, user_id, bots, contacts)
    conversations = {(row.chatbot_id, row.contact_id): row.id for row in locked}
    return [
        Placed(n.item, n.contact_id, conversations[n.item.chatbot_id, n.contact_id])
        for n in named
        if _is_said(n.item)
    ]


async def _record_inbound(
    conn: Conn, user_id: UserId, placed: Sequence[Placed[Inbound]], debounce: Debounce
) -> Counter[date]:
    if not placed:
        return Counter()
    quotes = await _quotes(conn, user_id, placed)
    messages = [
        NewMessage(
            chatbot_id=p.item.chatbot_id,
            contact_id=p.contact_id,
            conversation_id=p.conversation_id,
            wamid=p.value.wamid,
            message_type=p.value.kind,
            content_text=quote + p.value.text,
            sent_at=p.value.sent_at,
            metadata=_metadata(p.item),
        )
        for p, quote in zip(placed, quotes, strict=True)
    ]
    recorded = await record_inbound(conn, user_id, messages)
    newest: dict[ConversationId, Written] = {}
    for row in recorded:
        before = newest.get(row.conversation_id)
        newest[row.conversation_id] = Written(
            id=row.conversation_id,
            input_seq=max(before.input_seq, row.input_seq) if before else row.input_seq,
            sent_at=max(before.sent_at, row.sent_at) if before else row.sent_at,
        )
    if newest:
        written = [newest[conversation_id] for conversation_id in sorted(newest)]
        await mark_ready(conn, user_id, written, debounce)
    await _choose(conn, user_id, placed, recorded)
    if media := _media(placed, recorded):
        await add_media(conn, user_id, media)
    if told := [row.id for row in recorded if row.told]:
        await tell_messages(conn, user_id, [MESSAGE_RECEIVED] * len(told), told)
    return Counter(row.received_day for row in recorded)


async def _choose(
    conn: Conn, user_id: UserId, placed: Sequence[Placed[Inbound]], recorded: Sequence[New]
) -> None:
    """Who wrote nothing but STOP, or a word like it, gets no more advertising from now on, whatever
    becomes of the turn; START takes that back. Their contacts are locked by what was learned."""
    new = {(row.chatbot_id, row.wamid): row.opt_out_words for row in recorded}
    for one in placed:
        own = new.get((one.item.chatbot_id, one.value.wamid))
        if own is None or (choice := choice_of(one.value.text, own)) is None:
            continue
        who, at = one.contact_id, one.value.sent_at
        if choice == "stop":
            await choose_marketing(conn, user_id, who, choice, at)
        else:
            await resume_marketing(conn, user_id, who, at)


def _media(placed: Sequence[Placed[Inbound]], recorded: Sequence[New]) -> list[NewMedium]:
    """What the new messages brought, to be fetched."""
    new = {(row.chatbot_id, row.wamid): row for row in recorded}
    media = []
    for one in placed:
        row = new.pop((one.item.chatbot_id, one.value.wamid), None)
        if row is None or (found := brought(one.value.kind, one.value.details)) is None:
            continue
        media.append(
            NewMedium(
                chatbot_id=one.item.chatbot_id,
                contact_id=one.contact_id,
                conversation_id=one.conversation_id,
                message_id=row.id,
                kind=found.kind,
                handle=found.handle,
                named_hash=found.named_hash,
                sent_at=one.value.sent_at,
            )
        )
    return media


async def _quotes(conn: Conn, user_id: UserId, placed: Sequence[Placed[Inbound]]) -> list[str]:
    """For each message the note of what the customer quotes; "" where they quote nothing."""
    quoting = [p.item for p in placed if p.value.replies_to]
    if not quoting:
        return [""] * len(placed)
    wamids = [i.value.replies_to or Wamid("") for i in quoting]
    rows = await quoted_texts(conn, user_id, [i.chatbot_id for i in quoting], wamids)
    texts = {
        (quoting[row.place - 1].chatbot_id, wamids[row.place - 1]): row.content_text for row in rows
    }
    return [
        _quote(texts.get((p.item.chatbot_id, p.value.replies_to))) if p.value.replies_to else ""
        for p in placed
    ]


def _quote(text: str | None) -> str:
    shown = part(text or "", QUOTED_CHARS)
    return note(f'in reply to "{shown}"' if shown else "in reply to an earlier message") + "\n"


async def _record_past(conn: Conn, user_id: UserId, placed: Sequence[Placed[Past]]) -> None:
    once: dict[tuple[ChatbotId, str], Placed[Past]] = {}
    for one in placed:
        key = (one.item.chatbot_id, one.value.wamid)
        if key not in once or once[key].value.kind == "media_placeholder":
            once[key] = one
    for source, run in groupby(once.values(), lambda p: p.value.source):
        messages = [
            PastMessage(
                chatbot_id=p.item.chatbot_id,
                contact_id=p.contact_id,
                conversation_id=p.conversation_id,
                wamid=p.value.wamid,
                direction=p.value.direction,
                message_type=p.value.kind,
                content_text=p.value.text,
                status=p.value.status,
                sent_at=p.value.sent_at,
                metadata=_past_metadata(p.item),
            )
            for p in run
        ]
        said = await record_past(conn, user_id, messages)
        if source == "echo" and said:
            now = datetime.now(UTC)
            until = [min(row.sent_at, now) + ECHO_SILENCE for row in said]
            conversations = [row.conversation_id for row in said]
            for taken in await hand_to_human(conn, user_id, conversations, until):
                event = ConversationTakenOver(
                    chatbot_id=taken.chatbot_id,
                    contact_id=taken.contact_id,
                    conversation_id=taken.id,
                    by="human",
                    reason="echo",
                    until=taken.taken_over_until,
                )
                await tell(conn, user_id, event)
            await answered_by_person(conn, user_id, conversations, [row.sent_at for row in said])
            await wake_held(conn, user_id, conversations)


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


def _is_said(item: Item[Any]) -> TypeGuard[Item[Inbound | Past]]:
    return isinstance(item.value, Inbound | Past)


def _is_inbound(placed: Placed[Any]) -> TypeGuard[Placed[Inbound]]:
    return isinstance(placed.value, Inbound)


def _is_past(placed: Placed[Any]) -> TypeGuard[Placed[Past]]:
    return isinstance(placed.value, Past)
