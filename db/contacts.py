"""Customers of a tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from db.erasures import ErasedOne
from db.ids import ChatbotId, ContactId, UserId
from db.pool import Conn
from db.sql import columns, load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    id: ContactId
    phone_number: str | None
    bsuid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewContact:
    chatbot_id: ChatbotId
    phone_number: str | None
    bsuid: str | None
    wa_id: str | None
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenContact:
    """What a message tells of its sender; None: nothing."""

    id: ContactId
    name: str | None
    wa_id: str | None
    bsuid: str | None
    seen_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    id: ContactId
    told: bool  # it changed, and some webhook wants to hear of it


async def find_contacts(
    conn: Conn, user_id: UserId, phone_numbers: Sequence[str], bsuids: Sequence[str]
) -> list[Contact]:
    rows = await conn.fetch(_SQL["find_contacts"], user_id, phone_numbers, bsuids)
    return [Contact(**row) for row in rows]


async def hold_numbers(conn: Conn, user_id: UserId, lines: Sequence[str]) -> None:
    """Each a number that stands for all its spellings: the unique index knows them by one alone.
    Whoever makes a contact of such a number holds it first, and then looks whether it is there."""
    await conn.execute(_SQL["hold_numbers"], user_id, lines)


async def find_people(
    conn: Conn,
    user_id: UserId,
    phone_numbers: Sequence[str],
    bsuids: Sequence[str],
    marks: Sequence[bytes],
) -> tuple[list[Contact], list[ErasedOne]]:
    """Contacts, and who of these people was erased."""
    contacts: list[Contact] = []
    erased: list[ErasedOne] = []
    for row in await conn.fetch(_SQL["find_people"], user_id, phone_numbers, bsuids, marks):
        if row["id"] is not None:
            contacts.append(
                Contact(id=row["id"], phone_number=row["phone_number"], bsuid=row["bsuid"])
            )
        else:
            keys = ("named", "mark", "erased_at", "stopped_at")
            erased.append(ErasedOne(**{key: row[key] for key in keys}))
    return contacts, erased


async def add_contacts(
    conn: Conn, user_id: UserId, contacts: Sequence[NewContact]
) -> list[ContactId]:
    """Those that were added, if some webhook wants to hear of them."""
    rows = await conn.fetch(_SQL["add_contacts"], user_id, *columns(NewContact, contacts))
    return [row["id"] for row in rows]


async def lock_contacts(conn: Conn, user_id: UserId, ids: Sequence[ContactId]) -> list[ContactId]:
    """Raises as touch_contacts()."""
    rows = await conn.fetch(_SQL["lock_contacts"], user_id, ids)
    _all_there(len(rows), len(ids))
    return [row["id"] for row in rows]


def _all_there(found: int, wanted: int) -> None:
    if found < wanted:
        raise asyncpg.SerializationError("a contact was erased meanwhile")


async def release_numbers(conn: Conn, user_id: UserId, ids: Sequence[ContactId]) -> None:
    """These customers are reached by their BSUID alone from now on."""
    await conn.execute(_SQL["release_numbers"], user_id, ids)


async def touch_contacts(conn: Conn, user_id: UserId, seen: Sequence[SeenContact]) -> list[Touched]:
    """Each contact once, in the order of their ids. Raises one of CONFLICT when one of them was
    erased meanwhile: whose messages these are is to be looked at again."""
    rows = await conn.fetch(_SQL["touch_contacts"], user_id, *columns(SeenContact, seen))
    _all_there(len(rows), len(seen))
    return [Touched(**row) for row in rows]


async def move_contact(
    conn: Conn,
    user_id: UserId,
    contact_id: ContactId,
    phone_number: str | None,
    bsuid: str | None,
    wa_id: str | None,
) -> None:
    await conn.execute(_SQL["move_contact"], user_id, contact_id, phone_number, bsuid, wa_id)


async def choose_marketing(
    conn: Conn, user_id: UserId, contact_id: ContactId, choice: str, at: datetime
) -> None:
    await conn.execute(_SQL["choose_marketing"], user_id, contact_id, choice, at)


async def resume_marketing(
    conn: Conn, user_id: UserId, contact_id: ContactId, at: datetime
) -> None:
    """Of who had stopped."""
    await conn.execute(_SQL["resume_marketing"], user_id, contact_id, at)
