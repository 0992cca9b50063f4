"""`swiftreplies eval`, as a tenant's build server runs it."""

import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from db.pool import Conn
from db.reconcile import recount
from simulator.client import Simulator
from tests.api.asking import simulated
from tests.cli import Command
from tests.conftest import Database
from tests.factories import Tenant, make_tenant

HOURS = ("When are you open?", "From 7:00 to 18:00.")
GOOD = """
bot: Luma
cases:
  - name: hours
    turns:
      - say: when are you open?
        expect: {contains_all: ["18:00"]}
  - name: "a person \\e[31m"
    turns:
      - say: I want to talk to a human
        expect: {handed_over: true}
""".replace(" \\e[31m", "")


@pytest.fixture
async def ours(owner: Conn) -> Tenant:
    made = await make_tenant(owner)
    await owner.execute(
        "INSERT INTO bot_knowledge_base (user_id, chatbot_id, question, answer)"
        " VALUES ($1, $2, $3, $4)",
        *(made.user_id, made.chatbot_id, *HOURS),
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


def suite(path: Path, text: str = GOOD) -> str:
    file = path / "suite.yaml"
    file.write_text(text)
    return str(file)


def modelled(command: Command, simulator: Simulator) -> Command:
    return Command(
        command.environment
        | {
            "OPENAI_MODEL": "some-model",
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": f"{simulator.url}/v1",
        }
    )


async def traces(owner: Conn) -> dict[str, int]:
    tables = await owner.fetch(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace AND relname NOT LIKE 'eval%'"
        " AND relname NOT IN ('model_calls', 'model_usage', 'usage_tracking',"
        " 'monthly_usage_summary')"
    )
    return {t[0]: await owner.fetchval(f"SELECT count(*) FROM {t[0]}") for t in tables}


async def used(owner: Conn) -> int:
    tokens: int = await owner.fetchval(
        "SELECT coalesce(sum(test_tokens_used), 0)::bigint FROM usage_tracking"
    )
    return tokens


async def test_all_passed_and_nothing_comes_of_it(
    owner: Conn, ours: Tenant, command: Command, tmp_path: Path
) -> None:
    before = await traces(owner)
    result = await command("eval", str(ours.chatbot_id), suite(tmp_path), "--json")
    assert result.code == 0, result
    said = result.json
    assert [(one["name"], one["passed"]) for one in said["cases"]] == [
        ("hours", True),
        ("a person", True),
    ]
    assert (said["passed"], said["fell"], said["tokens"]) == (True, [], 0)
    assert await traces(owner) == before
    assert sorted(result.err.splitlines()) == ["1/2 ok   hours", "2/2 ok   a person"] or (
        len(result.err.splitlines()) == 2
    )


async def test_a_case_that_fails_is_told_and_what_fell_is_named(
    owner: Conn, ours: Tenant, command: Command, tmp_path: Path
) -> None:
    bot, file, out = str(ours.chatbot_id), suite(tmp_path), tmp_path / "junit.xml"
    first = await command("eval", bot, file, "--baseline", "last", "--json")
    assert (first.json["compared"], first.json["fell"]) == (False, []), "there is nothing before"
    draft = tmp_path / "draft.csv"
    draft.write_text("question,answer\nWhen are you open?,Never.\n")
    worse = await command(
        *("eval", bot, file, "--kb", str(draft), "--baseline", "last", "--junit", str(out))
    )
    assert worse.code == 1
    assert "FAIL  hours  (fell)" in worse.out
    assert 'contains_all: "18:00" is not in the answer' in worse.out
    assert "it said: Never." in worse.out
    assert "fell since the last run: hours" in worse.out
    (told,) = ET.parse(out).getroot()
    assert (told.get("tests"), told.get("failures")) == ("2", "1")
    await owner.execute("UPDATE bot_knowledge_base SET answer = 'Never.'")
    again = await command("eval", bot, file, "--baseline", "last", "--json")
    assert again.code == 1
    assert json.loads(again.out)["fell"] == ["hours"], "a draft is nobody's last run"


async def test_instructions_of_a_draft_are_told_to_the_model(
    owner: Conn, ours: Tenant, command: Command, tmp_path: Path, simulator: Simulator
) -> None:
    draft = tmp_path / "new.txt"
    draft.write_text("Say marker-of-a-draft.")
    args = ("eval", str(ours.chatbot_id), suite(tmp_path, ONE), "--instructions", str(draft))
    assert (await modelled(command, simulator)(*args)).code == 0
    (asked,) = await simulator.log("model")
    assert "marker-of-a-draft" in json.dumps(asked)
    assert await owner.fetchval("SELECT is_draft FROM evals")


ONE = """
bot: Luma
cases:
  - name: any
    turns:
      - say: hello there
        expect: {contains_all: "Re: hello there", max_tokens: 100000}
"""


async def test_tokens_are_counted_once_and_held_by_nobody(
    owner: Conn, ours: Tenant, command: Command, tmp_path: Path, simulator: Simulator
) -> None:
    result = await modelled(command, simulator)(
        *("eval", str(ours.chatbot_id), suite(tmp_path, ONE), "--repeat", "3", "--json")
    )
    assert result.json["cases"][0]["runs"] == 3
    spent = result.json["tokens"]
    assert spent == await used(owner) > 0
    calls = await owner.fetch("SELECT kind, sum(calls)::int AS n FROM model_calls GROUP BY 1")
    assert [(row["kind"], row["n"]) for row in calls] == [("eval", 3)]
    assert await owner.fetchval("SELECT count(*) FROM eval_holds") == 0
    assert [one for one in await recount(owner, ours.user_id) if one.what.why is None] == []


@pytest.mark.parametrize("where", ["plan", "budget"])
async def test_what_plan_and_budget_have_no_tokens_for_is_not_run(
    owner: Conn, command: Command, tmp_path: Path, simulator: Simulator, where: str
) -> None:
    config = '{"limits": {"max_test_tokens_per_day": 10}}' if where == "plan" else "{}"
    ours = await make_tenant(owner, config=config)
    budget = ("--budget", "10") if where == "budget" else ()
    result = await modelled(command, simulator)(
        *("eval", str(ours.chatbot_id), suite(tmp_path, ONE), "--json", *budget)
    )
    assert result.code == 1
    why = "limit_reached" if where == "plan" else "budget_reached"
    told = json.loads(result.out)
    assert (told["status"], told["reason"]) == ("stopped", why)
    assert told["cases"] == [{"name": "any", "passed": False, "skipped": why}]
    assert await simulator.log("model") == []
    assert await used(owner) == 0


async def test_a_model_that_is_away_fails_the_case_with_its_reason(
    owner: Conn, ours: Tenant, command: Command, tmp_path: Path, simulator: Simulator
) -> None:
    await simulator.rules({"match": "hello", "status": 400})
    text = ONE.replace('contains_all: "Re: hello there", ', "")
    result = await modelled(command, simulator)(
        "eval", str(ours.chatbot_id), suite(tmp_path, text), "--json"
    )
    assert result.code == 1
    (case,) = json.loads(result.out)["cases"]
    assert case["findings"][0]["why"] == "the model gave no answer: http_400"
    assert case["turns"][0]["how"] == "apologised"
    assert case["turns"][0]["handed_over"] == "model:http_400"


async def test_a_judge_is_told_apart(
    ours: Tenant, command: Command, tmp_path: Path, simulator: Simulator
) -> None:
    await simulator.rules({"match": "criterion", "reply": "FAIL: it is not polite"})
    text = ONE.replace("max_tokens: 100000", "judge: is polite")
    result = await modelled(command, simulator)(
        "eval", str(ours.chatbot_id), suite(tmp_path, text), "--json"
    )
    (case,) = result.json["cases"]
    assert case["passed"]
    assert case["judged"] == [
        {"run": 1, "turn": 1, "judge": "is polite", "held": False, "why": "it is not polite"}
    ]
    offline = await command("eval", str(ours.chatbot_id), suite(tmp_path, text), "--json")
    assert json.loads(offline.out)["cases"][0]["judged"][0]["held"] is None


async def test_an_invalid_suite_is_told_line_by_line(
    ours: Tenant, command: Command, tmp_path: Path
) -> None:
    file = suite(tmp_path, "bot: L\nrepeat: 99\ncases:\n  - nam: x\n    turns: []\n")
    result = await command("eval", str(ours.chatbot_id), file)
    assert (result.code, result.out) == (2, "")
    told = result.err.splitlines()
    assert told[0] == f"swiftreplies: {file} is no suite:"
    assert [line.split(":")[0].strip() for line in told[1:]] == [
        *("line 2", "line 4", "line 4", "line 4"),
    ]
    missing = await command("eval", str(ours.chatbot_id), str(tmp_path / "none.yaml"))
    assert missing.code == 2


async def test_what_tenants_wrote_steers_no_terminal(
    owner: Conn, ours: Tenant, command: Command, tmp_path: Path
) -> None:
    await owner.execute("UPDATE bot_knowledge_base SET answer = E'\\x1b]0;x\\x07\\x1b[2J none'")
    result = await command("eval", str(ours.chatbot_id), suite(tmp_path))
    assert result.code == 1
    assert "\x1b" not in result.out + result.err
    assert "\x07" not in result.out + result.err


async def test_there_is_no_such_chatbot(command: Command, tmp_path: Path) -> None:
    assert "there is no chatbot 99" in await command.refused("eval", "99", suite(tmp_path))


async def test_what_is_off_topic_again_is_declined_without_a_model_that_remembers_the_case(
    owner: Conn, ours: Tenant, command: Command, tmp_path: Path, simulator: Simulator
) -> None:
    await owner.execute("UPDATE chatbots SET topic = 'cakes of the shop'")
    await simulator.rules({"match": "poem", "reply": "I am here for cakes.\n[[off-topic]]"})
    turns = "".join(
        f"      - say: a poem about number {n}\n        expect: {{silent: false}}\n"
        for n in range(3)
    )
    text = f"bot: Luma\ncases:\n  - name: poems\n    turns:\n{turns}"
    result = await modelled(command, simulator)(
        "eval", str(ours.chatbot_id), suite(tmp_path, text), "--json"
    )
    said = result.json["cases"][0]["turns"]
    assert [(one["how"], one["reason"]) for one in said] == [
        ("said", None),
        ("said", None),
        ("told", "off_topic"),
    ]
    first, second = [entry["request"] for entry in await simulator.log("model")]
    assert "a poem about number 0" in json.dumps(second["messages"])
    assert "I am here for cakes." in json.dumps(second["messages"])
    assert len(second["messages"]) > len(first["messages"])


async def test_an_amount_that_stands_nowhere_is_not_said_here_either(
    ours: Tenant, command: Command, tmp_path: Path, simulator: Simulator
) -> None:
    await simulator.rules({"match": "cake", "reply": "A cake is 99.00 EUR."})
    text = """
bot: Luma
cases:
  - name: price
    turns:
      - say: what is a cake?
        expect: {not_contains: "99", amounts_from: [kb, catalogue]}
"""
    result = await modelled(command, simulator)(
        "eval", str(ours.chatbot_id), suite(tmp_path, text), "--json"
    )
    assert result.json["passed"]
    assert len(await simulator.log("model")) == 2, "it was asked once more"
