"""Tenants' own tools (migrations/0106_tools.sql)."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from db.ids import BEYOND, ChatbotId, ToolId, UserId
from db.pages import Listed, StoredJson, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """As tenants see it: without its secrets."""

    id: ToolId
    chatbot_id: ChatbotId
    name: str
    description: str
    parameters: StoredJson
    url: str
    effect: str
    needs_approval: bool
    timeout_ms: int
    is_active: bool
    prev_secret_until: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedTool:
    tool: Tool
    version: int


@dataclass(frozen=True, slots=True)
class NewTool:
    name: str
    description: str
    parameters: dict[str, Any]
    url: str
    effect: str
    needs_approval: bool
    timeout_ms: int
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnTool:
    """As it is offered and called."""

    id: ToolId
    name: str
    description: str
    parameters: dict[str, Any]
    url: str
    effect: str
    needs_approval: bool
    timeout_ms: int
    is_active: bool
    secrets: list[str]  # sealed, the one that signs first


async def list_tools(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, after: int | None, limit: int
) -> Listed[Tool]:
    """Youngest first."""
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_tools"], user_id, chatbot_id, before, limit)
    return listed(_tool, rows)


async def read_tool(conn: Conn, user_id: UserId, tool_id: ToolId) -> VersionedTool | None:
    record = await conn.fetchrow(_SQL["read_tool"], user_id, tool_id)
    if record is None:
        return None
    row = dict(record)
    version = row.pop("version")
    return VersionedTool(_tool(**row), version)


def _tool(*, parameters: str, **row: Any) -> Tool:
    return Tool(parameters=StoredJson(parameters), **row)


async def lock_tool(conn: Conn, user_id: UserId, tool_id: ToolId) -> int | None:
    """Its version. The chatbot is locked first, so that of several changes at once each counts what
    the others made."""
    await lock_tools_of_tool(conn, user_id, tool_id)
    version: int | None = await conn.fetchval(_SQL["lock_tool"], user_id, tool_id)
    return version


async def lock_tools_of_tool(conn: Conn, user_id: UserId, tool_id: ToolId) -> None:
    """As lock_tools(), of whichever chatbot has it."""
    await conn.execute(_SQL["lock_tools_of_tool"], user_id, tool_id)


async def lock_tools(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> None:
    """Until the transaction ends nobody else makes or changes one of the chatbot."""
    await conn.execute(_SQL["lock_tools"], user_id, chatbot_id)


async def own_tools(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> list[OwnTool]:
    """All of a chatbot, oldest first."""
    return [OwnTool(**row) for row in await conn.fetch(_SQL["own_tools"], user_id, chatbot_id)]


async def own_tool(conn: Conn, user_id: UserId, tool_id: ToolId) -> OwnTool | None:
    row = await conn.fetchrow(_SQL["own_tool"], user_id, tool_id)
    return OwnTool(**row) if row else None


async def create_tool(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, tool: NewTool
) -> ToolId | None:
    """Without a secret: what it is encrypted for is the id. None: one has that name."""
    made: ToolId | None = await conn.fetchval(
        _SQL["create_tool"], user_id, chatbot_id, *values(tool)
    )
    return made


async def store_tool_secret(conn: Conn, user_id: UserId, tool_id: ToolId, sealed: str) -> None:
    await conn.execute(_SQL["store_tool_secret"], user_id, tool_id, sealed)


async def rotate_tool_secret(
    conn: Conn, user_id: UserId, tool_id: ToolId, sealed: str, overlap: timedelta
) -> None:
    await conn.execute(_SQL["rotate_tool_secret"], user_id, tool_id, sealed, overlap)


async def change_tool(conn: Conn, user_id: UserId, tool_id: ToolId, tool: NewTool) -> bool:
    """Of a locked one. False: another has that name."""
    return bool(await conn.fetchval(_SQL["change_tool"], user_id, tool_id, *values(tool)))


async def delete_tool(conn: Conn, user_id: UserId, tool_id: ToolId) -> None:
    await conn.execute(_SQL["delete_tool"], user_id, tool_id)
