"""What a turn does about time, and what it shows meanwhile."""

import asyncio
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from db.conversations import Claim, claim_conversations, read_turn
from db.ids import Wamid, WorkerId
from db.pool import Conn, Pool, tenant
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.process.secrets import Vault
from handlers.rules.window import STALE_AFTER, WINDOW, WINDOW_MARGIN, is_open, is_stale
from handlers.sends.tokens import Tokens
from handlers.turns.presence import AT_ONCE, Presence
from handlers.turns.run import run_turn
from handlers.turns.thinking import TURN_TIMEOUT_S
from handlers.turns.write import WRITE_PATIENCE_S
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from simulator.app import create_app
from simulator.client import Simulator
from tests.e2e.conftest import until
from tests.factories import make_conversation, make_message, make_tenant

ME = WorkerId(1)
SECOND = timedelta(seconds=1)


def test_the_window_closes_a_little_before_metas() -> None:
    assert is_open(WINDOW - WINDOW_MARGIN - SECOND)
    assert not is_open(WINDOW - WINDOW_MARGIN)
    assert not is_open(None)


def test_what_is_answered_can_also_be_sent() -> None:
    assert not is_stale(STALE_AFTER)
    assert is_stale(STALE_AFTER + SECOND)
    longest = timedelta(seconds=TURN_TIMEOUT_S + WRITE_PATIENCE_S)
    assert is_open(STALE_AFTER + 6 * longest)


async def waiting(owner: Conn, pool: Pool, **columns: Any) -> Claim:
    """A claimed conversation with one input."""
    user = await make_tenant(owner)
    who = await make_conversation(owner, user, input_seq=1, **columns)
    await make_message(
        *(owner, user, *who), direction="inbound", status="received", wamid="w.1", input_seq=1
    )
    await owner.execute("UPDATE conversations SET ready_at = now()")
    async with pool.acquire() as conn:
        (claim,) = await claim_conversations(conn, ME, 1, 100)
    return claim


@pytest.mark.parametrize("template", [False, True])
async def test_a_reply_is_not_queued_outside_the_window(
    pool: Pool, owner: Conn, template: bool
) -> None:
    claim = await waiting(owner, pool)
    await owner.execute("UPDATE conversations SET last_inbound_at = now() - interval '24 h'")
    if template:
        await owner.execute(
            'UPDATE chatbots SET window_template = \'{"name": "again", "language": "en"}\''
        )
    await run_turn(pool, Agent(Offline()), ME, claim)
    rows = await owner.fetch(
        "SELECT status, message_type, usage_day IS NOT NULL AS counted FROM messages"
        " WHERE direction = 'outbound' ORDER BY id"
    )
    late = [("cancelled", "text", False)]
    assert [tuple(row) for row in rows] == (
        [*late, ("queued", "template", True)] if template else late
    )
    assert await owner.fetchval("SELECT count(*) FROM dead_sends") == (0 if template else 1)
    assert await owner.fetchval("SELECT daily_messages_sent FROM usage_tracking") == int(template)
    assert await owner.fetchval("SELECT rebuild_thread FROM conversations")


@pytest.mark.parametrize(
    "wrong",
    [
        "[]",
        "{}",
        '{"name": "again"}',
        '{"name": "Has Blanks", "language": "en"}',
        '{"name": "again", "language": "x"}',
    ],
)
async def test_a_template_has_a_name_and_a_language(owner: Conn, wrong: str) -> None:
    await make_tenant(owner)
    with pytest.raises(Exception, match="chatbots_window_template_form"):
        await owner.execute("UPDATE chatbots SET window_template = $1::text::jsonb", wrong)


async def _at_work(presence: Presence) -> int:
    return presence.at_work


async def test_typing_is_shown_again_while_the_turn_thinks_and_delays_nothing(
    pool: Pool, owner: Conn
) -> None:
    claim = await waiting(owner, pool)
    async with tenant(pool, claim.user_id) as conn:
        context = await read_turn(conn, claim.user_id, claim.conversation_id, ME, claim.epoch)
    assert context is not None
    assert context.phone_number_id is not None
    async with (
        TestServer(create_app()) as server,
        Simulator(str(server.make_url("/"))) as meta,
        aiohttp.ClientSession() as http,
    ):
        await meta.config(webhook_url=f"{meta.url}/tenant/ingress")
        await meta.say(context.phone_number_id, "+12025550178", "hello", wamids=["w.1"])
        tokens = Tokens(Vault(("a-key-of-sixteen-characters",)), "shared")
        presence = Presence(GraphApi(http, meta.url, "v25.0"), tokens, refresh_s=0.2)
        began = time.monotonic()
        async with presence.shown(context, Wamid("w.1")):
            await until(lambda: meta.log("typing"), lambda seen: len(seen) >= 2)
        thought_s = time.monotonic() - began
        await until(lambda: _at_work(presence), lambda calls: calls == 0)
        shown = len(await meta.log("typing"))
        assert 2 <= shown <= 1 + thought_s / 0.2
        for odd in (
            replace(context, attempts=1),
            replace(context, phone_number_id=None),
        ):
            async with presence.shown(odd, Wamid("w.1")):
                await asyncio.sleep(0.1)
        await asyncio.sleep(0.3)
        assert len(await meta.log("typing")) == shown

        # Somebody who never answers holds nobody up, and not more calls than there is room for.
        deaf = await asyncio.start_server(lambda _, __: asyncio.sleep(60), "127.0.0.1", 0)
        port = deaf.sockets[0].getsockname()[1]
        presence = Presence(GraphApi(http, f"http://127.0.0.1:{port}", "v25.0"), tokens)
        began = time.monotonic()
        for _ in range(AT_ONCE + 10):
            async with presence.shown(context, Wamid("w.1")):
                pass
        assert time.monotonic() - began < 1
        assert presence.at_work == AT_ONCE
        deaf.close()
