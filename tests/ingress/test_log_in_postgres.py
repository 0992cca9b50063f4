"""POSTs with INGEST_LOG=postgres: durable when committed, refused while the database is away."""

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from db.migrate import migrate
from handlers.ingest.envelope import decode
from local.servers.postgres import Postgres, postgres
from tests.e2e.conftest import until
from tests.ingress import door
from tests.unit.payloads import change, text, value, webhook


@pytest.fixture
async def server() -> AsyncIterator[Postgres]:
    """One that may be killed."""
    async with postgres() as server:
        await migrate(server.url, server.url, lambda line: None)
        yield server


def payload(wamid: str) -> Any:
    return webhook(change(value(messages=[text(id=wamid, from_user_id=f"US.{wamid}")])))


async def kept(server: Postgres) -> set[str]:
    conn = await asyncpg.connect(server.url)
    rows = await conn.fetch("SELECT body FROM ingest_entries")
    await conn.close()
    return {update.raw["id"] for row in rows for update in decode(row["body"]).updates}


async def test_200_means_committed_whatever_happens_to_the_database(server: Postgres) -> None:
    async with door(server.url, server.url) as opened:
        await opened.ready()
        durable = set()
        for n in range(40):
            answer = await opened.post(payload(f"wamid.{n}"))
            assert answer.status == 200
            durable.add(f"wamid.{n}")
        await server.crash()
        refused = await opened.post(payload("wamid.away"))
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        ready = await until(lambda: opened.get("/readyz"), lambda a: a.status == 503)
        reasons = json.loads(ready.text)["reasons"]
        assert reasons == {"postgresql": "not connected to PostgreSQL"}
        assert (await opened.post(payload("wamid.away"))).text == (
            "not durable now: not connected to PostgreSQL"
        )
        await server.start()
        await opened.ready()
        assert await kept(server) == durable
        answer = await until(lambda: opened.post(payload("wamid.40")), lambda a: a.status == 200)
        assert await kept(server) == durable | {"wamid.40"}


async def test_a_log_without_its_table_is_not_ready(server: Postgres) -> None:
    """The schema of an earlier release: nothing is promised until `migrate` was run."""
    conn = await asyncpg.connect(server.url)
    await conn.execute("ALTER TABLE ingest_entries RENAME TO not_yet")
    async with door(server.url, server.url) as opened:
        assert (await opened.post(payload("wamid.1"))).status == 503
        await conn.execute("ALTER TABLE not_yet RENAME TO ingest_entries")
        await opened.ready()
        assert (await opened.post(payload("wamid.1"))).status == 200
    await conn.close()
