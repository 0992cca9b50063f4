"""Tools are made, changed, and given new secrets. Each is part of the caller's transaction; what
cannot be done is raised, so that it leaves nothing behind."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from db.ids import ChatbotId, ToolId, UserId
from db.pool import Conn
from db.tools import (
    NewTool,
    OwnTool,
    Tool,
    change_tool,
    create_tool,
    lock_tools,
    own_tools,
    rotate_tool_secret,
    store_tool_secret,
)
from handlers.deliveries.signing import new_secret
from handlers.process.secrets import Vault, tool_secret_of
from handlers.rules.tools import ALL_CHARS, TOOLS_MAX, takes

OVERLAP = timedelta(hours=24)  # in which the secret before signs as well


class AtLimit(Exception):
    """`limit` is its name."""

    def __init__(self, limit: str, allowed: int, count: int) -> None:
        super().__init__(limit)
        self.limit, self.allowed, self.count = limit, allowed, count


class NameTaken(Exception):
    """Another tool of the chatbot has it."""


async def make(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, tool: NewTool, vault: Vault
) -> tuple[ToolId, str]:
    """With its secret, which nobody is told again. Raises AtLimit, NameTaken."""
    await lock_tools(conn, user_id, chatbot_id)
    there = await own_tools(conn, user_id, chatbot_id)
    if len(there) >= TOOLS_MAX:
        raise AtLimit("tools", TOOLS_MAX, len(there))
    _be_short(there, tool)
    tool_id = await create_tool(conn, user_id, chatbot_id, tool)
    if tool_id is None:
        raise NameTaken
    secret = new_secret()
    sealed = vault.encrypt(secret, tool_secret_of(tool_id))
    await store_tool_secret(conn, user_id, tool_id, sealed)
    return tool_id, secret


def _be_short(others: Sequence[OwnTool], tool: NewTool) -> None:
    """All active ones are in each prompt."""
    if not tool.is_active:
        return
    used = sum(takes(one.name, one.description, one.parameters) for one in others if one.is_active)
    wanted = used + takes(tool.name, tool.description, tool.parameters)
    if wanted > ALL_CHARS:
        raise AtLimit("tool_characters", ALL_CHARS, wanted)


async def change(conn: Conn, user_id: UserId, tool: Tool, given: dict[str, Any]) -> None:
    """Of a locked one. Raises AtLimit, NameTaken."""
    was = NewTool(
        name=tool.name,
        description=tool.description,
        parameters=json.loads(tool.parameters),
        url=tool.url,
        effect=tool.effect,
        needs_approval=tool.needs_approval,
        timeout_ms=tool.timeout_ms,
        is_active=tool.is_active,
    )
    new = replace(was, **given)
    if new == was:
        return
    there = await own_tools(conn, user_id, tool.chatbot_id)
    _be_short([one for one in there if one.id != tool.id], new)
    if not await change_tool(conn, user_id, tool.id, new):
        raise NameTaken


async def rotate(conn: Conn, user_id: UserId, tool_id: ToolId, vault: Vault) -> str:
    """The new secret of a locked tool. The one before signs along for OVERLAP."""
    secret = new_secret()
    sealed = vault.encrypt(secret, tool_secret_of(tool_id))
    await rotate_tool_secret(conn, user_id, tool_id, sealed, OVERLAP)
    return secret
