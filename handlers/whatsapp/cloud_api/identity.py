"""Who an item is from, or to: by its own fields, and by the contact element that names the same
person. Pure.

Never by place. A POST may hold messages of several people and the contact of one of them, several
contacts and one message, and a name that went to the neighbour's message would stay with them.
"""

import re

from handlers.rules.cutting import head
from handlers.rules.numbers import normalised, variants
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.untrusted import Json, get, string
from handlers.whatsapp.values import Customer

MAX_NAME_UNITS = 255
# A country, and letters or digits; a parent's has ENT between. Meta puts them where numbers were:
# into from, to, wa_id and the ids of threads.
_BSUID = re.compile(r"[A-Z]{2}(?:\.[A-Za-z0-9]+)+")


def customer_of(number: Json, bsuid: Json, contact: Json) -> Customer:
    """By the item's own number and BSUID; `contact` adds what it knows if it is the same person."""
    own = _named(number, bsuid)
    known = _named(get(contact, "wa_id"), get(contact, "user_id"))
    if not _closeness(own, known):
        return own
    name = string(get(get(contact, "profile"), "name"))
    return Customer(
        phone_number=own.phone_number or known.phone_number,
        wa_id=own.wa_id or known.wa_id,
        bsuid=own.bsuid or known.bsuid,
        name=head(storable(name), MAX_NAME_UNITS) if name else None,
    )


def contact_of(number: Json, bsuid: Json, contacts: Json) -> Json:
    """The element that is closest to being this person. None: there is none, or there are several
    that differ, and nothing says which."""
    if not isinstance(contacts, list):
        return None
    if len(contacts) == 1 and string(bsuid) and get(contacts[0], "user_id") == bsuid:
        return contacts[0]  # nearly all
    own = _named(number, bsuid)
    close = [
        (closeness, contact)
        for contact in contacts
        if (closeness := _closeness(own, _named(get(contact, "wa_id"), get(contact, "user_id"))))
    ]
    most = max((closeness for closeness, _ in close), default=0)
    found = [contact for closeness, contact in close if closeness == most]
    return found[0] if found and all(contact == found[0] for contact in found) else None


def _named(number: Json, bsuid: Json) -> Customer:
    """Each identifier by its form, whichever field it stands in."""
    spelled, user_id = string(number), string(bsuid)
    if spelled is not None and spelled[0].isupper() and _BSUID.fullmatch(spelled):
        spelled, user_id = None, user_id or spelled
    phone_number = normalised(spelled)
    return Customer(
        phone_number=phone_number,
        wa_id=spelled if phone_number else None,
        bsuid=storable(user_id) if user_id else None,
    )


def _closeness(one: Customer, other: Customer) -> int:
    """0: not known to be the same person. Of two who have BSUIDs these alone count: numbers go to
    other people, and Meta's wa_id need not be the number in `from`."""
    if one.bsuid is not None and other.bsuid is not None:
        return 3 if one.bsuid == other.bsuid else 0
    if one.phone_number is None or other.phone_number is None:
        return 0
    if one.phone_number == other.phone_number:
        return 2
    return 1 if other.phone_number in variants(one.phone_number) else 0
