"""A run of a suite: its cases, a few at a time, each kept as it is done. Whoever goes on with it
leaves out what is kept."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from db.asks import read_bot
from db.conversations import TurnContext
from db.evals import (
    Done,
    Ended,
    Running,
    cases_passed,
    catalogue,
    end_eval,
    keep_case,
    run_before,
)
from db.ids import ChatbotId
from db.pool import Pool, tenant
from handlers.agent.graph import Agent
from handlers.agent.knowledge import Known
from handlers.evals.answering import Bench
from handlers.evals.purse import EvalPurse, NoTokens, Why
from handlers.evals.results import CaseResult, Counted, case_json, fell
from handlers.evals.running import at_the_suite_s_time, run_case
from handlers.evals.suite import Suite
from handlers.exports.work import Lost
from handlers.turns.thinking import Paying, Thinker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CASES_AT_ONCE = 4
CATALOGUE_MAX = 1_000  # products that amounts are looked for in
HELD_TRIES = 3  # of a case, while others hold the day's last tokens


class Gone(Exception):
    """There is no such chatbot any more."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What the bot would be with."""

    knowledge: Known | None = None
    instructions: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    pool: Pool
    agent: Agent
    run: Running
    chatbot_id: ChatbotId
    job_id: int | None
    suite: Suite
    bench: Bench
    context: TurnContext


@dataclass(slots=True)
class Going:
    """How far it is."""

    todo: deque[int]
    stopped: Why | None = None
    lost: bool = False
    tries: dict[int, int] = field(default_factory=dict)


async def bench_of(
    pool: Pool, agent: Agent, chatbot_id: ChatbotId, run: Running, draft: Draft | None = None
) -> tuple[Bench, TurnContext]:
    """Raises Gone."""
    draft = draft or Draft()
    async with tenant(pool, run.user_id) as conn:
        context = await read_bot(conn, run.user_id, chatbot_id)
        products = await catalogue(conn, run.user_id, CATALOGUE_MAX)
    if context is None:
        raise Gone
    if draft.instructions is not None:
        context = replace(context, general_instructions=draft.instructions)
    known = draft.knowledge or await agent.shelf.knowledge(
        pool, run.user_id, chatbot_id, context.kb_version
    )
    return Bench(Thinker(pool, agent, run.user_id, "eval"), known, products), context


async def run_cases(
    session: Session,
    todo: Sequence[int],
    on_done: Callable[[int, CaseResult], None] = lambda *_: None,
    is_over: Callable[[], bool] = lambda: False,
) -> Going:
    """Those places of the suite, until `is_over`; what is begun is finished. Raises Lost."""
    going = Going(deque(todo))

    async def several() -> None:
        while going.todo and going.stopped is None and not going.lost and not is_over():
            place = going.todo.popleft()
            try:
                result = await _one(session, place)
            except NoTokens as none:
                _put_back(going, place, none)
            except Lost:
                going.lost = True
            else:
                on_done(place, result)

    workers = [asyncio.create_task(several()) for _ in range(CASES_AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)
    if going.lost:
        raise Lost
    return going


def _put_back(going: Going, place: int, none: NoTokens) -> None:
    tries = going.tries[place] = going.tries.get(place, 0) + 1
    going.todo.append(place)
    if none.why != "limit_held" or tries >= HELD_TRIES:
        going.stopped = none.why


async def _one(session: Session, place: int) -> CaseResult:
    case, run = session.suite.cases[place], session.run
    answerer = session.agent.answerer(run.user_id, session.context)
    purse = EvalPurse(session.pool, run, session.chatbot_id, place, answerer.name)
    context = at_the_suite_s_time(session.suite, session.context)
    try:
        result = await run_case(
            session.bench, case, context, session.suite.repeat, Paying(purse.spent, purse.afford)
        )
    finally:
        await purse.close()
    done = Done(place=place, name=case.name, passed=result.passed, result=case_json(result))
    async with tenant(session.pool, run.user_id) as conn:
        if not await keep_case(conn, run, session.job_id, done):
            raise Lost
    return result


async def end(session: Session, stopped: str | None) -> Ended | None:
    """None: somebody else has ended it."""
    run = session.run
    async with tenant(session.pool, run.user_id) as conn:
        passed = await cases_passed(conn, run.user_id, run.id)
        before = await run_before(conn, run.user_id, session.chatbot_id, run.id, session.suite.name)
        fallen = None
        if before is not None:
            now = [Counted(name, is_passed) for name, is_passed in passed.items()]
            fallen = fell(now, await cases_passed(conn, run.user_id, before))
        ended = Ended("done" if stopped is None else "stopped", stopped, fallen)
        written = await end_eval(conn, run, ended)
    log.info("eval.ended", user_id=run.user_id, eval_id=run.id, status=ended.status, why=stopped)
    return ended if written else None
