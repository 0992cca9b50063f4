"""The demo's three bots pass their own suites, as anybody runs them."""

import json
from pathlib import Path

import pytest

from db.pool import Conn
from handlers.evals.reading import read_suite
from local.demo_bots import BUSINESSES, DATA, Business
from tests.cli import Command
from tests.conftest import Database

CASES_MIN = 12


def suite_of(business: Business) -> Path:
    return DATA / business.knowledge.replace(".csv", ".yaml")


async def bot(owner: Conn, command: Command, business: Business) -> str:
    """As the demo makes it."""
    tenant = await command(
        *("tenant", "create", "--email", f"demo@{business.bot.lower()}.example", "--json"),
        *("--name", business.name, "--timezone", business.timezone, "--language"),
        business.language,
    )
    made = await command(
        *("chatbot", "create", "--user", str(tenant.json["user_id"]), "--name", business.bot),
        *("--number", "+12025550143", "--instructions", business.instructions, "--json"),
    )
    chatbot = str(made.json["chatbot_id"])
    imported = await command("kb", "import", "--chatbot", chatbot, str(DATA / business.knowledge))
    assert imported.code == 0, imported
    hours = json.dumps(business.hours)
    await owner.execute("UPDATE chatbots SET business_hours = $1::text::jsonb", hours)
    return chatbot


@pytest.mark.parametrize("business", BUSINESSES, ids=lambda one: one.bot)
async def test_a_bot_of_the_demo_passes_its_suite(
    owner: Conn, database: Database, business: Business
) -> None:
    command = Command(
        {
            "DATABASE_URL": database.runtime_url,
            "MIGRATION_DATABASE_URL": database.owner_url,
            "SECRETS_KEY": "a key of the tests: long enough",
            "OPENAI_MODEL": "offline",
        }
    )
    result = await command(
        "eval", await bot(owner, command, business), str(suite_of(business)), "--json"
    )
    report = json.loads(result.out)
    failed = [
        (case["name"], case["findings"], [turn["answer"] for turn in case["turns"]])
        for case in report["cases"]
        if not case["passed"]
    ]
    assert failed == []
    assert result.code == 0
    assert len(report["cases"]) >= CASES_MIN


@pytest.mark.parametrize("business", BUSINESSES, ids=lambda one: one.bot)
def test_a_suite_asks_in_several_languages_and_for_a_person(business: Business) -> None:
    suite = read_suite(suite_of(business).read_text(encoding="utf-8"))
    expected = [turn.expect for case in suite.cases for turn in case.turns]
    assert len({one.language for one in expected if one.language}) >= 2
    assert any(one.handed_over for one in expected)
    assert any(one.actions for one in expected)
