"""Tests for bots: a suite, and a bot in memory that it is run against."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from db.conversations import TurnContext
from db.ids import ChatbotId, ContactId, UserId
from db.pool import Pool
from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.knowledge import Knowledge
from handlers.agent.offline import Offline
from handlers.agent.prompt import Row
from handlers.agent.spending import Spent
from handlers.evals.answering import Bench
from handlers.evals.reading import read_suite
from handlers.evals.results import CaseResult
from handlers.evals.running import at_the_suite_s_time, run_case
from handlers.turns.thinking import Paying, Thinker

HOURS, LATE = "When are you open?", "Can I come after six?"
ROWS = (
    Row(1, None, HOURS, "From 7:00 to 18:00."),
    Row(2, None, "How much is a birthday cake?", "A birthday cake is 38.50 EUR."),
    Row(3, "needs_human", "My cake is broken, I want my money back", "A person will look at it."),
)
CONTEXT = TurnContext(
    chatbot_id=ChatbotId(1),
    contact_id=ContactId(0),
    thread_id="eval",
    answered_seq=0,
    attempts=0,
    rebuild_thread=False,
    failing_since=None,
    model_tries=0,
    told_slow=False,
    chatbot_failing=False,
    mine=True,
    now=datetime(2026, 11, 24, 8, 30, tzinfo=UTC),
    last_inbound_at=None,
    taken_over=False,
    by_human=False,
    paused=False,
    blocked=False,
    over_limit=False,
    contact_name=None,
    contact_language=None,
    chatbot_name="Luma",
    chatbot_language="en",
    texts={},
    chatbot_active=True,
    business_hours=None,
    answer_checks="block",
    phone_number_id=None,
    access_token=None,
    general_instructions=None,
    timezone="Europe/Madrid",
    tenant_language="en",
    currency="EUR",
    instructions=[],
    kb_version=1,
    plan={},
    open_actions=[],
    facts=[],
    budgets={},
)


def bench(answerer: Answerer | None = None, rows: tuple[Row, ...] = ROWS) -> Bench:
    """Nothing of it needs a database: the budget has no money in it."""
    agent = Agent(answerer or Offline())
    thinker = Thinker(cast("Pool", None), agent, UserId(1), "eval")
    return Bench(thinker, Knowledge(1, rows))


async def run(
    text: str, *, on: Bench | None = None, paying: Paying | None = None, **context: Any
) -> list[CaseResult]:
    suite = read_suite(text)
    at = at_the_suite_s_time(suite, replace(CONTEXT, **context))
    paying = paying or Paying(Spent(), None)
    return [await run_case(on or bench(), case, at, suite.repeat, paying) for case in suite.cases]


def answers(result: CaseResult) -> list[str]:
    return [one.outcome.text for one in result.runs[0].turns]


def findings(result: CaseResult) -> list[str]:
    return [f"{f.check}: {f.why}" for run in result.runs for one in run.turns for f in one.failed]
