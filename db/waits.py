"""Conversations whose answer is put off: until a plan is in force, tenant and chatbot are active,
the contact has room (migrations/0035_contract.sql, 0036_contact_limit.sql)."""

from dataclasses import dataclass
from datetime import timedelta

from db.ids import ContactId, ConversationId, MessageId, UserId
from db.pool import Conn, at_commit
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    user_id: UserId
    conversation_id: ConversationId


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    user_id: UserId
    contact_id: ContactId


async def note_wait(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, reason: str
) -> None:
    """In the transaction of the turn that did not answer."""
    await conn.execute(_SQL["note_wait"], user_id, conversation_id, reason)


async def waits_over(conn: Conn, limit: int) -> list[Wait]:
    """Across tenants."""
    return [Wait(**row) for row in await conn.fetch(_SQL["waits_over"], limit)]


async def end_wait(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, youngest: timedelta
) -> int:
    """How many inputs are to be answered again: those that are not older than that."""
    return int(await conn.fetchval(_SQL["end_wait"], user_id, conversation_id, youngest))


async def put_off_again(conn: Conn, user_id: UserId, message_id: MessageId, reason: str) -> bool:
    """What a reply answered that will not leave waits. False: nothing did, or the reply may have
    arrived. In the transaction that ends it, which holds its conversation."""
    return bool(await conn.fetchval(_SQL["put_off_again"], user_id, message_id, reason))


async def forget_waits(conn: Conn, age: timedelta, limit: int) -> int:
    """Across tenants."""
    return int(await conn.fetchval(_SQL["forget_waits"], age, limit))


# ---- room for contacts --------------------------------------------------------------------------


def admit_new(conn: Conn, user_id: UserId) -> None:
    """With the COMMIT of what adds contacts."""
    at_commit(conn, f"SELECT admit_contacts({user_id:d})")


async def contacts_may_enter(conn: Conn, limit: int) -> list[UserId]:
    """Across tenants."""
    return [row["user_id"] for row in await conn.fetch(_SQL["contacts_may_enter"], limit)]


async def admit_contacts(conn: Conn, user_id: UserId) -> int:
    return int(await conn.fetchval(_SQL["admit_contacts"], user_id))


async def contacts_entered(conn: Conn, limit: int) -> list[Entered]:
    """Across tenants: those whose conversations still wait."""
    return [Entered(**row) for row in await conn.fetch(_SQL["contacts_entered"], limit)]


async def lock_entered(conn: Conn, user_id: UserId, contact_id: ContactId) -> ContactId | None:
    """None: another dealt with them."""
    locked: ContactId | None = await conn.fetchval(_SQL["lock_entered"], user_id, contact_id)
    return locked


async def waiting_of(conn: Conn, user_id: UserId, contact_id: ContactId) -> list[ConversationId]:
    return [row["id"] for row in await conn.fetch(_SQL["waiting_of"], user_id, contact_id)]
