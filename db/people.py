"""Contacts as the tenant's people and programs see and change them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.ids import BEYOND, ChatbotId, ContactId, UserId
from db.pages import PAGE_BYTES, Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)

SEARCH_STEPS = 10_000  # that a search makes for one page: some tenths of a second


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    id: ContactId
    phone_number: str | None
    bsuid: str | None
    name: str | None
    language: str | None
    tags: list[str]
    custom_fields: StoredJson
    contact_status: str
    conversation_paused: bool
    chatbot_id: ChatbotId | None
    over_limit: bool
    last_interaction: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedContact:
    contact: Contact
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPerson:
    phone_number: str
    name: str | None
    language: str | None
    tags: list[str]
    custom_fields: dict[str, Any]
    contact_status: str
    chatbot_id: ChatbotId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedPerson:
    """All of it, as it is to be."""

    name: str | None
    language: str | None
    tags: list[str]
    custom_fields: dict[str, Any]
    contact_status: str
    conversation_paused: bool
    name_is_new: bool


@dataclass(frozen=True, slots=True)
class Sought:
    """What contacts are found by: all of these. Of each place one of `terms` and `otherwise` is
    enough. `number`: digits of which a term has the last or the first ones only."""

    terms: Sequence[str]
    otherwise: Sequence[str | None]
    number: str | None = None


@dataclass(frozen=True, slots=True)
class FoundPeople:
    rows: list[Contact]
    after: int | None  # where the next page begins; None: there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    contacts: int  # that the plan has room for, with this one if it is in
    most: int | None
    over_limit: bool  # this one


async def list_people(
    conn: Conn, user_id: UserId, after: int | None, limit: int
) -> Listed[Contact]:
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_people"], user_id, before, limit, PAGE_BYTES)
    return listed(_contact, rows)


async def search_people(
    conn: Conn, user_id: UserId, sought: Sought, after: int | None, limit: int
) -> FoundPeople:
    """A page may have fewer than there is room for, and another after it: what is rare in all that
    is sought is found in more than one go."""
    before = BEYOND if after is None else after
    records = await conn.fetch(
        _SQL["search_people"],
        *(user_id, sought.terms, sought.otherwise, before, limit, PAGE_BYTES),
        *(SEARCH_STEPS, sought.number),
    )
    rows = [dict(record) for record in records]
    more, stopped = rows[0]["more"], rows[0]["stopped"]
    for row in rows:
        del row["more"], row["stopped"]
    found = [_contact(**row) for row in rows if row["id"] is not None]
    return FoundPeople(found, found[-1].id if more else stopped)


async def words_of(conn: Conn, text: str) -> list[str]:
    """As they are looked for: without case and accents."""
    words: list[str] = await conn.fetchval(_SQL["words_of"], text)
    return words


async def people_with_number(
    conn: Conn, user_id: UserId, spellings: Sequence[str]
) -> list[ContactId]:
    """The first spelling's first."""
    rows = await conn.fetch(_SQL["people_with_number"], user_id, spellings)
    return [row["id"] for row in rows]


async def read_person(
    conn: Conn, user_id: UserId, contact_id: ContactId
) -> VersionedContact | None:
    row = await conn.fetchrow(_SQL["read_person"], user_id, contact_id)
    if row is None:
        return None
    found = dict(row)
    version = found.pop("version")
    return VersionedContact(_contact(**found), version)


async def lock_person(conn: Conn, user_id: UserId, contact_id: ContactId) -> int | None:
    """Its version. None: there is no such contact."""
    version: int | None = await conn.fetchval(_SQL["lock_person"], user_id, contact_id)
    return version


async def create_person(conn: Conn, user_id: UserId, new: NewPerson) -> ContactId | None:
    """None: there is one with this number by now."""
    made: ContactId | None = await conn.fetchval(_SQL["create_person"], user_id, *values(new))
    return made


async def change_person(
    conn: Conn, user_id: UserId, contact_id: ContactId, changed: ChangedPerson
) -> None:
    await conn.execute(_SQL["change_person"], user_id, contact_id, *values(changed))


async def give_name(conn: Conn, user_id: UserId, contact_id: ContactId, by_tenant: bool) -> None:
    await conn.execute(_SQL["give_name"], user_id, contact_id, by_tenant)


async def wanted_of_contacts(conn: Conn, user_id: UserId, event_type: str) -> bool:
    return bool(await conn.fetchval(_SQL["wanted_of_contacts"], user_id, event_type))


async def room(conn: Conn, user_id: UserId, contact_id: ContactId) -> Room | None:
    """None: contacts are not limited."""
    row = await conn.fetchrow(_SQL["room"], user_id, contact_id)
    return Room(**row) if row else None


async def enter(conn: Conn, user_id: UserId, contact_id: ContactId) -> None:
    await conn.execute(_SQL["enter"], user_id, contact_id)


def _contact(*, custom_fields: str, **row: Any) -> Contact:
    return Contact(custom_fields=StoredJson(custom_fields), **row)
