"""Chatbots and their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from db.ids import BEYOND, ChatbotId, UserId
from db.pages import PAGE_BYTES, Listed, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """outcome: 'known', 'bound', 'bindable'; or, without ids, why the number is nobody's."""

    place: int
    outcome: str
    user_id: UserId | None
    chatbot_id: ChatbotId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    id: ChatbotId
    name: str
    whatsapp_phone_number: str | None
    phone_number_id: str | None
    access_token: str | None  # encrypted


async def create_chatbot(
    conn: Conn,
    user_id: UserId,
    name: str,
    number: str,
    phone_number_id: str | None,
    instructions: str | None,
) -> ChatbotId:
    return ChatbotId(
        await conn.fetchval(
            _SQL["create_chatbot"], user_id, name, number, phone_number_id, instructions
        )
    )


async def count_chatbots(conn: Conn, user_id: UserId) -> int:
    return int(await conn.fetchval(_SQL["count_chatbots"], user_id))


async def store_access_token(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, encrypted: str
) -> None:
    await conn.execute(_SQL["store_access_token"], user_id, chatbot_id, encrypted)


async def resolve_numbers(
    conn: Conn, phone_number_ids: Sequence[str | None], numbers: Sequence[str | None], bind: bool
) -> list[Resolved]:
    """One entry a pair, with its place (from 1). `bind` lets a chatbot without an id take it."""
    rows = await conn.fetch(_SQL["resolve_numbers"], phone_number_ids, numbers, bind)
    return [Resolved(**row) for row in rows]


async def chatbot_owner(conn: Conn, chatbot_id: ChatbotId) -> UserId | None:
    owner: UserId | None = await conn.fetchval(_SQL["chatbot_owner"], chatbot_id)
    return owner


async def mark_failing(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> datetime | None:
    """None: it was marked before."""
    since: datetime | None = await conn.fetchval(_SQL["mark_failing"], user_id, chatbot_id)
    return since


async def mark_recovered(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> bool:
    return bool(await conn.fetchval(_SQL["mark_recovered"], user_id, chatbot_id))


async def owners_of_chatbots(conn: Conn) -> list[UserId]:
    return [row["user_id"] for row in await conn.fetch(_SQL["owners_of_chatbots"])]


async def chatbot_credentials(conn: Conn, user_id: UserId) -> list[Credentials]:
    """Of the active ones."""
    rows = await conn.fetch(_SQL["chatbot_credentials"], user_id)
    return [Credentials(**row) for row in rows]


# ---- for the tenant's own people and programs, page by page -----------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatbot:
    id: ChatbotId
    name: str
    whatsapp_phone_number: str | None
    phone_number_id: str | None
    general_instructions: str | None
    is_active: bool | None
    bot_status: str | None
    created_at: datetime
    updated_at: datetime


async def list_chatbots(
    conn: Conn, user_id: UserId, after: int | None, limit: int, most_bytes: int = PAGE_BYTES
) -> Listed[Chatbot]:
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_chatbots"], user_id, before, limit, most_bytes)
    return listed(Chatbot, rows)
