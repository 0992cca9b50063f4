"""What a plan does while the product runs: contract, limits, weights, features."""

import asyncio
import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

from db.conversations import claim_conversations
from db.ids import ConversationId, WorkerId
from db.pool import Conn, Pool
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.contracts import keep_contracts
from handlers.ingest.recording import record_batch
from handlers.process.sweeps import Sweep
from handlers.turns.run import run_turn
from handlers.waiting import answer_entered, end_waits, forget_old_waits, let_in
from tests.factories import Tenant
from tests.recording import DEBOUNCE, to, wrote

ME = WorkerId(1)


@dataclass(frozen=True, slots=True)
class House:
    """The product's steps, each done when a test says so."""

    owner: Conn
    pool: Pool
    agent: Agent = field(default_factory=lambda: Agent(Offline()))

    async def write(
        self,
        of: Tenant,
        wamid: str,
        who: str = "13035550111",
        age_s: int = 0,
        name: str | None = None,
    ) -> None:
        """A customer writes."""
        at = round(datetime.now(UTC).timestamp()) - age_s
        person = None if name is None else [{"profile": {"name": name}, "wa_id": who}]
        await record_batch(self.pool, [to(of, wrote(wamid, who, at), contacts=person)], DEBOUNCE)

    async def turns(self) -> int:
        """Every conversation with something to answer has its turn. How many."""
        await self.owner.execute(
            "UPDATE conversations SET ready_at = now() WHERE ready_at IS NOT NULL"
        )
        async with self.pool.acquire() as conn:
            claims = await claim_conversations(conn, ME, 1_000, 1_000)
        await asyncio.gather(*(run_turn(self.pool, self.agent, ME, claim) for claim in claims))
        return len(claims)

    async def scheduler(self) -> None:
        """What time does, once."""
        await keep_contracts(self.pool, Sweep("contract"))
        await let_in(self.pool, Sweep("contacts"))
        await answer_entered(self.pool, Sweep("entered"))
        await end_waits(self.pool, Sweep("wait"))
        await forget_old_waits(self.pool)

    async def became(self, of: Tenant) -> dict[str, str]:
        """Of each inbound message why it has no answer, or 'answered', or 'open'."""
        rows = await self.owner.fetch(
            "SELECT m.message_id, coalesce(m.metadata ->> 'reason', CASE WHEN m.ai_processed"
            " THEN 'answered' WHEN m.input_seq > v.answered_seq THEN 'open' ELSE 'lost' END)"
            " AS what FROM messages m JOIN conversations v ON v.id = m.conversation_id"
            " WHERE m.user_id = $1 AND m.direction = 'inbound' ORDER BY m.id",
            of.user_id,
        )
        return {row["message_id"]: row["what"] for row in rows}

    async def events(self, of: Tenant, like: str) -> list[dict[str, Any]]:
        rows = await self.owner.fetch(
            "SELECT event_type, event_data FROM analytics_events"
            " WHERE user_id = $1 AND event_type LIKE $2 ORDER BY id",
            *(of.user_id, like),
        )
        return [{"type": row["event_type"], **json.loads(row["event_data"])} for row in rows]

    async def contract(self, of: Tenant, **columns: Any) -> None:
        for column, value in columns.items():
            await self.owner.execute(
                f"UPDATE user_subscriptions SET {column} = $2 WHERE user_id = $1 AND is_active",
                *(of.user_id, value),
            )

    async def plan(self, of: Tenant, config: Any) -> None:
        await self.owner.execute(
            "UPDATE user_subscriptions SET subscription_config = $2::text::jsonb"
            " WHERE user_id = $1 AND is_active",
            *(of.user_id, json.dumps(config)),
        )

    async def today(self, of: Tenant) -> date:
        day: date = await self.owner.fetchval(
            "SELECT (now() AT TIME ZONE timezone)::date FROM users WHERE id = $1", of.user_id
        )
        return day

    async def conversation(self, of: Tenant) -> ConversationId:
        found: ConversationId = await self.owner.fetchval(
            "SELECT min(id) FROM conversations WHERE user_id = $1", of.user_id
        )
        return found


def days(count: int) -> timedelta:
    return timedelta(days=count)
