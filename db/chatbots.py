"""Chatbots, their numbers and what they know."""

from collections.abc import Sequence
from dataclasses import dataclass

from db.ids import ChatbotId, UserId
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


async def import_knowledge(
    conn: Conn,
    user_id: UserId,
    chatbot_id: ChatbotId,
    questions: Sequence[str],
    answers: Sequence[str],
    categories: Sequence[str | None],
) -> list[bool]:
    """One value a row: whether it was inserted (else updated). Questions must be distinct."""
    rows = await conn.fetch(
        _SQL["import_knowledge"], user_id, chatbot_id, questions, answers, categories
    )
    return [row["inserted"] for row in rows]
