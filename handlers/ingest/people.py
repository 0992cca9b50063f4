"""Whose item it is: a tenant's contact, found, made, or moved to another number."""

from collections.abc import Iterable, Sequence
from operator import itemgetter

from db.contacts import (
    Contact,
    NewContact,
    SeenContact,
    add_contacts,
    find_contacts,
    find_people,
    hold_numbers,
    move_contact,
    release_numbers,
    touch_contacts,
)
from db.ids import ChatbotId, ContactId, UserId
from db.pool import Conn
from db.telling import tell_contacts
from db.waits import admit_new
from handlers.deliveries.catalogue import CONTACT_CREATED, CONTACT_UPDATED, ContactMoved
from handlers.deliveries.outbox import tell
from handlers.erasure.marks import Marker
from handlers.ingest.erased import Erased, keys_of
from handlers.rules.numbers import of_several_spellings, variants
from handlers.whatsapp.values import Customer, Inbound, Moved


def contact_of(who: Customer, known: Iterable[Contact]) -> ContactId | None:
    """By BSUID first: numbers are given to other people after a while, BSUIDs are not. Then by the
    number, and last by another spelling of it, unless its contact is known to be somebody else."""
    others = variants(who.phone_number) if who.phone_number else ()
    exact: Contact | None = None
    spelled: Contact | None = None
    for contact in known:
        if who.bsuid is not None and contact.bsuid == who.bsuid:
            return contact.id
        if contact.phone_number is not None and contact.phone_number == who.phone_number:
            exact = contact
        elif contact.phone_number in others:
            spelled = contact
    by_phone = exact or spelled
    if by_phone is None or (who.bsuid is not None and by_phone.bsuid is not None):
        return None
    return by_phone.id


async def known_people(
    conn: Conn, user_id: UserId, people: Sequence[Customer], marker: Marker
) -> tuple[list[ContactId | None], Erased]:
    """Each one's contact, and who of them was erased: in one look, since every batch has it."""
    keys = keys_of(user_id, marker, people)
    known, found = await find_people(conn, user_id, *keys)
    return [contact_of(who, known) for who in people], Erased(user_id, marker, found)


async def contacts_of(
    conn: Conn, user_id: UserId, people: Sequence[tuple[ChatbotId, Customer]]
) -> list[ContactId]:
    """Each one's contact, made where it is new."""
    phones, bsuids = _keys(who for _, who in people)
    known = await find_contacts(conn, user_id, phones, bsuids)
    found = [contact_of(who, known) for _, who in people]
    new = _strangers(people, found)
    numbers = [who.phone_number for _, who in new if who.phone_number]
    if lines := of_several_spellings(numbers):
        # Somebody else may make one of them under another spelling, at this moment.
        await hold_numbers(conn, user_id, lines)
        known = await find_contacts(conn, user_id, phones, bsuids)
        found = [contact_of(who, known) for _, who in people]
        new = _strangers(people, found)
    if new:
        # A number that went to another person leaves the contact who had it: a new person must not
        # get the old one's conversation, nor the old one's pending replies.
        held = {c.phone_number: c.id for c in known if c.phone_number is not None}
        wanted = [number for _, who in new for number in _spellings(who)]
        await release_numbers(conn, user_id, sorted({held[n] for n in wanted if n in held}))
        added = await add_contacts(conn, user_id, [_new(bot, who) for bot, who in new])
        admit_new(conn, user_id)
        if added:
            await tell_contacts(conn, user_id, CONTACT_CREATED, added)
        known = await find_contacts(conn, user_id, phones, bsuids)
        found = [contact_of(who, known) for _, who in people]
    ids = [c for c in found if c is not None]
    if len(ids) < len(people):
        raise LookupError("a contact that was just added is not there")
    return ids


def _strangers(
    people: Sequence[tuple[ChatbotId, Customer]], found: Sequence[ContactId | None]
) -> list[tuple[ChatbotId, Customer]]:
    """Those without a contact, each once: the spellings of one number are one person."""
    new: dict[tuple[str | None, str | None], tuple[ChatbotId, Customer]] = {}
    for one, contact_id in zip(people, found, strict=True):
        key = min(_spellings(one[1])) if one[1].phone_number else None
        if contact_id is None:
            new.setdefault((key, one[1].bsuid), one)
    return list(new.values())


def _new(chatbot_id: ChatbotId, who: Customer) -> NewContact:
    return NewContact(
        chatbot_id=chatbot_id,
        phone_number=who.phone_number,
        bsuid=who.bsuid,
        wa_id=who.wa_id,
        name=who.name,
    )


async def learn(conn: Conn, user_id: UserId, messages: Iterable[tuple[ContactId, Inbound]]) -> None:
    """What messages tell of their senders; of several of one contact, the last."""
    latest = dict(messages)
    seen = [
        SeenContact(
            id=contact_id,
            name=message.who.name,
            wa_id=message.who.wa_id,
            bsuid=message.who.bsuid,
            seen_at=message.sent_at,
        )
        for contact_id, message in sorted(latest.items(), key=itemgetter(0))
    ]
    touched = await touch_contacts(conn, user_id, seen)
    if changed := [one.id for one in touched if one.told]:
        await tell_contacts(conn, user_id, CONTACT_UPDATED, changed)


async def move(conn: Conn, user_id: UserId, moved: Moved) -> bool:
    """False: nobody by the old number or BSUID is known, nor by the new.

    Where the customer has already written under the new one, that is another contact by now, and
    stays one: the old one only loses its number.
    """
    phones, bsuids = _keys([moved.before, moved.after])
    if lines := of_several_spellings(filter(None, [moved.after.phone_number])):
        await hold_numbers(conn, user_id, lines)
    known = await find_contacts(conn, user_id, phones, bsuids)
    old, new = contact_of(moved.before, known), contact_of(moved.after, known)
    if old is None:
        return new is not None
    after = moved.after
    if new is not None and new != old and _is(new, after, known):
        await release_numbers(conn, user_id, [old])
        return True
    # Whoever had the number before: it is the mover's now.
    holders = [c.id for c in known if c.phone_number in _spellings(after) and c.id != old]
    await release_numbers(conn, user_id, sorted(holders))
    left = await find_contacts(conn, user_id, [after.phone_number or ""], [])
    free = all(c.id == old for c in left)
    number = after.phone_number if free else None
    before = next(c for c in known if c.id == old)
    bsuid = after.bsuid or before.bsuid
    if (number, bsuid) in ((before.phone_number, before.bsuid), (None, None)):
        return True  # a repeated webhook, or nothing that would reach the customer
    await move_contact(conn, user_id, old, number, after.bsuid, after.wa_id if number else None)
    await tell(conn, user_id, ContactMoved(contact_id=old))
    return True


def _is(contact_id: ContactId, who: Customer, known: Iterable[Contact]) -> bool:
    """The contact is known to be this person, not only to have their number."""
    return any(c.id == contact_id and c.bsuid == who.bsuid for c in known) and bool(who.bsuid)


def _keys(people: Iterable[Customer]) -> tuple[list[str], list[str]]:
    everybody = list(people)
    numbers = {number for who in everybody for number in _spellings(who)}
    return sorted(numbers), sorted({who.bsuid for who in everybody if who.bsuid})


def _spellings(who: Customer) -> tuple[str, ...]:
    return (who.phone_number, *variants(who.phone_number)) if who.phone_number else ()
