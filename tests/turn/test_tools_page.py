"""The server that docs/tools.md shows does what the page says, as its own process."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from db.ids import ChatbotId, ContactId, ConversationId, ToolCallId, ToolId
from db.tool_calls import Calling
from db.tools import OwnTool
from handlers.deliveries.signing import new_secret
from handlers.outbound.addresses import read_allow
from handlers.outbound.guard import Outbound
from handlers.process.secrets import tool_secret_of
from handlers.tools.calling import Caller
from local.servers.daemon import free_ports
from tests.cli import ROOT
from tests.turn.shop import VAULT

SERVER = re.compile(r"```python\n(.*?)```", re.DOTALL)
CALL = Calling(
    id=ToolCallId(91),
    tool_id=ToolId(1),
    tool_name="book_table",
    arguments={"day": "2026-05-31", "people": 4},
    chatbot_id=ChatbotId(7),
    contact_id=ContactId(12),
    conversation_id=ConversationId(15),
    action_id=None,
    tries=1,
    phone_number="+12025550143",
    created_at=datetime(2026, 5, 28, tzinfo=UTC),
)


def tool(secret: str, url: str) -> OwnTool:
    return OwnTool(
        id=ToolId(1),
        name="book_table",
        description="Books a table.",
        parameters={"type": "object"},
        url=url,
        effect="once",
        needs_approval=False,
        timeout_ms=10_000,
        is_active=True,
        secrets=[VAULT.encrypt(secret, tool_secret_of(1))],
    )


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    """Its secret and its address."""
    (code,) = SERVER.findall((ROOT / "docs/tools.md").read_text())
    (tmp_path / "server.py").write_text(code)
    secret, (port,) = new_secret(), free_ports(1)
    env = os.environ | {"TOOL_SECRET": secret, "PORT": str(port)}
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "server.py"), cwd=tmp_path, env=env, stderr=asyncio.subprocess.DEVNULL
    )
    for _ in range(200):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            break
    yield secret, f"http://127.0.0.1:{port}/"
    server.kill()
    await server.wait()


async def test_the_server_of_the_page(served: tuple[str, str]) -> None:
    secret, url = served
    async with Outbound(read_allow("127.0.0.1")[0], connections=8, seconds=10) as outbound:
        caller = Caller(outbound, VAULT)
        ends = await asyncio.gather(*(caller.call(CALL, tool(secret, url)) for _ in range(4)))
        assert {(end.status, end.result) for end in ends} == {
            ("done", '{"table": 7, "day": "2026-05-31"}')
        }
        many: dict[str, Any] = {"day": "2026-05-31", "people": 9}
        refused = await caller.call(
            replace(CALL, id=ToolCallId(92), arguments=many), tool(secret, url)
        )
        assert (refused.status, refused.status_code) == ("failed", 422)
        assert refused.result == '{"error": "eight people are the most"}'
        forged = await caller.call(CALL, tool(new_secret(), url))
        assert (forged.status, forged.status_code) == ("failed", 401)
