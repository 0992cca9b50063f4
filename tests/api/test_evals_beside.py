"""Runs of suites wait for models that tenants choose; nobody else waits for them."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from db.pool import Conn, Pool
from handlers.agent.offline import Offline
from handlers.evals import running
from handlers.media_store.local import Directory
from tests.api import Client
from tests.api.asking import MODEL, answering, simulated
from tests.api.test_evals import cases, done
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant
from worker.jobs import jobs
from worker.settings import read


async def test_an_export_does_not_wait_for_a_model_that_takes_its_time(
    database: Database, owner: Conn, client: Client, ours: Tenant, tmp_path: Path
) -> None:
    async with simulated() as simulator, answering(database, simulator) as running_worker:
        await simulator.config(model_latency_ms=40_000)
        settings = read(
            {
                "DATABASE_URL": database.runtime_url,
                "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/",
                "OPENAI_MODEL": MODEL,
                "OPENAI_API_KEY": "sk-1",
                "OPENAI_BASE_URL": f"{simulator.url}/v1",
                "SECRETS_KEY": "a key of the tests: long enough",
            }
        )
        worker = replace(running_worker.worker, settings=settings, store=Directory(tmp_path))
        role = asyncio.create_task(jobs(worker))
        begun = await client.post(f"/chatbots/{ours.chatbot_id}/evals", {"suite": cases("x")})

        async def held() -> int:
            found: int = await owner.fetchval("SELECT count(*) FROM eval_holds")
            return found

        await until(held, lambda n: n == 1)
        export = (await client.post("/exports", {"what": "messages"})).json

        async def exported() -> str:
            return str((await client.get(f"/exports/{export['id']}")).json["status"])

        await until(exported, lambda status: status == "ready")
        run = (await client.get(f"/evals/{begun.json['id']}")).json
        assert run["status"] == "running", "the model has not answered"
        worker.stop.set()
        await role


async def test_a_case_that_takes_too_long_has_failed_and_the_rest_of_it_is_not_asked(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CASE_S", 0.0)
    turn = "{say: hi, expect: {silent: false}}"
    suite = f"""
bot: Luma
cases:
  - {{name: long, turns: [{turn}, {turn}]}}
  - {{name: short, turns: [{turn}]}}
"""
    path = f"/chatbots/{ours.chatbot_id}/evals"
    once, twice = [
        (await client.post(path, {"suite": suite, "repeat": n})).json["id"] for n in (1, 2)
    ]
    await done(pool, owner, Offline())
    seen = (await client.get(f"/evals/{once}")).json["cases"]
    assert [(case["name"], case["passed"]) for case in seen] == [("long", False), ("short", True)]
    assert len(seen[0]["result"]["turns"]) == 1
    assert [one["check"] for one in seen[0]["result"]["findings"]] == ["time"]
    seen = (await client.get(f"/evals/{twice}")).json["cases"]
    assert [(case["passed"], case["result"]["runs"]) for case in seen] == [(False, 1), (False, 1)]
