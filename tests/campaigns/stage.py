"""A tenant with a template and people, and what workers do about its campaigns."""

import json
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from typing import Any

from db.campaigns import Due
from db.ids import MessageId, Wamid, WorkerId
from db.pool import Conn, Pool, tenant
from db.sends import Pace, claim_sends, lock_send, mark_accepted, mark_sending
from handlers.campaigns.stepping import step_campaigns
from handlers.process.sweeps import Sweep
from tests.api import Answer, Client
from tests.factories import Tenant

BODY = [{"type": "BODY", "text": "Hello {{1}}, 20% off."}]
NAMED = {"body": {"1": {"field": "name", "else": "you"}}}
_numbers = count(1)
PAIR = Pace(every=timedelta(seconds=6), burst=45)


async def make_template(
    owner: Conn, of: Tenant, *, category: str = "MARKETING", name: str = "offer"
) -> int:
    waba = f"waba{of.user_id}"
    await owner.execute("UPDATE chatbots SET waba_id = $2 WHERE id = $1", of.chatbot_id, waba)
    made: int = await owner.fetchval(
        "INSERT INTO message_templates (user_id, waba_id, meta_id, name, language, status,"
        " category, components)"
        " VALUES ($1, $2, $3, $4, 'en', 'APPROVED', $5, $6::text::jsonb) RETURNING id",
        of.user_id,
        waba,
        f"m{next(_numbers)}",
        name,
        category,
        json.dumps(BODY),
    )
    return made


@dataclass
class Stage:
    owner: Conn
    pool: Pool
    client: Client
    of: Tenant
    template_id: int
    sweep: Sweep[Due] | None = None

    async def people(self, many: int, **columns: Any) -> list[int]:
        names = "".join(f", {name}" for name in columns)
        values = "".join(f", ${n}" for n in range(3, 3 + len(columns)))
        rows = await self.owner.fetch(
            f"INSERT INTO contacts (user_id, name, phone_number, wa_id{names})"
            f" SELECT $1, 'Ada ' || n, '+44770' || n, '44770' || n{values}"
            " FROM generate_series($2::int, $2::int + " + str(many - 1) + ") n RETURNING id",
            self.of.user_id,
            1_000_000 + next(_numbers) * 10_000,
            *columns.values(),
        )
        return sorted(row["id"] for row in rows)

    async def made(self, **more: Any) -> int:
        body = {
            "name": "Spring",
            "chatbot_id": self.of.chatbot_id,
            "template_id": self.template_id,
            "parameters": NAMED,
            "rate": 1_000,
        }
        answer = await self.client.post("/campaigns", body | more)
        assert answer.status == 201, answer
        return int(answer.json["id"])

    async def move(self, campaign: int, what: str) -> Answer:
        return await self.client.post(f"/campaigns/{campaign}/{what}")

    async def read(self, campaign: int) -> Any:
        answer = await self.client.get(f"/campaigns/{campaign}")
        assert answer.status == 200, answer
        return answer.json

    async def look(self, times: int = 1) -> None:
        """As the scheduler does."""
        self.sweep = self.sweep or Sweep("campaign")
        for _ in range(times):
            await step_campaigns(self.pool, self.sweep)
            assert not self.sweep.limit(0), "a look failed"

    async def worker(self) -> WorkerId:
        return WorkerId(
            await self.owner.fetchval(
                "INSERT INTO workers (name, beat_at) VALUES ($1, now()) RETURNING id",
                f"w{next(_numbers)}",
            )
        )

    async def send_all(self, worker: WorkerId, status: str = "accepted") -> list[MessageId]:
        """What may leave now leaves, and Meta takes it; or as far as `status`."""
        sent: list[MessageId] = []
        await self.owner.execute("UPDATE send_limits SET full_at = now()")
        async with self.pool.acquire() as conn:
            claims = await claim_sends(conn, worker, 64, 64, PAIR, timedelta(hours=24))
        for claim in claims:
            async with tenant(self.pool, claim.user_id) as conn:
                assert await lock_send(conn, claim.user_id, claim.message_id, worker)
                await mark_sending(conn, claim.user_id, claim.message_id, timedelta(seconds=6))
            async with tenant(self.pool, claim.user_id) as conn:
                wamid = Wamid(f"wamid.{claim.message_id}")
                await mark_accepted(conn, claim.user_id, claim.message_id, wamid)
            sent.append(claim.message_id)
        if status != "accepted":
            await self.owner.execute(
                "UPDATE messages SET status = $2 WHERE id = ANY ($1::bigint[])", sent, status
            )
        return sent

    async def to_the_end(self, campaign: int, looks: int = 100) -> Any:
        worker = await self.worker()
        row: Any = None
        for _ in range(looks):
            await self.look()
            await self.send_all(worker)
            await self.owner.execute("UPDATE campaigns SET full_at = now()")
            row = await self.read(campaign)
            if row["status"] in ("completed", "cancelled", "paused"):
                return row
        raise AssertionError(f"it has no end: {row}")
