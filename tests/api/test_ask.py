"""What a chatbot would answer now: the answer, and that nothing else comes of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from db.pool import Conn, Pool
from db.reconcile import recount
from handlers.agent.offline import Offline
from handlers.asks.forgetting import forget_old_asks
from handlers.plans import Limit
from ingress.api.resources.asks import OPEN_MAX
from simulator.client import Simulator
from tests.api import Client, make_key
from tests.api.asking import MODEL, answering, simulated
from tests.api.conftest import Connect
from tests.api.test_plan import give
from tests.conftest import Database
from tests.deletion import finish
from tests.e2e.conftest import until
from tests.factories import Tenant, make_tenant
from tests.ingress import DEAD_BROKER, Door, door

HOURS = ("When are you open?", "From 7 to 18.")
BROKEN = ("My cake is broken, I want my money back", "A person will look at it.")
WAIT = timedelta(seconds=15)


@pytest.fixture
async def api(database: Database) -> AsyncIterator[Door]:
    """With somebody who answers, most of the time, and time to do it."""
    async with door(DEAD_BROKER, database.runtime_url, ask_wait=WAIT) as opened:
        yield opened


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


@pytest.fixture
async def worker(database: Database, simulator: Simulator) -> AsyncIterator[None]:
    async with answering(database, simulator):
        yield


@pytest.fixture
async def path(owner: Conn, ours: Tenant) -> str:
    for row in (HOURS, BROKEN):
        await knows(owner, ours, row)
    return f"/chatbots/{ours.chatbot_id}/ask"


async def knows(owner: Conn, of: Tenant, row: tuple[str, str], category: str | None = None) -> int:
    row_id: int = await owner.fetchval(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer, category)"
        " VALUES ($1, $2, $3, $4, $5) RETURNING id",
        *(of.user_id, of.chatbot_id, *row, category),
    )
    return row_id


async def counts(owner: Conn) -> dict[str, int]:
    """Of every table's rows."""
    tables = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
    )
    return {t[0]: await owner.fetchval(f"SELECT count(*) FROM {t[0]}") for t in tables}


async def used(owner: Conn) -> int:
    tokens: int = await owner.fetchval(
        "SELECT coalesce(sum(test_tokens_used), 0)::bigint FROM usage_tracking"
    )
    return tokens


async def assert_nothing_held(owner: Conn, of: Tenant) -> None:
    async def held() -> int:
        found: int = await owner.fetchval("SELECT sum(reserved_tokens)::bigint FROM asks")
        return found

    await until(held, lambda n: n == 0)
    assert [one for one in await recount(owner, of.user_id) if one.what.why is None] == []


def tokens_of(answer: Any) -> int:
    return int(answer.json["tokens"]["input"] + answer.json["tokens"]["output"])


# ---- the answer ----------------------------------------------------------------------------------


async def test_the_answer_its_rows_tools_and_tokens(
    owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator, worker: None
) -> None:
    before = await counts(owner)
    arguments = {"type": "refund", "details": "12 EUR of order 7", "context": {"order": 7}}
    await simulator.rules(
        {
            "match": "money back",
            "tool_calls": [{"name": "request_human_action", "arguments": arguments}],
            "times": 1,
        },
        {"tool_match": "^pending", "reply": "A person will **decide** that."},
    )
    answer = await client.post(path, {"question": "I want my money back!"})
    assert answer.status == 200
    assert answer.json["answer"] == "A person will *decide* that.", "as it would be sent"
    assert answer.json["tools"] == [{"name": "request_human_action", "arguments": arguments}]
    assert answer.json["model"] == MODEL
    assert answer.json["knowledge"][0]["question"] == BROKEN[0]
    assert 0 < answer.json["knowledge"][0]["score"] <= 1
    asked = [entry["request"] for entry in await simulator.log("model")]
    assert len(asked) == 2
    assert answer.json["tokens"]["input"] > 0 < answer.json["tokens"]["output"]
    after = await counts(owner)
    changed = {name for name, n in after.items() if n != before[name]}
    kept = {"asks", "model_calls", "model_usage", "usage_tracking"}
    assert changed - {"api_pace"} == {*kept, "monthly_usage_summary"}
    assert await owner.fetchval("SELECT sum(daily_messages_sent) FROM usage_tracking") == 0
    assert await used(owner) == tokens_of(answer)
    row = await owner.fetchrow("SELECT * FROM model_usage")
    assert row is not None
    assert (row["kind"], row["model"], row["calls"]) == ("ask", MODEL, 2)
    assert row["chatbot_id"] == ours.chatbot_id
    assert await owner.fetchval("SELECT string_agg(question, '') FROM asks") == ""
    await assert_nothing_held(owner, ours)
    assert (await client.get("/usage")).json["today"]["test_tokens_used"] == tokens_of(answer)
    limits = (await client.get("/subscription")).json["limits"]
    assert limits["max_test_tokens_per_day"] == {"limit": None, "used": tokens_of(answer)}


async def test_it_asks_with_the_bots_own_instructions_and_what_was_changed_a_moment_ago(
    owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator, worker: None
) -> None:
    await owner.execute(
        "UPDATE chatbots SET general_instructions = 'Speak of the sea.', is_active = false,"
        " bot_status = 'paused'"
    )
    assert (await client.post(path, {"question": "Who?"})).status == 200, "before it goes live"
    fish = await knows(owner, ours, ("Do you have fish?", "On Fridays."))
    answer = await client.post(path, {"question": "Do you have fish?"})
    assert answer.json["knowledge"][0]["id"] == fish
    first, second = (str(e["request"]["messages"][0]) for e in await simulator.log("model"))
    assert "Speak of the sea." in first
    assert "On Fridays." not in first
    assert "On Fridays." in second
    assert len((await simulator.log("model"))[1]["request"]["messages"]) == 3, "no history"


async def test_the_built_in_answerer_copies_and_costs_nothing(
    database: Database,
    owner: Conn,
    client: Client,
    ours: Tenant,
    path: str,
    simulator: Simulator,
) -> None:
    refund = await knows(owner, ours, ("Can I have a refund?", "We look."), "needs_human")
    async with answering(database, simulator, Offline()):
        answer = await client.post(path, {"question": "When are you open?"})
        assert (answer.status, answer.json["answer"]) == (200, HOURS[1])
        assert [row["question"] for row in answer.json["knowledge"]] == [HOURS[0]]
        assert answer.json["tokens"] == {"input": 0, "cached": 0, "output": 0}
        nothing = await client.post(path, {"question": "xylophone"})
        assert nothing.json["knowledge"] == []
        human = await client.post(path, {"question": "Can I have a refund?"})
        (tool,) = human.json["tools"]
        assert tool["name"] == "request_human_action"
        assert tool["arguments"]["context"] == {"kb_id": refund}
        assert human.json["knowledge"][0]["id"] == refund
        for table in ("actions", "messages", "checkpoints", "conversations", "analytics_events"):
            assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0, table
        assert await used(owner) == 0
        await give(owner, ours, '{"limits": {"max_test_tokens_per_day": 0}}')
        assert (await client.post(path, {"question": "x"})).problem == "limit_reached"


async def test_of_a_big_base_it_shows_what_the_model_looked_up(
    owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator, worker: None
) -> None:
    filler = "a long answer about nothing in particular " * 20
    for n in range(20):
        await knows(owner, ours, (f"What is thing number {n}?", filler))
    fish = await knows(owner, ours, ("Do you have fish?", "On Fridays."))
    await simulator.rules(
        {
            "match": "fish",
            "tool_calls": [{"name": "search_knowledge_base", "arguments": {"query": "fish"}}],
            "times": 1,
        },
        {"tool_match": "On Fridays", "reply": "On Fridays."},
    )
    answer = await client.post(path, {"question": "Any fish?"})
    assert answer.json["answer"] == "On Fridays."
    assert answer.json["tools"] == [
        {"name": "search_knowledge_base", "arguments": {"query": "fish"}}
    ]
    assert answer.json["knowledge"][0]["id"] == fish
    unsearched = await client.post(path, {"question": "Hello!"})
    assert (unsearched.json["tools"], unsearched.json["knowledge"]) == ([], [])


async def test_without_the_actions_center_the_bot_has_no_such_tool(
    owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator, worker: None
) -> None:
    await give(owner, ours, '{"features": {"advanced_features": {"actions_center": false}}}')
    answer = await client.post(path, {"question": "I want my money back!"})
    assert answer.json["tools"] == []
    (entry,) = await simulator.log("model")
    names = [tool["function"]["name"] for tool in entry["request"]["tools"]]
    assert names == ["remember_fact", "hand_over_to_human", "calculate", "offer_choices"]


@pytest.mark.parametrize(
    "question", ["", "  ", None, 7, ["x"], {"a": 1}, "x" * 4_097, "a\x00b", "\ud800"]
)
async def test_a_question_is_what_could_be_a_message(
    owner: Conn, client: Client, path: str, question: Any
) -> None:
    answer = await client.send(
        "POST",
        path,
        data=json.dumps({"question": question}),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status, answer.problem) == (400, "invalid_request")
    assert {one["field"] for one in answer.json["errors"]} == {"question"}
    assert await owner.fetchval("SELECT count(*) FROM asks") == 0


async def test_a_chatbot_of_somebody_else_and_one_that_there_is_not_are_the_same(
    client: Client, theirs: Tenant, owner: Conn
) -> None:
    said = []
    for chatbot in (theirs.chatbot_id, 7_777_777, 10**18 - 1):
        answer = await client.post(f"/chatbots/{chatbot}/ask", {"question": "x"})
        assert (answer.status, answer.problem) == (404, "not_found")
        said.append(answer.json["detail"])
    assert len(set(said)) == 1
    assert await owner.fetchval("SELECT count(*) FROM asks") == 0


async def test_outside_of_its_contract_nothing_is_spent(
    owner: Conn, client: Client, path: str
) -> None:
    await owner.execute("UPDATE user_subscriptions SET contract_end_date = CURRENT_DATE - 2")
    answer = await client.post(path, {"question": "x"})
    assert (answer.status, answer.problem) == (403, "not_in_plan")


# ---- the limit -----------------------------------------------------------------------------------


async def test_the_limit_is_never_passed_however_many_ask_at_once(
    owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator, worker: None
) -> None:
    first = await client.post(path, {"question": "How much is one?"})
    one = tokens_of(first)
    limit = 5 * one
    await give(owner, ours, json.dumps({"limits": {"max_test_tokens_per_day": limit}}))
    await simulator.config(model_latency_ms=200)

    async def ask(n: int) -> Any:
        while True:
            answer = await client.post(path, {"question": f"Question {n}?"})
            if answer.status != 429:
                return answer
            await asyncio.sleep(0.05)

    answers = await asyncio.gather(*(ask(n) for n in range(30)))
    good = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status != 200]
    assert 2 <= len(good) <= 4
    assert {answer.problem for answer in refused} == {"limit_reached"}
    assert refused[-1].json["limit"] == str(Limit.MAX_TEST_TOKENS_PER_DAY)
    assert refused[-1].json["allowed"] == limit
    assert await used(owner) == one + sum(map(tokens_of, good)) <= limit
    assert len(await simulator.log("model")) == 1 + len(good), "nothing was asked in vain"
    await assert_nothing_held(owner, ours)
    shown = (await client.get("/subscription")).json["limits"]["max_test_tokens_per_day"]
    assert shown == {"limit": limit, "used": await used(owner)}


async def test_an_answer_is_no_longer_than_what_is_left(
    owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator, worker: None
) -> None:
    await client.post(path, {"question": "How long?"})
    await give(owner, ours, json.dumps({"limits": {"max_test_tokens_per_day": 10**6}}))
    await client.post(path, {"question": "How long?"})
    held = 10_000
    await give(owner, ours, json.dumps({"limits": {"max_test_tokens_per_day": held}}))
    while (await client.post(path, {"question": "How long?"})).status == 200:
        held = await used(owner) + (held - await used(owner)) * 9 // 10
        await give(owner, ours, json.dumps({"limits": {"max_test_tokens_per_day": held}}))
    most = [e["request"]["max_completion_tokens"] for e in await simulator.log("model")]
    assert most[0] == most[1] == 800
    assert 100 <= most[-1] < 800


async def test_a_model_that_answers_more_dearly_than_was_held_is_counted_all_the_same(
    owner: Conn, client: Client, ours: Tenant, path: str, simulator: Simulator, worker: None
) -> None:
    usage = {"prompt_tokens": 90_000, "completion_tokens": 9, "total_tokens": 90_009}
    await simulator.rules({"reply": "Dear.", "usage": usage, "times": 1})
    await give(owner, ours, '{"limits": {"max_test_tokens_per_day": 50000}}')
    answer = await client.post(path, {"question": "x"})
    assert answer.json["tokens"] == {"input": 90_000, "cached": 0, "output": 9}
    assert await used(owner) == 90_009
    assert (await client.post(path, {"question": "x"})).problem == "limit_reached"
    await assert_nothing_held(owner, ours)


async def test_the_limit_on_and_off(
    owner: Conn, client: Client, ours: Tenant, path: str, worker: None
) -> None:
    for value, status in (("0", 409), ("1", 409), ('"many"', 409), ("100000", 200)):
        await give(owner, ours, f'{{"limits": {{"max_test_tokens_per_day": {value}}}}}')
        answer = await client.post(path, {"question": "x"})
        assert answer.status == status, value
    await give(owner, ours, "{}")
    assert (await client.post(path, {"question": "x"})).status == 200
    assert await owner.fetchval("SELECT count(*) FROM analytics_events") == 0


async def test_the_days_tokens_are_the_tenants_own(
    owner: Conn, client: Client, ours: Tenant, path: str, worker: None
) -> None:
    await owner.execute("UPDATE users SET timezone = 'Pacific/Kiritimati'")
    await client.post(path, {"question": "x"})
    days = await owner.fetch(
        "SELECT tracking_date, (now() AT TIME ZONE 'Pacific/Kiritimati')::date AS today"
        " FROM usage_tracking WHERE test_tokens_used > 0"
    )
    assert [row[0] for row in days] == [days[0]["today"]]
    await give(owner, ours, json.dumps({"limits": {"max_test_tokens_per_day": await used(owner)}}))
    assert (await client.post(path, {"question": "x"})).problem == "limit_reached"
    await owner.execute("UPDATE usage_tracking SET tracking_date = tracking_date - 1")
    await give(owner, ours, '{"limits": {"max_test_tokens_per_day": 100000}}')
    assert (await client.post(path, {"question": "x"})).status == 200


# ---- the model fails -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "status", "problem"),
    [
        ({"status": 503}, 503, "model_unavailable"),
        ({"status": 429, "retry_after": 30}, 503, "model_unavailable"),
        ({"status": 401}, 502, "model_failed"),
        ({"reply": ""}, 502, "model_failed"),
    ],
)
async def test_a_model_that_fails_is_told_as_that(
    owner: Conn,
    client: Client,
    ours: Tenant,
    path: str,
    simulator: Simulator,
    worker: None,
    rule: dict[str, Any],
    status: int,
    problem: str,
) -> None:
    await simulator.rules(rule)
    answer = await client.post(path, {"question": "x"}, Idempotency_Key="k")
    assert (answer.status, answer.problem) == (status, problem)
    await assert_nothing_held(owner, ours)
    await simulator.rules()
    again = await client.post(path, {"question": "another"}, Idempotency_Key="k")
    assert again.status in (200, 503), "the key is free; a server that was away rests a moment"
    for table in ("messages", "actions", "analytics_events"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_slow_model_ends_in_time_and_breaks_nothing_later(
    database: Database, owner: Conn, pool: Pool, ours: Tenant, path: str, simulator: Simulator
) -> None:
    key, _ = await make_key(pool, ours)
    async with (
        door(DEAD_BROKER, database.runtime_url, ask_wait=timedelta(seconds=1)) as quick,
        answering(database, simulator),
    ):
        client = Client(quick.url, quick.http, key)
        await simulator.config(model_latency_ms=2_500)
        answer = await client.post(path, {"question": "x"}, Idempotency_Key="k")
        assert (answer.status, answer.problem) == (504, "no_answer_in_time")
        assert await owner.fetchval("SELECT reserved_tokens FROM asks") > 0, "it is being spent"
        await until(lambda: used(owner), bool)
        await simulator.config(model_latency_ms=0)
        assert await owner.fetchval("SELECT answer FROM asks") is None
        await assert_nothing_held(owner, ours)
        again = await client.post(path, {"question": "x"}, Idempotency_Key="k")
        assert again.status == 200


async def test_without_a_worker_it_ends_in_time(
    database: Database, owner: Conn, pool: Pool, ours: Tenant, path: str
) -> None:
    key, _ = await make_key(pool, ours)
    wait = timedelta(milliseconds=300)
    async with door(DEAD_BROKER, database.runtime_url, ask_wait=wait) as quick:
        client = Client(quick.url, quick.http, key)
        answer = await client.post(path, {"question": "secret?"})
    assert (answer.status, answer.problem) == (504, "no_answer_in_time")
    row = await owner.fetchrow("SELECT question, problem, reserved_tokens FROM asks")
    assert row is not None
    assert tuple(row) == ("", "timeout", 0)


# ---- once ----------------------------------------------------------------------------------------


async def test_a_repeat_gets_the_first_answer_and_spends_nothing(
    owner: Conn, client: Client, path: str, simulator: Simulator, worker: None
) -> None:
    await simulator.config(model_latency_ms=400)

    async def ask() -> Any:
        while True:
            answer = await client.post(path, {"question": "x"}, Idempotency_Key="k")
            if answer.status == 200:
                return answer
            assert answer.problem in ("idempotency_in_progress", "too_many_requests")
            await asyncio.sleep(0.05)

    answers = await asyncio.gather(*(ask() for _ in range(12)))
    assert all(answer.json == answers[0].json for answer in answers)
    assert len(await simulator.log("model")) == 1
    other = await client.post(path, {"question": "y"}, Idempotency_Key="k")
    assert (other.status, other.problem) == (422, "idempotency_key_reused")
    await owner.execute("DELETE FROM asks")
    again = await client.post(path, {"question": "x"}, Idempotency_Key="k")
    assert again.json == answers[0].json
    assert len(await simulator.log("model")) == 1


async def test_while_it_is_in_hand_its_key_is_nobody_elses(
    owner: Conn, client: Client, path: str
) -> None:
    asking = asyncio.create_task(client.post(path, {"question": "x"}, Idempotency_Key="k"))
    await until(lambda: owner.fetchval("SELECT count(*) FROM asks"), lambda n: n == 1)
    same = await client.post(path, {"question": "x"}, Idempotency_Key="k")
    assert (same.status, same.problem) == (409, "idempotency_in_progress")
    hook = {"url": "https://shop.example/hook", "events": ["*"]}
    for address, body in ((path, {"question": "y"}), ("/webhooks", hook)):
        other = await client.post(address, body, Idempotency_Key="k")
        assert (other.status, other.problem) == (422, "idempotency_key_reused")
    asking.cancel()
    # The client has gone, and nobody had begun: nothing is left of it.
    await until(lambda: owner.fetchval("SELECT count(*) FROM asks"), lambda n: n == 0)
    hooked = await client.post("/webhooks", hook, Idempotency_Key="k")
    assert hooked.status == 201


async def test_who_died_while_waiting_holds_the_key_no_longer_than_its_time(
    owner: Conn, client: Client, ours: Tenant, path: str, worker: None
) -> None:
    await owner.execute(
        "INSERT INTO asks (user_id, chatbot_id, question, idempotency_key, request_hash,"
        " expires_at, epoch) VALUES ($1, $2, 'x', 'k', sha256('x'), now() + interval '1 s', 3)",
        *(ours.user_id, ours.chatbot_id),
    )
    assert (await client.post(path, {"question": "x"}, Idempotency_Key="k")).status == 422
    await asyncio.sleep(1.0)
    assert (await client.post(path, {"question": "x"}, Idempotency_Key="k")).status == 200


async def test_who_hangs_up_finds_the_answer_of_what_was_begun_by_its_key(
    owner: Conn, client: Client, path: str, simulator: Simulator, worker: None
) -> None:
    await simulator.config(model_latency_ms=1_500)
    asking = asyncio.create_task(client.post(path, {"question": "x"}, Idempotency_Key="k"))
    await until(lambda: simulator.log("model"), lambda seen: len(seen) == 1)
    asking.cancel()
    await until(lambda: owner.fetchval("SELECT count(*) FROM idempotency_keys"), bool)
    answer = await client.post(path, {"question": "x"}, Idempotency_Key="k")
    assert (answer.status, answer.json["answer"]) == (200, "Re: x")
    assert len(await simulator.log("model")) == 1


# ---- crowds and deaths ---------------------------------------------------------------------------


async def test_a_crowd_of_one_tenant_is_bounded_and_keeps_nobody_else(
    owner: Conn, client: Client, connect: Connect, path: str, theirs: Tenant
) -> None:
    """Nobody answers here: what waits holds neither the tenant's places nor connections."""
    asking = [asyncio.create_task(client.post(path, {"question": "x"})) for _ in range(OPEN_MAX)]
    await until(lambda: owner.fetchval("SELECT count(*) FROM asks"), lambda n: n == OPEN_MAX)
    beyond = await client.post(path, {"question": "x"})
    assert (beyond.status, beyond.problem) == (429, "too_many_requests")
    assert "Retry-After" in beyond.headers
    calls = [client.get("/chatbots") for _ in range(12)]
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
    other = await connect(theirs)
    others = asyncio.create_task(
        other.post(f"/chatbots/{theirs.chatbot_id}/ask", {"question": "x"})
    )
    await until(lambda: owner.fetchval("SELECT count(*) FROM asks"), lambda n: n == OPEN_MAX + 1)
    in_transaction = await owner.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state LIKE 'idle in transaction%'"
    )
    assert in_transaction == 0
    for one in (*asking, others):
        one.cancel()
    await until(lambda: owner.fetchval("SELECT count(*) FROM asks"), lambda n: n == 0)


async def test_of_many_tenants_each_has_its_first_one_answered_first(
    owner: Conn, pool: Pool
) -> None:
    crowd, single = await make_tenant(owner), await make_tenant(owner)
    for of, n in ((crowd, 6), (single, 1)):
        await owner.execute(
            "INSERT INTO asks (user_id, chatbot_id, question, expires_at)"
            " SELECT $1, $2, 'x', now() + interval '1 min' FROM generate_series(1, $3)",
            *(of.user_id, of.chatbot_id, n),
        )
    await owner.execute("INSERT INTO workers (id, name) VALUES (1, 'one'), (2, 'two')")
    async with pool.acquire() as conn:
        take = "SELECT user_id FROM claim_asks($1, $2, $3, 4, '4 s')"
        two = await conn.fetch(take, 1, [], 2)
        assert {row[0] for row in two} == {crowd.user_id, single.user_id}
        held = await owner.fetchval("SELECT array_agg(id) FROM asks WHERE lease_owner = 1")
        assert len(await conn.fetch(take, 1, held, 16)) == 3, "four at once, of one tenant"
        assert len(await conn.fetch(take, 2, [], 16)) == 0


async def test_a_worker_that_dies_in_the_middle_is_replaced(
    database: Database,
    owner: Conn,
    client: Client,
    ours: Tenant,
    path: str,
    simulator: Simulator,
) -> None:
    await simulator.rules({"hang_ms": 20_000, "times": 1})
    async with answering(database, simulator) as first, answering(database, simulator):
        asking = asyncio.create_task(client.post(path, {"question": "x"}))
        await until(lambda: simulator.log("model"), lambda seen: len(seen) == 1)
        at_it = await owner.fetchval("SELECT lease_owner FROM asks")
        # As its own process would be: it no longer beats, and what it does later comes too late.
        await owner.execute("DELETE FROM workers WHERE id = $1", at_it)
        answer = await asking
        assert first.worker.name
    assert answer.status == 200
    assert await owner.fetchval("SELECT count(*) FROM asks") == 1
    assert await owner.fetchval("SELECT epoch FROM asks") >= 2
    await assert_nothing_held(owner, ours)


async def test_one_that_takes_workers_down_is_left_alone(
    owner: Conn, pool: Pool, ours: Tenant
) -> None:
    await owner.execute("INSERT INTO workers (id, name) VALUES (1, 'one')")
    await owner.execute(
        "INSERT INTO asks (user_id, chatbot_id, question, expires_at)"
        " VALUES ($1, $2, 'x', now() + interval '1 min')",
        *(ours.user_id, ours.chatbot_id),
    )
    taken = []
    async with pool.acquire() as conn:
        for _ in range(5):
            taken += await conn.fetch("SELECT epoch FROM claim_asks(1, '{}', 9, 9, '4 s')")
    assert [row[0] for row in taken] == [1, 2, 3]


async def test_a_chatbot_that_is_deleted_meanwhile_takes_the_question_along(
    owner: Conn, client: Client, ours: Tenant, path: str
) -> None:
    asking = asyncio.create_task(client.post(path, {"question": "x"}))
    await until(lambda: owner.fetchval("SELECT count(*) FROM asks"), lambda n: n == 1)
    await owner.execute("DELETE FROM chatbots WHERE id = $1", ours.chatbot_id)
    answer = await asking
    assert (answer.status, answer.problem) == (404, "not_found")


async def test_what_was_asked_when_the_chatbot_was_deleted_is_paid_for(
    owner: Conn,
    pool: Pool,
    client: Client,
    ours: Tenant,
    path: str,
    simulator: Simulator,
    worker: None,
) -> None:
    await simulator.config(model_latency_ms=1_500)
    asking = asyncio.create_task(client.post(path, {"question": "x"}))
    await until(lambda: simulator.log("model"), bool)
    assert (await client.delete(f"/chatbots/{ours.chatbot_id}")).status == 204
    await finish(pool, owner)
    await asking
    (entry,) = await simulator.log("model")
    assert await used(owner) > 0, entry
    assert await owner.fetchval("SELECT count(*) FROM model_calls") == 1
    await assert_nothing_held(owner, ours)
    await owner.execute("UPDATE asks SET created_at = now() - interval '6 min'")
    await forget_old_asks(pool)
    assert await owner.fetchval("SELECT count(*) FROM asks") == 0


async def test_questions_are_forgotten(owner: Conn, pool: Pool, ours: Tenant) -> None:
    for minutes in (4, 6):
        await owner.execute(
            "INSERT INTO asks (user_id, chatbot_id, question, expires_at, created_at)"
            " VALUES ($1, $2, 'x', now(), now() - make_interval(mins => $3))",
            *(ours.user_id, ours.chatbot_id, minutes),
        )
    await forget_old_asks(pool)
    assert await owner.fetchval("SELECT count(*) FROM asks") == 1


async def test_another_tenant_sees_no_question(
    pool: Pool, owner: Conn, ours: Tenant, theirs: Tenant
) -> None:
    insert = (
        "INSERT INTO asks (user_id, chatbot_id, question, expires_at) VALUES ($1, $2, 'x', now())"
    )
    await owner.execute(insert, ours.user_id, ours.chatbot_id)
    async with pool.acquire() as conn, conn.transaction():
        await conn.execute("SELECT set_config('app.user_id', $1, true)", str(theirs.user_id))
        assert await conn.fetchval("SELECT count(*) FROM asks") == 0
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await conn.execute(insert, theirs.user_id, ours.chatbot_id)


async def test_a_tenant_s_own_tools_are_offered_and_not_called(
    owner: Conn, client: Client, ours: Tenant, simulator: Simulator, path: str, worker: None
) -> None:
    """Not even one that says that it only looks something up."""
    for name, effect, approval in (("look_up", "none", False), ("refund", "once", True)):
        await owner.execute(
            "INSERT INTO tools (user_id, chatbot_id, name, description, parameters, url,"
            " effect, needs_approval) VALUES ($1, $2, $3, 'Looks up.', $4, $5, $6, $7)",
            *(ours.user_id, ours.chatbot_id, name, '{"type": "object"}'),
            simulator.endpoint_url("tools"),
            *(effect, approval),
        )
    await simulator.rules(
        {"tool_calls": [{"name": "own_look_up", "arguments": {"q": "x"}}], "times": 1},
        {"tool_calls": [{"name": "own_refund", "arguments": {"n": 1}}], "times": 1},
        {"reply": "I do not know."},
    )
    before = await counts(owner)
    answer = await client.post(path, {"question": "Where is my parcel?"})
    assert answer.status == 200, answer
    assert [one["name"] for one in answer.json["tools"]] == ["own_look_up", "request_human_action"]
    heard = [entry["request"]["messages"][-1]["content"] for entry in await simulator.log("model")]
    assert heard[1].startswith("not called: this is a test")
    assert await simulator.deliveries("tools") == []
    after = await counts(owner)
    assert after["tool_calls"] == before["tool_calls"] == after["actions"] == 0
