"""Customers of a tenant."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

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


async def find_contacts(
    conn: Conn, user_id: UserId, phone_numbers: Sequence[str], bsuids: Sequence[str]
) -> list[Contact]:
    rows = await conn.fetch(_SQL["find_contacts"], user_id, phone_numbers, bsuids)
    return [Contact(**row) for row in rows]


async def add_contacts(conn: Conn, user_id: UserId, contacts: Sequence[NewContact]) -> None:
    await conn.execute(_SQL["add_contacts"], user_id, *columns(NewContact, contacts))


async def lock_contacts(conn: Conn, user_id: UserId, ids: Sequence[ContactId]) -> list[ContactId]:
    rows = await conn.fetch(_SQL["lock_contacts"], user_id, ids)
    return [row["id"] for row in rows]


async def release_numbers(conn: Conn, user_id: UserId, ids: Sequence[ContactId]) -> None:
    """These customers are reached by their BSUID alone from now on."""
    await conn.execute(_SQL["release_numbers"], user_id, ids)


async def touch_contacts(conn: Conn, user_id: UserId, seen: Sequence[SeenContact]) -> None:
    """Each contact once, in the order of their ids."""
    await conn.execute(_SQL["touch_contacts"], user_id, *columns(SeenContact, seen))


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
