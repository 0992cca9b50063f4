"""A tenant makes and changes contacts, each in one transaction of the caller's."""

import json
from typing import Any

from db.contacts import hold_numbers
from db.ids import ChatbotId, ContactId, UserId
from db.people import (
    ChangedPerson,
    Contact,
    NewPerson,
    Sought,
    change_person,
    create_person,
    enter,
    give_name,
    people_with_number,
    room,
    wanted_of_contacts,
    words_of,
)
from db.pool import Conn
from db.telling import tell_contacts
from db.waits import admit_contacts
from db.webhooks import chatbot_exists
from handlers.deliveries.catalogue import CONTACT_CREATED, CONTACT_UPDATED
from handlers.rules.contact_fields import ENDS_CHARS, NUMBER_CHARS, digits_sought, merged
from handlers.rules.numbers import of_several_spellings, variants

TRIES = 3  # to make what another makes and erases at the same moment


class AtLimit(Exception):
    def __init__(self, limit: int, count: int) -> None:
        super().__init__("at_limit")
        self.limit, self.count = limit, count


class NoSuchChatbot(Exception):
    """Or another tenant's."""


class IsThere(Exception):
    """The number is a contact's."""

    def __init__(self, contact_id: ContactId) -> None:
        super().__init__("is_there")
        self.contact_id = contact_id


async def make(conn: Conn, user_id: UserId, new: NewPerson) -> ContactId:
    """Raises AtLimit, NoSuchChatbot, IsThere. A customer who writes for the first time at this
    moment is the same contact, whoever comes first."""
    if new.chatbot_id is not None and not await chatbot_exists(conn, user_id, new.chatbot_id):
        raise NoSuchChatbot
    spellings = (new.phone_number, *variants(new.phone_number))
    if lines := of_several_spellings([new.phone_number]):
        await hold_numbers(conn, user_id, lines)
    for _ in range(TRIES):
        for contact_id in await people_with_number(conn, user_id, spellings):
            raise IsThere(contact_id)
        made = await create_person(conn, user_id, new)
        if made is not None:
            await _let_in(conn, user_id, made)
            if await wanted_of_contacts(conn, user_id, CONTACT_CREATED):
                await tell_contacts(conn, user_id, CONTACT_CREATED, [made])
            return made
    raise LookupError("a contact is neither there nor can be made")


async def _let_in(conn: Conn, user_id: UserId, contact_id: ContactId) -> None:
    """After the contact, as the order of locks has it: whoever waits longer comes first."""
    await admit_contacts(conn, user_id)
    found = await room(conn, user_id, contact_id)
    if found is None or not found.over_limit:
        return
    if found.most is not None and found.contacts >= found.most:
        raise AtLimit(found.most, found.contacts)
    await enter(conn, user_id, contact_id)  # one before it is locked, and has room all the same


async def change(conn: Conn, user_id: UserId, was: Contact, given: dict[str, Any]) -> bool:
    """Of a locked contact. What changes nothing is told to nobody."""
    old = ChangedPerson(
        name=was.name,
        language=was.language,
        tags=was.tags,
        custom_fields=json.loads(was.custom_fields),
        contact_status=was.contact_status,
        conversation_paused=was.conversation_paused,
        name_is_new="name" in given,
    )
    values = {name: given.get(name, getattr(old, name)) for name in CHANGEABLE}
    values["custom_fields"] = merged_fields(was, given)
    new = ChangedPerson(**values, name_is_new="name" in given)
    if new == old:
        if "name" in given:  # as WhatsApp told it, and from now on whatever WhatsApp tells
            await give_name(conn, user_id, was.id, new.name is not None)
        return False
    await change_person(conn, user_id, was.id, new)
    if await wanted_of_contacts(conn, user_id, CONTACT_UPDATED):
        await tell_contacts(conn, user_id, CONTACT_UPDATED, [was.id])
    return True


CHANGEABLE = (
    *("name", "language", "tags", "custom_fields", "contact_status", "conversation_paused"),
)


def merged_fields(was: Contact, given: dict[str, Any]) -> dict[str, Any]:
    """The contact's own fields as a change leaves them."""
    return merged(json.loads(was.custom_fields), given.get("custom_fields", {}))


async def sought(
    conn: Conn, q: str | None, tag: str | None, chatbot_id: ChatbotId | None
) -> Sought | None:
    """None: nobody can be found by this."""
    places: list[tuple[str, str | None]] = []
    number = None
    if q is not None and (digits := digits_sought(q)) is not None:
        # A zero before it is how it is dialled within the country.
        number = digits.lstrip("0")
        ends = f"s:{number[-NUMBER_CHARS:]}" if len(number) >= ENDS_CHARS else None
        places.append((f"w:{digits[:NUMBER_CHARS]}", ends))
        number = number if len(number) > NUMBER_CHARS else None
    elif q is not None:
        words = await words_of(conn, q)
        if not words:
            return None
        # The longest is in the fewest names, as a rule.
        places += [(f"w:{word}", None) for word in sorted(words, key=len, reverse=True)]
    if tag is not None:
        places.append((f"t:{tag}", None))
    if chatbot_id is not None:
        places.append((f"c:{chatbot_id}", None))
    return Sought([term for term, _ in places], [other for _, other in places], number)
