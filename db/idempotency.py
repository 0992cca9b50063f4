"""Requests of the tenant API that are done once, however often they come."""

from dataclasses import dataclass

from db.ids import MessageId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True)
class Once:
    """The client's key, and what tells its request from another one with the same key."""

    key: str
    request_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    request_hash: bytes
    message_id: MessageId


async def find_request(conn: Conn, user_id: UserId, idempotency_key: str) -> Request | None:
    row = await conn.fetchrow(_SQL["find_request"], user_id, idempotency_key)
    return Request(**row) if row else None


async def remember_request(
    conn: Conn, user_id: UserId, idempotency_key: str, request_hash: bytes, message_id: MessageId
) -> None:
    await conn.execute(_SQL["remember_request"], user_id, idempotency_key, request_hash, message_id)
