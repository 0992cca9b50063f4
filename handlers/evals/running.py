"""A case is run: its conversation from the beginning, as often as the suite says."""

import asyncio
import time
from dataclasses import replace
from datetime import UTC
from zoneinfo import ZoneInfo

from db.conversations import TurnContext
from handlers.evals.answering import Bench, answered
from handlers.evals.checks import failed
from handlers.evals.judging import judged
from handlers.evals.outcome import Failed
from handlers.evals.results import CaseResult, CaseRun, TurnRun
from handlers.evals.suite import Case, Suite
from handlers.evals.talk import PAUSE, Talk
from handlers.turns.thinking import Paying

CASE_S = 900.0  # of a case, all its repetitions: another run waits for it
TOO_LONG = f"the case took longer than {CASE_S / 60:.0f} minutes: divide it, or repeat it less"


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
    until = time.monotonic() + CASE_S
    runs: list[CaseRun] = []
    while len(runs) < repeat:
        turns = await _once(bench, case, context, paying, until)
        is_cut = len(turns) < len(case.turns) or len(runs) + 1 < repeat
        if is_cut and time.monotonic() >= until:
            last = turns[-1]
            turns[-1] = replace(last, failed=[*last.failed, Failed("time", TOO_LONG)])
            return CaseResult(case, [*runs, CaseRun(turns)])
        runs.append(CaseRun(turns))
    return CaseResult(case, runs)


async def _once(
    bench: Bench, case: Case, context: TurnContext, paying: Paying, until: float
) -> list[TurnRun]:
    """One turn at least, and no more once the time is up."""
    talk = Talk(context).begun_with(case.setup)
    turns: list[TurnRun] = []
    for turn in case.turns:
        if turns and time.monotonic() >= until:
            break
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
    return turns
