"""`swiftreplies replay`: a real conversation, recorded by real turns, answered again."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from db.evals import forget_people_in_evals
from db.pool import Conn, Pool, tenant
from db.reconcile import recount
from handlers.agent.graph import Agent
from handlers.agent.offline import Offline
from handlers.evals.case import case_of
from handlers.evals.reading import read_suite
from handlers.evals.recall import recall
from handlers.fixed.texts import Kind, fixed_text
from handlers.takeover import hand_back_conversation, queue_message_of_person
from simulator.client import Simulator
from tests.api.asking import simulated
from tests.cli import Command
from tests.conftest import Database
from tests.e2e.conftest import until
from tests.factories import Tenant, make_conversation, make_tenant
from tests.turn.shop import Shop, Who, open_shop
from tests.turn.test_actions import decided, turns, write

HOURS = ("When are you open?", "From 7:00 to 18:00.")
REFUND = ("My cake is broken, I want my money back", "A person decides about that.")
HANDOVER = fixed_text(Kind.HANDOVER, "en")


@pytest.fixture
def agent() -> Agent:
    return Agent(Offline())


@pytest.fixture
async def ours(owner: Conn) -> Tenant:
    made = await make_tenant(owner)
    for category, (question, answer) in ((None, HOURS), ("needs_human", REFUND)):
        await owner.execute(
            "INSERT INTO bot_knowledge_base (user_id, chatbot_id, category, question, answer)"
            " VALUES ($1, $2, $3, $4, $5)",
            *(made.user_id, made.chatbot_id, category, question, answer),
        )
    return made


@pytest.fixture
def command(database: Database) -> Command:
    return Command(
        {
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "SECRETS_KEY": "a key of the tests: long enough",
            "OPENAI_MODEL": "offline",
        }
    )


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with simulated() as simulator:
        yield simulator


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        yield shop


async def everything(owner: Conn) -> dict[str, str]:
    """All rows of all tables, as one hash each."""
    tables = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace"
    )
    return {
        t[0]: await owner.fetchval(
            f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {t[0]} t"
        )
        for t in tables
    }


async def spoken(owner: Conn, pool: Pool, agent: Agent, ours: Tenant, *texts: str) -> Who:
    """Each a turn; where it is several lines, a burst."""
    who = await make_conversation(owner, ours)
    for text in texts:
        for line in text.split("\n"):
            await write(owner, ours, who, line)
        assert await turns(pool, agent) == 1
    return who


def told(turn: dict[str, Any]) -> tuple[Any, ...]:
    return turn["say"], turn["then"]["answer"], turn["now"] and turn["now"]["answer"]


async def test_the_same_bot_says_the_same_and_no_row_comes_of_it(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command
) -> None:
    said = ("hi", "When are you open?", "and then?\nwhen are you open?", REFUND[0], "do you fly?")
    _, conversation = await spoken(owner, pool, agent, ours, *said, "yes please")
    before = await everything(owner)
    replayed = (await command("replay", str(conversation), "--json")).json
    assert await everything(owner) == before
    assert [turn["say"] for turn in replayed["turns"]] == [
        *(text.split("\n") for text in (*said, "yes please")),
    ]
    assert [turn["same"] for turn in replayed["turns"]] == [True] * 6
    assert (replayed["changed"], replayed["tokens"], replayed["stopped"]) == (0, 0, None)
    hours, refund, yes = (replayed["turns"][n] for n in (1, 3, 5))
    assert hours["then"]["cited"] == hours["now"]["cited"] == [HOURS[0]]
    for side in ("then", "now"):
        assert [one["name"] for one in refund[side]["tools"]] == ["request_human_action"]
    assert len(refund["now"]["actions"]) == 1
    assert yes["then"]["handed_over"], "as the record says"
    assert yes["now"]["handed_over"], "the offer that it answers was the recorded one"


async def test_a_draft_shows_what_would_change(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command, tmp_path: Path
) -> None:
    _, conversation = await spoken(owner, pool, agent, ours, "When are you open?", "do you fly?")
    draft = tmp_path / "draft.csv"
    draft.write_text("question,answer\nWhen are you open?,Never.\nDo you fly?,Yes.\n")
    args = ("replay", str(conversation), "--kb", str(draft))
    replayed = (await command(*args, "--json")).json
    assert replayed["changed"] == 2
    assert [told(turn)[1:] for turn in replayed["turns"]] == [
        (HOURS[1], "Never."),
        (fixed_text(Kind.NO_INFORMATION, "en"), "Yes."),
    ]
    text = (await command(*args)).out
    assert "then  From 7:00 to 18:00." in text
    assert "now   Never." in text
    assert "2 turns, 2 answered otherwise, 0 tokens" in text
    assert await owner.fetchval("SELECT count(*) FROM bot_knowledge_base") == 2


async def test_it_ends_at_a_message(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command
) -> None:
    _, conversation = await spoken(owner, pool, agent, ours, "hi", "When are you open?", "thanks")
    second = await owner.fetchval("SELECT id FROM messages WHERE content_text LIKE 'When%'")
    args = ("replay", str(conversation), "--until", str(second), "--json")
    replayed = (await command(*args)).json
    assert [turn["say"] for turn in replayed["turns"]] == [["hi"], ["When are you open?"]]
    assert (replayed["turns"][-1]["message_id"], replayed["turns"][-1]["then"]["answer"]) == (
        second,
        "",
    )
    _, other = await spoken(owner, pool, agent, ours, "hi")
    wrong = await command.refused("replay", str(other), "--until", str(second))
    assert f"message {second} is none of conversation {other}" in wrong
    assert "there is no conversation 99" in await command.refused("replay", "99")


async def test_what_a_person_had_is_not_asked_and_what_they_wrote_is_known(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command
) -> None:
    who = await spoken(owner, pool, agent, ours, "I want to talk to a human")
    async with tenant(pool, ours.user_id) as conn:
        await queue_message_of_person(conn, ours.user_id, who[1], "I am Tom.", {"kind": "human"})
    await write(owner, ours, who, "hello Tom")
    await turns(pool, agent)
    async with tenant(pool, ours.user_id) as conn:
        await hand_back_conversation(conn, ours.user_id, who[1])
    await write(owner, ours, who, "When are you open?")
    await turns(pool, agent)
    replayed = (await command("replay", str(who[1]), "--json")).json
    assert [(turn["say"], turn["skipped"], turn["same"]) for turn in replayed["turns"]] == [
        (["I want to talk to a human"], None, True),
        (["hello Tom"], "taken_over", None),
        (["When are you open?"], None, True),
    ]


async def test_a_decision_is_told_again_as_it_was_decided(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command
) -> None:
    _, conversation = await spoken(owner, pool, agent, ours, REFUND[0])
    action = await owner.fetchval("SELECT id FROM actions")
    await decided(pool, ours, action, "approved", "Today.")
    await owner.execute("UPDATE conversations SET ready_at = now()")
    assert await turns(pool, agent) == 1
    replayed = (await command("replay", str(conversation), "--json")).json
    asked, told_later = replayed["turns"]
    assert asked["same"]
    assert (told_later["say"], told_later["same"]) == ([], True)
    assert told_later["now"]["answer"].endswith("has been approved. Today.")


async def test_a_conversation_becomes_a_case_that_the_same_bot_passes(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command, tmp_path: Path
) -> None:
    said = ("Hi! When are you open?", REFUND[0], "do you fly: \U0001f681 #high?", "yes please")
    _, conversation = await spoken(owner, pool, agent, ours, *said, "hello?")
    async with tenant(pool, ours.user_id) as conn:
        recorded = await recall(conn, ours.user_id, conversation)
    assert recorded is not None
    case = case_of(recorded)
    assert case is not None
    (read,) = read_suite(case.suite).cases
    assert [turn.say for turn in read.turns] == [(text,) for text in (*said, "hello?")]
    assert [turn.expect.handed_over for turn in read.turns] == [False, False, False, True, None]
    assert read.turns[4].expect.silent, "the bot had called a person"
    file = tmp_path / "suite.yaml"
    file.write_text(case.suite, encoding="utf-8")
    result = await command("eval", str(ours.chatbot_id), str(file), "--json")
    assert result.code == 0, result.out


async def test_what_customers_wrote_steers_no_terminal(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command
) -> None:
    await owner.execute("UPDATE bot_knowledge_base SET answer = E'\\x1b]0;x\\x07\\x1b[2J none'")
    text = "When are you open? \x1b[31m\u202e"
    _, conversation = await spoken(owner, pool, agent, ours, text)
    result = await command("replay", str(conversation))
    assert result.code == 0
    for steering in ("\x1b", "\x07", "\u202e"):
        assert steering not in result.out + result.err


# ---- with a model ----------------------------------------------------------------------------


def modelled(command: Command, simulator: Simulator) -> Command:
    return Command(
        command.environment
        | {
            "OPENAI_MODEL": "some-model",
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": f"{simulator.url}/v1",
        }
    )


async def test_a_model_is_asked_with_what_was_said_then_and_paid_for_as_a_test(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command, simulator: Simulator
) -> None:
    _, conversation = await spoken(owner, pool, agent, ours, "When are you open?", "thanks a lot")
    before = await everything(owner)
    replayed = (await modelled(command, simulator)("replay", str(conversation), "--json")).json
    assert [turn["now"]["answer"] for turn in replayed["turns"]] == [
        "Re: When are you open?",
        "Re: thanks a lot",
    ]
    asked = await simulator.log("model")
    assert "thanks a lot" not in json.dumps(asked[0]), "it was not yet written"
    second = json.dumps(asked[1])
    assert HOURS[1] in second, "what the record says was answered"
    assert "Re: When are you open?" not in second, "and not what is said now"
    spent = await owner.fetchval("SELECT sum(test_tokens_used)::bigint FROM usage_tracking")
    assert replayed["tokens"] == spent > 0
    after = await everything(owner)
    changed = {name for name in after if after[name] != before[name]}
    assert changed <= {"usage_tracking", "monthly_usage_summary", "model_usage", "model_calls"}
    assert [one for one in await recount(owner, ours.user_id) if one.what.why is None] == []


@pytest.mark.parametrize("where", ["plan", "budget"])
async def test_what_there_are_no_tokens_for_is_not_asked(
    owner: Conn,
    pool: Pool,
    agent: Agent,
    ours: Tenant,
    command: Command,
    simulator: Simulator,
    where: str,
) -> None:
    _, conversation = await spoken(owner, pool, agent, ours, "When are you open?")
    budget = ("--budget", "10") if where == "budget" else ()
    if where == "plan":
        await owner.execute(
            "UPDATE user_subscriptions SET subscription_config ="
            ' \'{"limits": {"max_test_tokens_per_day": 10}}\''
        )
    result = await modelled(command, simulator)("replay", str(conversation), "--json", *budget)
    assert result.code == 1
    shown = json.loads(result.out)
    assert shown["stopped"] == ("limit_reached" if where == "plan" else "budget_reached")
    assert shown["turns"][0]["now"] is None
    assert await simulator.log("model") == []
    assert await owner.fetchval("SELECT count(*) FROM evals") == 0


async def test_an_erasure_ends_it_and_nothing_that_was_read_is_shown(
    owner: Conn, pool: Pool, agent: Agent, ours: Tenant, command: Command, simulator: Simulator
) -> None:
    _, conversation = await spoken(owner, pool, agent, ours, "When are you open?", "And today?")
    await simulator.config(model_latency_ms=3_000)
    replay = modelled(command, simulator)("replay", str(conversation), "--json")
    under_way = asyncio.ensure_future(replay)

    async def held() -> int:
        found: int = await owner.fetchval("SELECT count(*) FROM eval_holds")
        return found

    await until(held, lambda n: n == 1)
    async with tenant(pool, ours.user_id) as conn:
        await forget_people_in_evals(conn, ours.user_id)
    result = await under_way
    assert result.code == 1
    assert result.out == ""
    assert "it was ended" in result.err
    assert "Traceback" not in result.err
    assert await owner.fetchval("SELECT count(*) FROM evals") == 0
    assert await owner.fetchval("SELECT count(*) FROM eval_holds") == 0
    spent = await owner.fetchval("SELECT sum(test_tokens_used)::bigint FROM usage_tracking")
    assert spent > 0, "what was asked before is counted"


async def test_tools_are_answered_from_the_record(
    owner: Conn, shop: Shop, command: Command
) -> None:
    """A request that the day's limit kept back then is kept back again."""
    who = await shop.customer()
    await owner.execute(
        "UPDATE user_subscriptions SET subscription_config ="
        ' \'{"limits": {"max_actions_per_day": 0}}\''
    )
    call = {"name": "request_human_action", "arguments": {"type": "refund", "details": "5 EUR"}}
    await shop.simulator.rules({"match": "money", "tool_calls": [call]})
    first = await shop.turn(who, "my money please")
    assert "not requested" in json.dumps(first.requests[-1])
    await owner.execute("UPDATE user_subscriptions SET subscription_config = '{}'")
    await shop.simulator.rules({"match": "money", "tool_calls": [call]})
    replayed = (await modelled(command, shop.simulator)("replay", str(who[1]), "--json")).json
    (turn,) = replayed["turns"]
    assert turn["then"]["tools"] == turn["now"]["tools"]
    assert [one["refused"] for one in turn["now"]["tools"]] == [True]
    assert turn["now"]["actions"] == []
    assert "not requested" in json.dumps((await shop.simulator.log("model"))[-1])
