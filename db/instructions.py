"""What the bot is told for one conversation alone. A row is of a chatbot and a contact, and there
where the two have a conversation."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from pydantic import Field

from db.ids import ChatbotId, ContactId, ConversationId, InstructionId, UserId
from db.pages import Listed, listed
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    id: InstructionId
    conversation_id: ConversationId
    chatbot_id: ChatbotId
    contact_id: ContactId
    instruction_text: str
    is_active: bool
    expires_at: Annotated[datetime | None, Field(description="null: it holds until it is changed")]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedInstruction:
    instruction: Instruction
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """Whose conversation it is."""

    chatbot_id: ChatbotId
    contact_id: ContactId


async def read_between(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> Between | None:
    row = await conn.fetchrow(_SQL["read_between"], user_id, conversation_id)
    return Between(**row) if row else None


async def conversation_exists(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> bool:
    return bool(await conn.fetchval(_SQL["conversation_exists"], user_id, conversation_id))


async def count_instructions(conn: Conn, user_id: UserId, of: Between) -> int:
    args = (user_id, of.chatbot_id, of.contact_id)
    return int(await conn.fetchval(_SQL["count_instructions"], *args))


async def create_instruction(
    conn: Conn, user_id: UserId, of: Between, text: str, expires_at: datetime | None
) -> InstructionId:
    args = (user_id, of.chatbot_id, of.contact_id, text, expires_at)
    return InstructionId(await conn.fetchval(_SQL["create_instruction"], *args))


async def list_instructions(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, after: int, limit: int, most: int
) -> Listed[Instruction]:
    """`most`: bytes."""
    args = (user_id, conversation_id, after, limit, most)
    return listed(Instruction, await conn.fetch(_SQL["list_instructions"], *args))


async def read_instruction(
    conn: Conn, user_id: UserId, instruction_id: InstructionId
) -> VersionedInstruction | None:
    row = await conn.fetchrow(_SQL["read_instruction"], user_id, instruction_id)
    if row is None:
        return None
    values = dict(row)
    version = values.pop("version")
    return VersionedInstruction(Instruction(**values), version)


async def lock_instruction(
    conn: Conn, user_id: UserId, instruction_id: InstructionId
) -> int | None:
    """Its version."""
    version: int | None = await conn.fetchval(_SQL["lock_instruction"], user_id, instruction_id)
    return version


async def change_instruction(conn: Conn, user_id: UserId, new: Instruction) -> None:
    args = (user_id, new.id, new.instruction_text, new.expires_at, new.is_active)
    await conn.execute(_SQL["change_instruction"], *args)


async def delete_instruction(conn: Conn, user_id: UserId, instruction_id: InstructionId) -> None:
    await conn.execute(_SQL["delete_instruction"], user_id, instruction_id)
