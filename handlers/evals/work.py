"""A run that a job is: slice by slice, so that other tenants' jobs have their turn."""

import asyncio
import time

from db.evals import Ended, Running, begin_eval, end_eval, give_way, places_done
from db.jobs import JobClaim
from db.pool import Pool, tenant
from handlers.agent.graph import Agent
from handlers.evals.document import Invalid
from handlers.evals.house import take_over
from handlers.evals.reading import read_suite
from handlers.evals.session import Gone, Session, bench_of, end, run_cases
from handlers.exports.work import Lost

KIND = "eval"
SLICE_S = 20.0  # before another tenant's job is next; cases that are begun are finished
INVALID = "suite_invalid"


async def do_eval(pool: Pool, agent: Agent, job: JobClaim) -> None:
    """Raises Lost."""
    async with tenant(pool, job.user_id) as conn:
        this = await begin_eval(conn, job)
    if this is None:
        raise Lost
    run = Running(job.user_id, this.id, job.epoch)
    await take_over(pool, run, this.chatbot_id)
    try:
        # In a thread: the loop has the worker's heartbeat.
        suite = await asyncio.to_thread(read_suite, this.suite, this.repeat)
        bench, context = await bench_of(pool, agent, this.chatbot_id, run)
    except (Invalid, Gone) as error:
        await _fail(pool, run, INVALID if isinstance(error, Invalid) else "chatbot_deleted")
        return
    session = Session(
        pool=pool,
        agent=agent,
        run=run,
        chatbot_id=this.chatbot_id,
        job_id=job.id,
        suite=suite,
        bench=bench,
        context=context,
    )
    async with tenant(pool, job.user_id) as conn:
        done = set(await places_done(conn, run.user_id, run.id))
    until = time.monotonic() + SLICE_S
    todo = [place for place in range(len(suite.cases)) if place not in done]
    going = await run_cases(session, todo, is_over=lambda: time.monotonic() > until)
    if going.todo and going.stopped is None:
        async with tenant(pool, job.user_id) as conn:
            await give_way(conn, job)
    elif await end(session, going.stopped) is None:
        raise Lost


async def _fail(pool: Pool, run: Running, why: str) -> None:
    async with tenant(pool, run.user_id) as conn:
        if not await end_eval(conn, run, Ended("failed", why, None)):
            raise Lost
