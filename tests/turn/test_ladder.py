"""A model that fails: the customer waits, hears of it, and is answered; or a person takes over, and
the tenant hears of that."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from db.conversations import claim_conversations
from db.pool import Conn, Pool
from handlers.agent.answerer import EMPTY_ANSWER, Kind, NoAnswer
from handlers.agent.breaker import NotAsked
from handlers.fixed import texts
from handlers.fixed.texts import fixed_text
from handlers.turns.ladder import (
    BILLED_TRIES,
    CHANCE_TRIES,
    PATIENCE,
    SLOW_AFTER,
    WAIT_MAX,
    WAIT_MIN,
    Failing,
    NoThought,
    Wait,
    rung,
)
from handlers.turns.run import run_turn
from tests.turn.shop import ME, Shop, Who, open_shop

SLOW = fixed_text(texts.Kind.SLOW, "en")
APOLOGY = fixed_text(texts.Kind.APOLOGY, "en")
KEPT = fixed_text(texts.Kind.REQUEST_KEPT, "en")
ASKS = {
    "name": "request_human_action",
    "arguments": {"type": "refund", "details": "two tarts"},
}


# ---- the rungs


def step(none: NoAnswer, since_s: float = 0, paid: int = 0, told: bool = False) -> Wait | None:
    thought = NoThought(reason="x", none=none, took=timedelta(seconds=1))
    failing = Failing(since=timedelta(seconds=since_s), paid=paid, told_slow=told)
    return rung(thought, failing)


class Unbilled(NoAnswer):
    billed = False


def test_waits_grow_up_to_a_bound() -> None:
    waits, since_s = [], 0.0
    for _ in range(8):
        found = step(Unbilled("http_500"), since_s)
        assert found is not None
        waits.append(found.wait.total_seconds())
        since_s += 0.6 + waits[-1]
    assert [round(wait) for wait in waits] == [2, 3, 6, 12, 15, 15, 15, 15]
    assert (timedelta(seconds=2), timedelta(seconds=15)) == (WAIT_MIN, WAIT_MAX)


@pytest.mark.parametrize(("asks", "waits"), [(0.5, 2), (7, 7), (1_000, 60)])
def test_the_server_may_ask_for_more(asks: float, waits: float) -> None:
    found = step(Unbilled("http_429", Kind.LATER, asks))
    assert found == Wait(timedelta(seconds=waits), say_slow=False)


def test_who_was_not_asked_says_when_to_come_back() -> None:
    found = step(NotAsked("http_500", Kind.LATER, 1.5), 8)
    assert found == Wait(timedelta(seconds=1.5), say_slow=False)


@pytest.mark.parametrize("told", [False, True])
def test_it_is_said_once_that_it_takes_longer(told: bool) -> None:
    after = SLOW_AFTER.total_seconds() - 1  # the turn itself took one
    for since, says in ((after - 1, False), (after, not told)):
        found = step(Unbilled("http_500"), since, told=told)
        assert found is not None
        assert found.say_slow == says


@pytest.mark.parametrize("kind", Kind)
def test_patience_ends(kind: Kind) -> None:
    patience = PATIENCE[kind].total_seconds()
    assert step(Unbilled("x", kind), patience - 1) is None  # the turn itself took one
    assert step(Unbilled("x", kind), patience - 2) is not None


def test_nonsense_is_not_paid_for_for_ever() -> None:
    steps = [step(NoAnswer("no_choices"), paid=n) is None for n in range(BILLED_TRIES)]
    assert steps == [False, False, True]
    steps = [step(NoAnswer(EMPTY_ANSWER, Kind.NEVER), paid=n) is None for n in range(CHANCE_TRIES)]
    assert steps == [False, True]


# ---- what comes of them


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        yield shop


async def again(shop: Shop) -> None:
    """The turn that was put off, when it is due."""
    await shop.owner.execute("UPDATE conversations SET ready_at = now()")
    async with shop.pool.acquire() as conn:
        for claim in await claim_conversations(conn, ME, 10, 100):
            await run_turn(shop.pool, shop.agent, ME, claim)


async def passes(shop: Shop, how_long: timedelta) -> None:
    await shop.owner.execute(
        "UPDATE conversations SET failing_since = failing_since - make_interval(secs => $1)",
        how_long.total_seconds(),
    )


async def said(shop: Shop) -> list[str]:
    rows = await shop.owner.fetch(
        "SELECT content_text FROM messages WHERE direction = 'outbound' ORDER BY id"
    )
    return [row[0] for row in rows]


async def told(shop: Shop) -> list[tuple[str, dict[str, Any]]]:
    rows = await shop.owner.fetch("SELECT event_type, event_data FROM analytics_events ORDER BY id")
    return [(row[0], json.loads(row[1])) for row in rows]


async def state(shop: Shop, who: Who) -> dict[str, Any]:
    (row,) = await shop.owner.fetch(
        "SELECT input_seq - answered_seq AS unanswered, taken_over_by, attempts, model_tries,"
        " extract(epoch FROM ready_at - now())::float AS due_s,"
        " failing_since IS NOT NULL AS failing,"
        " (SELECT count(*) FROM usage_reservations) AS held"
        " FROM conversations WHERE id = $1",
        who[1],
    )
    return dict(row)


TWICE: list[dict[str, Any]] = [
    {"status": 500, "times": 2},
    {"status": 429, "retry_after": 0, "times": 2},
    {"reply": "", "times": 2},
    {"raw": {"json": {"choices": []}}, "times": 1},
]


@pytest.mark.parametrize("rule", TWICE, ids=lambda rule: str(rule)[:20])
async def test_two_failures_cost_the_customer_seconds(shop: Shop, rule: dict[str, Any]) -> None:
    await shop.simulator.rules(rule, {"reply": "From 7 to 18."})
    who = await shop.customer()
    turn = await shop.turn(who, "When are you open?")
    assert turn.said == []
    now = await state(shop, who)
    assert 1 < now["due_s"] < 3
    assert (now["unanswered"], now["taken_over_by"], now["attempts"], now["held"]) == (
        1,
        None,
        0,
        0,
    )
    turn = await shop.turn(who, "Hello?")  # joins
    assert turn.said == ["From 7 to 18."]
    assert await said(shop) == ["From 7 to 18."]
    now = await state(shop, who)
    assert (now["unanswered"], now["failing"], now["model_tries"]) == (0, False, 0)
    assert await told(shop) == []


NO_ANSWER: list[dict[str, Any]] = [
    {"reply": "", "times": 2},
    {"raw": {"body": "<html>Be right back</html>", "content_type": "text/html"}, "times": 1},
]


@pytest.mark.parametrize("rule", NO_ANSWER, ids=["empty", "HTML"])
async def test_what_an_outage_refused_is_no_answer_that_was_paid_for(
    shop: Shop, rule: dict[str, Any]
) -> None:
    """A server that comes back may say nothing at first."""
    await shop.simulator.rules({"status": 500, "times": 4}, rule, {"reply": "From 7 to 18."})
    who = await shop.customer()
    await shop.turn(who, "When are you open?")
    for _ in range(2):
        await again(shop)
    now = await state(shop, who)
    assert (now["unanswered"], now["taken_over_by"], now["model_tries"]) == (1, None, 1)
    assert (await said(shop), await told(shop)) == ([], [])


async def test_an_outage_is_waited_for_told_once_and_ends(shop: Shop) -> None:
    await shop.simulator.rules({"status": 500, "times": 2}, {"status": 500})
    who = await shop.customer()
    await shop.turn(who, "When are you open?")
    assert await said(shop) == []
    await passes(shop, SLOW_AFTER)
    for _ in range(3):
        await again(shop)
    assert await said(shop) == [SLOW]
    metadata = await shop.owner.fetchval(
        "SELECT metadata FROM messages WHERE direction = 'outbound'"
    )
    assert json.loads(metadata)["reason"] == "model:http_500"
    await shop.simulator.reset()
    await shop.simulator.rules({"reply": "From 7 to 18."})
    turn = await shop.turn(who, "Hello?")
    assert turn.said == ["From 7 to 18."]
    assert await told(shop) == []
    units = await shop.owner.fetchval("SELECT daily_messages_sent FROM usage_tracking")
    assert units == 1, "only the answer costs one"


async def test_a_person_takes_over_only_then_and_the_tenant_hears_of_it(shop: Shop) -> None:
    await shop.simulator.rules({"status": 500})
    first, second = await shop.customer(), await shop.customer()
    for who in (first, second):
        await shop.turn(who, "When are you open?")
    await passes(shop, PATIENCE[Kind.LATER])
    await again(shop)
    assert sorted(await said(shop)) == [APOLOGY, APOLOGY]
    events = await told(shop)
    taken = [data for name, data in events if name == "conversation.taken_over"]
    assert sorted(data["conversation_id"] for data in taken) == sorted([first[1], second[1]])
    assert {(data["by"], data["reason"]) for data in taken} == {("product", "model:http_500")}
    failing = [data for name, data in events if name == "bot.failing"]
    assert [data["reason"] for data in failing] == ["model:http_500"], "once for all of them"
    await shop.simulator.reset()
    await shop.simulator.rules({"reply": "From 7 to 18."})
    for _ in range(2):
        await shop.turn(first, "And today?")
    assert [name for name, _ in await told(shop)].count("bot.recovered") == 1
    await shop.simulator.reset()
    await shop.simulator.rules({"status": 400, "raw": {"json": {"error": "no"}}})
    await shop.turn(await shop.customer(), "Hello")
    assert [name for name, _ in await told(shop)].count("bot.failing") == 2


async def test_who_is_silenced_meanwhile_is_not_told_that_it_takes_longer(shop: Shop) -> None:
    await shop.simulator.rules({"status": 500, "latency_ms": 300})
    who = await shop.customer()
    await shop.turn(who, "When are you open?")
    await passes(shop, SLOW_AFTER)
    async with shop.pool.acquire() as conn:
        await shop.owner.execute("UPDATE conversations SET ready_at = now()")
        (claim,) = await claim_conversations(conn, ME, 10, 100)
    await shop.owner.execute(
        "CREATE FUNCTION pause_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " UPDATE contacts SET conversation_paused = true; RETURN NEW; END $$"
    )
    await shop.owner.execute(  # between the turn's two transactions: it reserves in the first
        "CREATE TRIGGER pause_it AFTER INSERT ON usage_reservations FOR EACH ROW"
        " EXECUTE FUNCTION pause_it()"
    )
    await run_turn(shop.pool, shop.agent, ME, claim)
    assert await said(shop) == []


async def test_an_answer_that_fails_after_a_request_keeps_it_and_says_so(shop: Shop) -> None:
    await shop.simulator.rules({"tool_calls": [ASKS], "times": 1}, {"status": 500})
    turn = await shop.turn(await shop.customer(), "My tarts were broken")
    assert turn.said == [KEPT]
    (request,) = await shop.requested()
    assert request["request_details"] == "two tarts"
    row = await shop.owner.fetchrow(
        "SELECT daily_messages_sent, actions_created, actions_reserved FROM usage_tracking"
    )
    assert row is not None
    assert tuple(row) == (1, 1, 0)


# ---- what cannot be read


@pytest.mark.parametrize("metadata", ['"text"', "[1]", "7", "null"])
async def test_metadata_that_are_no_object_keep_nobody_in_silence(
    shop: Shop, metadata: str
) -> None:
    await shop.simulator.rules({"reply": "From 7 to 18."})
    who = await shop.customer()
    await shop.turn(who, "Hello")
    await shop.owner.execute("UPDATE messages SET metadata = $1::text::jsonb", metadata)
    await shop.turn(who, "When are you open?")
    assert await said(shop) == ["From 7 to 18.", "From 7 to 18."]
    await shop.owner.execute(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " content_text, message_id, input_seq, metadata)"
        " SELECT user_id, chatbot_id, contact_id, id, 'inbound', 'received', 'x', 'w.odd',"
        " input_seq + 1, $1::text::jsonb FROM conversations",
        metadata,
    )
    await shop.owner.execute("UPDATE conversations SET input_seq = input_seq + 1")
    await again(shop)
    assert len(await said(shop)) == 3


async def test_a_turn_that_cannot_even_read_ends_with_a_reason(shop: Shop) -> None:
    """Whatever it is: here, an event whose data cannot be told."""
    who = await shop.customer()
    await shop.owner.execute(
        "UPDATE conversations SET input_seq = 2, ready_at = now();"
        "UPDATE contacts SET language = 'es';"
        "INSERT INTO conversation_events (user_id, conversation_id, input_seq, kind, data)"
        " SELECT user_id, id, 1, 'action_decided', '7' FROM conversations;"
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction, status,"
        " content_text, message_id, input_seq) SELECT user_id, chatbot_id, contact_id, id,"
        " 'inbound', 'received', 'Hola', 'w.1', 2 FROM conversations"
    )
    waited = 0.0
    for _ in range(20):
        if (await state(shop, who))["taken_over_by"]:
            break
        await again(shop)
        waited += max(0.0, (await state(shop, who))["due_s"] or 0.0)
    assert waited < 120
    assert await said(shop) == [fixed_text(texts.Kind.APOLOGY, "es")]
    now = await state(shop, who)
    assert (now["unanswered"], now["due_s"], now["attempts"]) == (0, None, 0)
    reason = "SELECT metadata ->> 'reason' FROM messages WHERE direction = 'inbound'"
    assert await shop.owner.fetchval(reason) == "turn_failed"
    assert await shop.owner.fetchval("SELECT reason FROM conversation_events") == "turn_failed"
    assert [name for name, _ in await told(shop)] == ["conversation.taken_over", "bot.failing"]
