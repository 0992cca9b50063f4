"""A shop whose bot asks the simulator's model, and customers who write to it."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from langchain_core.messages import AIMessage, AnyMessage

from db.conversations import claim_conversations
from db.ids import ContactId, ConversationId, MessageId, WorkerId
from db.pool import Conn, Pool
from handlers.agent.answerer import NoAnswer
from handlers.agent.breaker import Breaker
from handlers.agent.graph import Agent
from handlers.agent.model import Model
from handlers.agent.own_models import Installed, OwnModels
from handlers.agent.prompt import Briefing
from handlers.agent.tools import Toolbox
from handlers.fixed.choices import choice_of
from handlers.outbound.addresses import read_allow
from handlers.outbound.guard import Outbound
from handlers.process.secrets import Vault
from handlers.tools.calling import Caller
from handlers.turns.run import run_turn
from handlers.whatsapp.cloud_api.notes import content_of
from simulator.app import create_app
from simulator.client import Simulator
from tests.factories import Tenant, make_conversation, make_message, make_tenant

ME = WorkerId(1)
VAULT = Vault(("a key of the tests",))
HOURS = ("When are you open?", "From 7 to 18.")
Who = tuple[ContactId, ConversationId]


@dataclass(slots=True)
class Noted:
    """A model, and how its last question ended."""

    model: Model
    none: NoAnswer | None = None

    @property
    def name(self) -> str:
        return self.model.name

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        self.none = None
        try:
            return await self.model.answer(briefing, messages, tools, may_call)
        except NoAnswer as none:
            self.none = none
            raise


@dataclass(slots=True)
class Turn:
    said: list[str]  # replies only: what becomes of a turn without one is not this package's
    none: NoAnswer | None
    requests: list[dict[str, Any]]  # to the model, in order
    failed: bool
    due: bool  # the turn comes again
    with_a_person: bool


@dataclass(slots=True)
class Shop:
    owner: Conn
    pool: Pool
    simulator: Simulator
    tenant: Tenant
    model: Noted
    agent: Agent
    written: int = field(default=0)

    async def customer(self) -> Who:
        return await make_conversation(self.owner, self.tenant)

    async def knows(self, *rows: tuple[str, str]) -> None:
        await self.owner.executemany(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
            " VALUES ($1, $2, $3, $4)",
            [(self.tenant.user_id, self.tenant.chatbot_id, *row) for row in rows],
        )

    async def writes(self, who: Who, text: str) -> MessageId:
        """The customer does."""
        self.written += 1
        seq = await self.owner.fetchval(
            "UPDATE conversations SET input_seq = input_seq + 1, ready_at = now(),"
            " taken_over_until = taken_over_until - interval '1 h' WHERE id = $1"
            " RETURNING input_seq",
            who[1],
        )
        return await make_message(
            *(self.owner, self.tenant, *who),
            direction="inbound",
            status="received",
            wamid=f"w.{self.written}",
            input_seq=seq,
            text=text,
        )

    async def sends(self, who: Who, kind: str, content: dict[str, Any]) -> MessageId:
        """Something besides a text, as it is recorded of a webhook."""
        read = content_of(kind, {"type": kind, kind: content})
        message_id = await self.writes(who, read.text)
        await self.owner.execute(
            "UPDATE messages SET message_type = $2, metadata = $3 WHERE id = $1",
            *(message_id, kind, json.dumps({"details": read.details})),
        )
        return message_id

    async def presses(self, who: Who, choice: str, title: str) -> MessageId:
        reply = {"type": "button_reply", "button_reply": {"id": choice, "title": title}}
        return await self.sends(who, "interactive", reply)

    async def turn(self, who: Who, *texts: str) -> Turn:
        """The customer writes, and the bot answers or does not."""
        for text in texts:
            await self.writes(who, text)
            if choice_of(text) == "stop":  # as it is taken down when it comes in
                await self.owner.execute(
                    "UPDATE contacts SET marketing_choice = 'stop', marketing_choice_at = now()"
                    " WHERE id = $1",
                    who[0],
                )
        await self.owner.execute(
            "UPDATE conversations SET ready_at = CASE WHEN id = $1 THEN now() END", who[1]
        )
        entries = await self.simulator.log()
        since = entries[-1]["seq"] if entries else 0
        last = await self.owner.fetchval("SELECT coalesce(max(id), 0) FROM messages")
        async with self.pool.acquire() as conn:
            (claim,) = await claim_conversations(conn, ME, 1, 100)
        self.model.model.breaker = Breaker()  # each turn by itself
        await run_turn(self.pool, self.agent, ME, claim)
        replies = await self.owner.fetch(
            "SELECT content_text FROM messages WHERE id > $1 AND metadata ->> 'kind' = 'reply'"
            " ORDER BY id",
            last,
        )
        (state,) = await self.owner.fetch(
            "SELECT attempts > 0 AS failed, ready_at IS NOT NULL AS due,"
            " coalesce(taken_over_until > now(), false) AS with_a_person"
            " FROM conversations WHERE id = $1",
            who[1],
        )
        return Turn(
            said=[row[0] for row in replies],
            none=self.model.none,
            requests=[e["request"] for e in await self.simulator.log("model", since=since)],
            **dict(state),
        )

    async def requested(self) -> list[dict[str, Any]]:
        rows = await self.owner.fetch(
            "SELECT request_type, request_details, context_data FROM actions ORDER BY id"
        )
        return [dict(row) | {"context_data": json.loads(row["context_data"])} for row in rows]


@asynccontextmanager
async def open_shop(
    pool: Pool, owner: Conn, allow: str = "127.0.0.1", **tenant: Any
) -> AsyncIterator[Shop]:
    """`allow`: OUTBOUND_ALLOW, for models of the chatbot's own."""
    runner = web.AppRunner(create_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with (
        Simulator(url) as simulator,
        aiohttp.ClientSession(auto_decompress=False) as session,
        Outbound(read_allow(allow)[0], connections=10, seconds=45) as outbound,
    ):
        model = Noted(Model.create("some-model", "sk-1", f"{url}/v1", session))
        made = await make_tenant(owner, daily=10_000, monthly=100_000, **tenant)
        ours = Installed("some-model", "sk-1", f"{url}/v1", session)
        own = OwnModels(ours, outbound.session, VAULT)
        caller = Caller(outbound, VAULT)
        shop = Shop(owner, pool, simulator, made, model, Agent(model, None, own, caller=caller))
        await shop.knows(HOURS)
        yield shop
    await runner.cleanup()
