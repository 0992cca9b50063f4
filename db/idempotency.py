"""Requests of the tenant API that are done once, however often they come."""

from dataclasses import dataclass

from db.ids import ContactId, MessageId, UserId
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Once:
    """The client's key, and what tells its request from another one with the same key."""

    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstAnswer:
    """`message_id`, `contact_id`: what it is about, with which it is forgotten. Of the release
    before there is a message and nothing else; of a request that is in hand nothing at all."""

    message_id: MessageId | None
    contact_id: ContactId | None
    status: int | None
    headers: dict[str, str] | None
    body: str | None


async def hold_key(conn: Conn, user_id: UserId, key: str) -> bool:
    """Until the transaction ends, or its connection. False: another request has it in hand."""
    return bool(await conn.fetchval(_SQL["hold_key"], user_id, key))


async def find_answer(conn: Conn, user_id: UserId, key: str) -> tuple[bytes, FirstAnswer] | None:
    """With the hash of the request that it is the answer to."""
    row = await conn.fetchrow(_SQL["find_answer"], user_id, key)
    if row is None:
        return None
    found = dict(row)
    return found.pop("request_hash"), FirstAnswer(**found)


async def keep_answer(conn: Conn, user_id: UserId, once: Once, answer: FirstAnswer) -> None:
    await conn.execute(_SQL["keep_answer"], user_id, *values(once), *values(answer))
