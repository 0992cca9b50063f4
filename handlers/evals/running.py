"""A case is run: its conversation from the beginning, as often as the suite says."""

import asyncio
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

from db.conversations import TurnContext
from handlers.evals.answering import Bench, answered
from handlers.evals.checks import failed
from handlers.evals.judging import judged
from handlers.evals.results import CaseResult, CaseRun, TurnRun
from handlers.evals.suite import Case, Suite
from handlers.evals.talk import PAUSE, Talk
from handlers.turns.thinking import Paying


def at_the_suite_s_time(suite: Suite, context: TurnContext) -> TurnContext:
    """Its `now` is of the tenant's clock. An hour that the clock has twice is the first, one that
    it leaves out is as if it had not moved."""
    if suite.now is None:
        return context
    return replace(
        context, now=suite.now.replace(tzinfo=ZoneInfo(context.timezone)).astimezone(UTC)
    )


async def run_case(
    bench: Bench, case: Case, context: TurnContext, repeat: int, paying: Paying
) -> CaseResult:
    """Raises what the purse raises: then the case was not run."""
    runs = [await _once(bench, case, context, paying) for _ in range(repeat)]
    return CaseResult(case, runs)


async def _once(bench: Bench, case: Case, context: TurnContext, paying: Paying) -> CaseRun:
    talk = Talk(context).begun_with(case.setup)
    turns: list[TurnRun] = []
    for turn in case.turns:
        if turns or turn.after is not None:
            talk.pass_time(turn.after or PAUSE)
        if turn.after is not None and turn.say and talk.events:
            await answered(bench, talk, paying)  # what happened meanwhile was told then
        if turn.say:
            talk.wrote(turn.say)
        outcome = await answered(bench, talk, paying)
        # In a thread: a tenant's expressions may take their time.
        found = await asyncio.to_thread(failed, turn.expect, outcome)
        opinion = None
        if turn.expect.judge is not None:
            answerer = bench.thinker.agent.answerer(bench.thinker.user_id, context)
            opinion = await judged(answerer, turn, outcome, paying)
        turns.append(TurnRun(turn, outcome, found, opinion))
    return CaseRun(turns)
