"""Chatbots and their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.ids import BEYOND, AppId, ChatbotId, UserId
from db.pages import PAGE_BYTES, Listed
from db.pool import Conn
from db.sql import load, values

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
    number: str | None,
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


async def note_numbers(
    conn: Conn, phone_number_ids: Sequence[str | None], numbers: Sequence[str | None]
) -> list[Resolved]:
    """One entry a pair, with its place (from 1), whatever app its webhook is of."""
    rows = await conn.fetch(_SQL["note_numbers"], phone_number_ids, numbers)
    return [Resolved(**row) for row in rows]


async def resolve_numbers(
    conn: Conn,
    phone_number_ids: Sequence[str | None],
    numbers: Sequence[str | None],
    app_ids: Sequence[AppId | None],
    bind: bool,
) -> list[Resolved]:
    """As note_numbers, for webhooks of these apps (None: the environment's). `bind` lets a chatbot
    without an id take it."""
    rows = await conn.fetch(_SQL["resolve_numbers"], phone_number_ids, numbers, app_ids, bind)
    return [Resolved(**row) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberOf:
    id: ChatbotId
    whatsapp_phone_number: str | None
    phone_number_id: str | None


async def lock_chatbot(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> NumberOf | None:
    row = await conn.fetchrow(_SQL["lock_chatbot"], user_id, chatbot_id)
    return NumberOf(**row) if row else None


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
    """Of the active ones that have a number."""
    rows = await conn.fetch(_SQL["chatbot_credentials"], user_id)
    return [Credentials(**row) for row in rows]


# ---- for the tenant's own people and programs -------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Chatbot:
    """As tenants see it: without its access token."""

    id: ChatbotId
    name: str
    whatsapp_phone_number: str | None
    phone_number_id: str | None
    waba_id: str | None
    number_confirmed_at: datetime | None
    unproven: list[str]  # which of the three before are claims
    number_problem: str | None  # why
    general_instructions: str | None
    is_active: bool
    bot_status: str
    language: str | None
    texts: dict[str, Any]
    embeddings: bool
    window_template: dict[str, Any] | None
    budgets: dict[str, Any]
    business_hours: dict[str, Any] | None
    answer_checks: str  # 'block', 'warn'
    model: dict[str, Any] | None
    topic: str | None
    opt_out_words: list[str]
    order_messages: list[str]
    marketing_api: bool
    order_template: dict[str, Any] | None
    decision_template: dict[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedChatbot:
    chatbot: Chatbot
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be written, as it is stored."""

    name: str
    whatsapp_phone_number: str | None  # proven, as the next two
    phone_number_id: str | None
    waba_id: str | None
    claimed_number: str | None
    claimed_phone_number_id: str | None
    claimed_waba_id: str | None
    access_token: str | None  # encrypted
    general_instructions: str | None
    is_active: bool
    bot_status: str
    language: str | None
    texts: dict[str, Any]
    window_template: dict[str, Any] | None
    budgets: dict[str, Any]
    embeddings: bool
    business_hours: dict[str, Any] | None
    answer_checks: str  # 'block', 'warn'
    model: dict[str, Any] | None
    model_keys: str | None  # encrypted
    topic: str | None
    opt_out_words: list[str]
    order_messages: list[str]
    marketing_api: bool
    order_template: dict[str, Any] | None
    decision_template: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class LockedSettings:
    settings: Settings
    version: int


async def list_chatbots(
    conn: Conn, user_id: UserId, after: int | None, limit: int, most_bytes: int = PAGE_BYTES
) -> Listed[Chatbot]:
    """Youngest first."""
    before = BEYOND if after is None else after
    page = await conn.fetch(_SQL["chatbot_page"], user_id, before, limit, most_bytes)
    found = await chatbot_fields(conn, user_id, [row["id"] for row in page])
    return Listed([one.chatbot for one in found], any(row["more"] for row in page))


async def read_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId
) -> VersionedChatbot | None:
    found = await chatbot_fields(conn, user_id, [chatbot_id])
    return found[0] if found else None


async def chatbot_fields(
    conn: Conn, user_id: UserId, ids: Sequence[ChatbotId]
) -> list[VersionedChatbot]:
    found = []
    for record in await conn.fetch(_SQL["chatbot_fields"], user_id, ids):
        row = dict(record)
        version = row.pop("version")
        found.append(VersionedChatbot(Chatbot(**row), version))
    return found


async def next_chatbot_id(conn: Conn) -> ChatbotId:
    return ChatbotId(await conn.fetchval(_SQL["next_chatbot_id"]))


async def add_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, settings: Settings
) -> None:
    await conn.execute(_SQL["add_chatbot"], user_id, chatbot_id, *values(settings))


async def lock_settings(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId
) -> LockedSettings | None:
    record = await conn.fetchrow(_SQL["lock_settings"], user_id, chatbot_id)
    if record is None:
        return None
    row = dict(record)
    version = row.pop("version")
    return LockedSettings(Settings(**row), version)


async def change_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, settings: Settings
) -> None:
    await conn.execute(_SQL["change_chatbot"], user_id, chatbot_id, *values(settings))
