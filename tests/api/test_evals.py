"""A suite is run as a job: its result, that it is run once, and that limits hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from db import evals
from db.evals import (
    LostEval,
    NewEval,
    Running,
    Wanted,
    create_eval,
    reserve_eval_tokens,
    settle_eval_tokens,
)
from db.ids import WorkerId
from db.jobs import JobClaim, claim_job
from db.pool import Conn, Pool, tenant
from db.reconcile import recount
from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.model import Model
from handlers.agent.offline import Offline
from handlers.deletion.begin import delete_chatbot
from handlers.erasure.begin import erase_contact
from handlers.evals import work
from handlers.evals.house import clear_evals, forget_old_evals
from handlers.evals.work import do_eval
from handlers.exports.work import Lost
from handlers.process.sweeps import Sweep
from ingress.api.resources.evals import OPEN_MAX
from simulator.client import Simulator
from tests.api import Client
from tests.api.asking import MODEL, answering, simulated
from tests.api.conftest import Connect
from tests.conftest import Database
from tests.deletion import finish
from tests.e2e.conftest import until
from tests.factories import Tenant, make_conversation, make_tenant
from worker.jobs import KINDS
from worker.liveness import TERM

HOURS = ("When are you open?", "From 7:00 to 18:00.")
SUITE = """
bot: Luma
cases:
  - name: hours
    turns:
      - say: When are you open?
        expect: {contains_all: ["18:00"]}
  - name: midnight
    turns:
      - say: When are you open?
        expect: {contains_all: [midnight]}
"""


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


@pytest.fixture
async def path(owner: Conn, ours: Tenant) -> str:
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " VALUES ($1, $2, $3, $4)",
        *(ours.user_id, ours.chatbot_id, *HOURS),
    )
    return f"/chatbots/{ours.chatbot_id}/evals"


def cases(*texts: str, expect: str = "{silent: false}") -> str:
    told = "\n".join(
        f"  - {{name: case {n}, turns: [{{say: {text}, expect: {expect}}}]}}"
        for n, text in enumerate(texts)
    )
    return f"bot: Luma\ncases:\n{told}\n"


@asynccontextmanager
async def modelled(simulator: Simulator) -> AsyncIterator[Agent]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        model = await asyncio.to_thread(Model.create, MODEL, "sk-1", f"{simulator.url}/v1", session)
        yield Agent(model)


async def a_worker(owner: Conn) -> WorkerId:
    return WorkerId(await owner.fetchval("INSERT INTO workers (name) VALUES ('w') RETURNING id"))


async def claimed(pool: Pool, owner: Conn) -> JobClaim:
    by = await a_worker(owner)
    async with pool.acquire() as conn:
        job = await claim_job(conn, by, TERM, KINDS)
    assert job is not None
    return job


async def done(pool: Pool, owner: Conn, answerer: Answerer | None = None) -> None:
    """All that waits."""
    agent, by = Agent(answerer or Offline()), await a_worker(owner)
    while True:
        async with pool.acquire() as conn:
            job = await claim_job(conn, by, TERM, KINDS)
        if job is None:
            return
        await do_eval(pool, agent, job)


async def a_run(pool: Pool, of: Tenant) -> Running:
    """Of a command."""
    new = NewEval(
        chatbot_id=of.chatbot_id,
        job_id=None,
        name="x",
        suite=None,
        repeat=1,
        total=1,
        budget=None,
        is_draft=False,
    )
    async with tenant(pool, of.user_id) as conn:
        return Running(of.user_id, await create_eval(conn, of.user_id, new), 1)


async def used(owner: Conn) -> int:
    tokens: int = await owner.fetchval(
        "SELECT coalesce(sum(test_tokens_used), 0)::bigint FROM usage_tracking"
    )
    return tokens


async def nothing_held(owner: Conn, of: Tenant) -> None:
    assert await owner.fetchval("SELECT count(*) FROM eval_holds") == 0
    assert [one for one in await recount(owner, of.user_id) if one.what.why is None] == []


# ---- its way -------------------------------------------------------------------------------------


async def test_from_the_request_to_what_fell(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, path: str
) -> None:
    begun = await client.post(path, {"suite": SUITE}, Idempotency_Key="k")
    assert (begun.status, begun.json["status"]) == (202, "queued")
    eval_id, job = begun.json["id"], begun.headers["Location"].removeprefix("/v1")
    assert job.startswith("/jobs/")
    again = await client.post(path, {"suite": SUITE}, Idempotency_Key="k")
    assert (again.status, again.json) == (202, begun.json)
    await done(pool, owner)
    shown = (await client.get(f"/evals/{eval_id}")).json
    assert (shown["status"], shown["passed"], shown["failed"]) == ("done", 1, 1)
    assert [(c["name"], c["passed"]) for c in shown["cases"]] == [
        ("hours", True),
        ("midnight", False),
    ]
    assert shown["cases"][1]["result"]["findings"][0]["check"] == "contains_all"
    assert shown["fell"] is None
    told = (await client.get(job)).json
    assert (told["status"], told["done"], told["total"]) == ("done", 2, 2)
    assert told["report"] == {
        "eval_id": eval_id,
        "status": "done",
        "passed": 1,
        "failed": 1,
        "tokens": 0,
    }
    await owner.execute("UPDATE bot_knowledge_base SET answer = 'Never.'")
    later = await client.post(path, {"suite": SUITE, "repeat": 2})
    await done(pool, owner)
    shown = (await client.get(f"/evals/{later.json['id']}")).json
    assert (shown["fell"], shown["repeat"]) == (["hours"], 2)
    listed = (await client.get(path)).json["data"]
    assert [one["id"] for one in listed] == [later.json["id"], eval_id]
    assert await owner.fetchval("SELECT count(*) FROM evals WHERE suite IS NOT NULL") == 0


async def test_all_that_is_wrong_with_a_suite_is_told_with_its_lines(
    client: Client, path: str, owner: Conn
) -> None:
    answer = await client.post(path, {"suite": "bot: L\nrepeat: x\ncases: [1]"})
    assert (answer.status, answer.problem) == (400, "invalid_request")
    told = [one["detail"] for one in answer.json["errors"]]
    assert [one.split(":")[0] for one in told] == ["line 2", "line 3"]
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 0


async def test_another_tenants_chatbot_and_run_are_not_there(
    owner: Conn, client: Client, connect: Connect, path: str
) -> None:
    theirs = await connect(await make_tenant(owner))
    assert (await theirs.post(path, {"suite": SUITE})).status == 404
    begun = await client.post(path, {"suite": SUITE})
    assert (await theirs.get(f"/evals/{begun.json['id']}")).status == 404
    assert (await theirs.get(path)).status == 404
    assert (await theirs.get(begun.headers["Location"].removeprefix("/v1"))).status == 404


async def test_a_few_wait_at_once(client: Client, path: str) -> None:
    for _ in range(OPEN_MAX):
        assert (await client.post(path, {"suite": SUITE})).status == 202
    answer = await client.post(path, {"suite": SUITE})
    assert (answer.status, answer.problem) == (409, "limit_reached")


async def test_a_worker_of_the_release_before_leaves_runs_alone(
    pool: Pool, owner: Conn, client: Client, path: str
) -> None:
    await client.post(path, {"suite": SUITE})
    by = await a_worker(owner)
    async with pool.acquire() as conn:
        assert await conn.fetch("SELECT * FROM claim_job($1, $2)", by, TERM) == []


# ---- whoever dies --------------------------------------------------------------------------------


async def test_who_lost_the_run_writes_nothing_and_no_case_is_there_twice(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator
) -> None:
    await client.post(path, {"suite": cases("quick", "slow")})
    await simulator.rules({"match": "slow", "latency_ms": 5_000, "times": 1})
    async with modelled(simulator) as agent:
        old = asyncio.create_task(do_eval(pool, agent, await claimed(pool, owner)))

        async def kept() -> int:
            found: int = await owner.fetchval("SELECT count(*) FROM eval_cases")
            return found

        await until(kept, lambda n: n == 1)
        await owner.execute("DELETE FROM workers")
        await do_eval(pool, agent, await claimed(pool, owner))
        with pytest.raises(Lost):
            await old
    rows = await owner.fetch("SELECT name, passed FROM eval_cases ORDER BY place")
    assert [tuple(row) for row in rows] == [("case 0", True), ("case 1", True)]
    run = await owner.fetchrow("SELECT status, passed, failed, tokens FROM evals")
    assert run is not None
    assert tuple(run) == ("done", 2, 0, await used(owner))
    asked = len(await simulator.log("model"))
    assert asked == 3, "the slow one twice"
    calls = await owner.fetchval("SELECT sum(calls)::int FROM model_calls WHERE kind = 'eval'")
    assert calls == asked, "what the lost one had asked is counted too"
    await nothing_held(owner, ours)


async def test_slices_give_way_and_go_on(
    pool: Pool, owner: Conn, client: Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "SLICE_S", -1.0)
    await client.post(path, {"suite": SUITE})
    await do_eval(pool, Agent(Offline()), await claimed(pool, owner))
    assert await owner.fetchval("SELECT status FROM jobs") == "queued"
    monkeypatch.setattr(work, "SLICE_S", 20.0)
    await done(pool, owner)
    assert await owner.fetchval("SELECT attempts FROM jobs") == 0
    assert await owner.fetchval("SELECT count(*) FROM eval_cases") == 2


async def test_a_command_that_died_is_ended_and_what_it_asked_is_counted(
    pool: Pool, owner: Conn, ours: Tenant
) -> None:
    run = await a_run(pool, ours)
    wanted = Wanted(model=MODEL, asked=40, least=50, most=100)
    async with tenant(pool, ours.user_id) as conn:
        held = await reserve_eval_tokens(conn, run, 0, wanted)
        assert (held.outcome, held.granted) == ("granted", 100)
    sweep: Sweep[LostEval] = Sweep("lost_eval")
    await clear_evals(pool, sweep)
    assert await owner.fetchval("SELECT status FROM evals") == "running"
    await owner.execute("UPDATE evals SET held_until = now() - interval '1 s'")
    await clear_evals(pool, sweep)
    row = await owner.fetchrow("SELECT status, reason, tokens FROM evals")
    assert row is not None
    assert tuple(row) == ("failed", "abandoned", 40)
    assert await used(owner) == 40
    await nothing_held(owner, ours)


# ---- limits --------------------------------------------------------------------------------------


async def test_runs_and_asks_together_never_pass_the_plans_limit(
    pool: Pool, owner: Conn, database: Database, connect: Connect, simulator: Simulator
) -> None:
    limit = 6_000
    ours = await make_tenant(owner, config=f'{{"limits": {{"max_test_tokens_per_day": {limit}}}}}')
    client = await connect(ours)
    texts = [f"question {n}" for n in range(12)]
    await client.post(f"/chatbots/{ours.chatbot_id}/evals", {"suite": cases(*texts)})

    async def ask() -> int:
        answer = await client.post(f"/chatbots/{ours.chatbot_id}/ask", {"question": "x"})
        return answer.status

    async with answering(database, simulator), modelled(simulator) as agent:
        running = asyncio.create_task(do_eval(pool, agent, await claimed(pool, owner)))
        statuses = await asyncio.gather(*(ask() for _ in range(4)))
        await running
    assert set(statuses) <= {200, 409, 504}
    run = await owner.fetchrow("SELECT status, reason, passed FROM evals")
    assert run is not None
    assert tuple(run)[:2] in (("stopped", "limit_reached"), ("stopped", "limit_held"))
    assert 0 < await used(owner) <= limit
    assert run["passed"] == await owner.fetchval("SELECT count(*) FROM eval_cases")
    await nothing_held(owner, ours)


async def test_cases_at_once_hold_no_more_than_there_is(pool: Pool, owner: Conn) -> None:
    ours = await make_tenant(owner, config='{"limits": {"max_test_tokens_per_day": 250}}')
    run = await a_run(pool, ours)
    wanted = Wanted(model=MODEL, asked=40, least=60, most=100)
    outcomes = []
    for place in range(4):
        async with tenant(pool, ours.user_id) as conn:
            held = await reserve_eval_tokens(conn, run, place, wanted)
        outcomes.append((held.outcome, held.granted))
    assert outcomes == [("granted", 100), ("granted", 100), ("held", 50), ("held", 50)]
    async with tenant(pool, ours.user_id) as conn:
        assert await settle_eval_tokens(conn, run, 0, 0, 90) is not None
        assert await settle_eval_tokens(conn, run, 0, 0, 90) is None, "once a step"
        assert await settle_eval_tokens(conn, run, 1, 0, 10) is not None
        assert (await reserve_eval_tokens(conn, run, 2, wanted)).outcome == "granted"
    assert await owner.fetchval("SELECT tokens FROM evals") == 100


async def test_nothing_is_begun_once_the_days_tokens_are_used_up(
    owner: Conn, connect: Connect
) -> None:
    ours = await make_tenant(owner, config='{"limits": {"max_test_tokens_per_day": 0}}')
    client = await connect(ours)
    answer = await client.post(f"/chatbots/{ours.chatbot_id}/evals", {"suite": SUITE})
    assert (answer.status, answer.problem) == (409, "limit_reached")


# ---- what goes -----------------------------------------------------------------------------------


@dataclass
class Under:
    """A run that is under way, at a model that takes its time."""

    task: asyncio.Task[None]

    async def is_lost(self) -> None:
        with pytest.raises(Lost):
            await self.task


@asynccontextmanager
async def under_way(
    pool: Pool, owner: Conn, client: Client, path: str, simulator: Simulator
) -> AsyncIterator[Under]:
    await simulator.config(model_latency_ms=5_000)
    await client.post(path, {"suite": cases("x")})
    async with modelled(simulator) as agent:
        task = asyncio.create_task(do_eval(pool, agent, await claimed(pool, owner)))

        async def asked() -> list[Any]:
            return await simulator.log("model")

        async def held() -> int:
            found: int = await owner.fetchval("SELECT count(*) FROM eval_holds")
            return found

        await until(held, lambda n: n == 1)
        yield Under(task)


async def test_with_its_chatbot_it_ends_and_its_tokens_are_counted(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator
) -> None:
    async with under_way(pool, owner, client, path, simulator) as run:
        async with tenant(pool, ours.user_id) as conn:
            await delete_chatbot(conn, ours.user_id, ours.chatbot_id, lambda _: None)
        await finish(pool, owner)
        await run.is_lost()
    assert await owner.fetchval("SELECT count(*) FROM evals") == 0
    job = await owner.fetchrow("SELECT status, report FROM jobs")
    assert job is not None
    assert (job["status"], job["report"]) == ("failed", '{"problem": "chatbot_deleted"}')
    assert await used(owner) > 0
    await nothing_held(owner, ours)


async def test_an_erasure_ends_what_runs_and_takes_the_words_of_what_ran(
    pool: Pool, owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator
) -> None:
    await client.post(path, {"suite": SUITE})
    await done(pool, owner)
    contact, _ = await make_conversation(owner, ours)
    async with under_way(pool, owner, client, path, simulator) as run:
        async with tenant(pool, ours.user_id) as conn:
            assert await erase_contact(conn, ours.user_id, contact)
        await run.is_lost()
    rows = await owner.fetch("SELECT status, reason, passed, failed FROM evals ORDER BY id")
    assert [tuple(row) for row in rows] == [("done", None, 1, 1), ("failed", "person_erased", 0, 0)]
    assert await owner.fetchval("SELECT count(*) FROM evals WHERE suite IS NOT NULL") == 0
    assert await owner.fetchval("SELECT count(*) FROM eval_cases WHERE result IS NOT NULL") == 0
    assert await owner.fetchval("SELECT count(*) FROM eval_cases WHERE passed") == 1


async def test_old_runs_are_forgotten_with_their_jobs(
    pool: Pool, owner: Conn, client: Client, path: str
) -> None:
    await client.post(path, {"suite": SUITE})
    await done(pool, owner)
    await client.post(path, {"suite": SUITE})
    for table in ("jobs", "evals"):
        await owner.execute(
            f"UPDATE {table} SET created_at = now() - interval '91 days' WHERE id ="
            f" (SELECT min(id) FROM {table})"
        )
    await forget_old_evals(pool)
    assert await owner.fetchval("SELECT count(*) FROM evals") == 1
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 1
    assert await owner.fetchval("SELECT count(*) FROM eval_cases") == 0


async def test_of_a_chatbot_the_last_runs_are_kept_with_their_jobs(
    pool: Pool,
    owner: Conn,
    client: Client,
    path: str,
    ours: Tenant,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evals, "RUNS_KEPT", 2)
    other = await make_tenant(owner)
    kept = await a_run(pool, other)
    waits = await a_run(pool, ours)
    made = []
    for _ in range(4):
        made.append((await client.post(path, {"suite": SUITE})).json["id"])
        await done(pool, owner)
    left = [row["id"] for row in await owner.fetch("SELECT id FROM evals ORDER BY id")]
    # What is under way stays, and so does the other tenant's.
    assert left == [kept.id, waits.id, *made[2:]]
    assert await owner.fetchval("SELECT count(*) FROM jobs") == 2
    assert await owner.fetchval("SELECT count(DISTINCT eval_id) FROM eval_cases") == 2
