"""Runs the product's coroutines so that a test says who goes on, and how far.

Every job has a pool of its own whose connections stop before each statement, before each COMMIT
and where a transaction would begin. Nothing runs but what the test lets on; so a transaction can
stay open, with its locks, for as long as the test likes. A statement that waits for another job's
lock is seen in pg_blocking_pids(): then nothing moves any more, and the test goes on with another
job. Who waited is on its way again when the lock goes, up to its next stop.

A statement outside a transaction is given one, because its own can be just as slow to commit.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncpg

from db.pool import Conn, Pool

LOOK_S = 0.003  # a statement that took longer may be waiting for a lock: look
GIVE_UP_S = 60.0  # of a machine that is loaded
NEVER_S = 1e6  # that the clock is moved on ends no statement that waits for a lock

# Where a job can stand.
BEGIN, STATEMENT, COMMIT = "begin", "statement", "commit"
THINK, CALL = "think", "call"  # where the model and the Graph API are asked

# What can become of a COMMIT.
LOST, UNHEARD = "lost", "unheard"  # it never arrived; it did, and its answer was lost


class VirtualClock(asyncio.SelectorEventLoop):
    """Nobody waits for a pause of the product: the clock is moved on instead."""

    skipped_s = 0.0

    def time(self) -> float:
        return time.monotonic() + self.skipped_s


class Job:
    """A coroutine of the product, and where it stands."""

    def __init__(self, stepper: "Stepper", name: str, process: object) -> None:
        self.stepper = stepper
        self.name = name
        self.process: Any = process  # whom a crash takes along
        self.gate: str | None = None
        self.passes: frozenset[str] = frozenset()  # gates at which it does not stop for now
        self.asked: Any = None  # what the outsider at the gate was asked
        self.statement: asyncio.Future[Any] | None = None
        self.pid = 0
        self.dead = False
        self.faulty = False  # a commit of it was lost or unheard
        self.waits_since: int | None = None  # for a lock: which goes when some transaction ends
        self.began = 0  # the step at which its transaction began
        self.claimed = 0  # that at which a claim looked and found it
        self.task: asyncio.Task[Any]
        self._permit: asyncio.Future[Any] | None = None

    @property
    def done(self) -> bool:
        return self.task.done()

    @property
    def blocked(self) -> bool:
        return not self.done and self.gate is None

    @property
    def pool(self) -> Pool:
        return cast("Pool", SteppedPool(self))

    async def stop(self, gate: str, asked: Any = None) -> Any:
        """From inside the job: stands at the gate until it is let on."""
        if gate in self.passes:
            return None
        self.gate, self.asked, self.waits_since = gate, asked, None
        self._permit = asyncio.get_running_loop().create_future()
        self.stepper.changed.set()
        return await self._permit

    def let_on(self, verdict: Any = None) -> None:
        assert self._permit is not None
        assert self.gate is not None
        self.gate = None
        self._permit.set_result(verdict)

    def __repr__(self) -> str:
        where = "done" if self.done else self.gate or "waits for a lock"
        return f"<{self.name}: {where}>"


class SteppedPool:
    def __init__(self, job: Job) -> None:
        self._job = job

    def get_max_size(self) -> int:
        return 16

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Conn]:
        job = self._job
        if job.dead:
            raise asyncpg.ConnectionDoesNotExistError("the process is gone")
        real = await job.stepper.connection()
        line = SteppedConnection(job, real)
        try:
            yield cast("Conn", line)
        finally:
            await line.hang_up()
            job.stepper.idle.append(real)


class SteppedConnection:
    def __init__(self, job: Job, real: Conn) -> None:
        self._job = job
        self._real = real
        self._open = False
        self._gone = False

    async def execute(self, query: str, *args: Any) -> Any:
        return await self._run("execute", query, args)

    async def fetch(self, query: str, *args: Any) -> Any:
        return await self._run("fetch", query, args)

    async def fetchrow(self, query: str, *args: Any) -> Any:
        return await self._run("fetchrow", query, args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        return await self._run("fetchval", query, args)

    def terminate(self) -> None:
        self._gone = True

    async def hang_up(self) -> None:
        """What PostgreSQL does with a connection that breaks."""
        statement = self._job.statement
        if statement is not None:
            if not statement.done():
                await self._job.stepper.look("SELECT pg_cancel_backend($1)", self._job.pid)
            await asyncio.wait([statement])
            self._job.statement = None
        if self._real.is_in_transaction():
            await self._real.execute("ROLLBACK")
            self._job.stepper.endings += 1
        self._open = False

    async def _run(self, how: str, query: str, args: Sequence[Any]) -> Any:
        if self._gone or self._job.dead:
            raise asyncpg.ConnectionDoesNotExistError("the connection is gone")
        if query.endswith("COMMIT"):  # with the counters, in one message
            return await self._commit(query)
        match query.split(None, 1)[0].rstrip(";"):
            case "BEGIN":
                await self._job.stop(BEGIN)
                await self._send(how, query, args)
                self._job.began = self._job.stepper.step
                self._open = True
            case "ROLLBACK":
                await self.hang_up()
            case _ if self._open:
                await self._job.stop(STATEMENT)
                return await self._send(how, query, args)
            case _:
                await self._job.stop(BEGIN)
                await self._send("execute", "BEGIN", ())
                self._job.began = self._job.stepper.step
                try:
                    found = await self._send(how, query, args)
                    await self._commit()
                except BaseException:
                    await self.hang_up()
                    raise
                return found
        return None

    async def _commit(self, query: str = "COMMIT") -> None:
        fault = await self._job.stop(COMMIT)
        if fault != LOST:
            await self._send("execute", query, ())
            self._job.stepper.commits += 1
            self._job.stepper.endings += 1
        if fault is not None:
            self._job.faulty = True
            await self.hang_up()
            self._gone = True
            raise asyncpg.ConnectionDoesNotExistError("the connection broke at the commit")
        self._open = False

    async def _send(self, how: str, query: str, args: Sequence[Any]) -> Any:
        # Not awaited directly: a job that is cancelled must not tear the connection.
        statement = getattr(self._real, how)
        running = asyncio.ensure_future(statement(query, *args, timeout=NEVER_S))
        self._job.statement = running
        self._job.pid = self._real.get_server_pid()
        running.add_done_callback(self._job.stepper.ended)
        found = await asyncio.shield(running)
        self._job.statement = None
        return found


class Stepper:
    """All jobs of a run. `commits` tells that there is something new to look at."""

    def __init__(self, connect: Callable[[], Coroutine[Any, Any, Conn]], observer: Conn) -> None:
        self.jobs: list[Job] = []
        self.idle: list[Conn] = []
        self.changed = asyncio.Event()
        self.step = 0
        self.commits = 0
        self.endings = 0  # of transactions, with their locks
        self.lock_waits = 0
        self.deadlocks = 0
        self._connect = connect
        self._observer = observer
        self._observing = asyncio.Lock()

    @property
    def somebody_is_inside(self) -> bool:
        """A transaction, with its locks."""
        return any(j.blocked or j.gate in (STATEMENT, COMMIT) for j in self.jobs if not j.done)

    async def connection(self) -> Conn:
        return self.idle.pop() if self.idle else await self._connect()

    async def look(self, query: str, *args: Any) -> list[Any]:
        async with self._observing:
            return await self._observer.fetch(query, *args)

    async def start(
        self, name: str, process: object, work: Callable[[Job], Coroutine[Any, Any, Any]]
    ) -> Job:
        job = Job(self, name, process)
        job.task = asyncio.create_task(work(job))
        job.task.add_done_callback(self.ended)
        self.jobs.append(job)
        await self.quiet()
        return job

    def ended(self, what: "asyncio.Future[Any]") -> None:
        if not what.cancelled():  # and whoever waits for it hears of it as well
            self.deadlocks += isinstance(what.exception(), asyncpg.DeadlockDetectedError)
        self.changed.set()

    async def let_on(self, job: Job, verdict: Any = None) -> None:
        self.step += 1
        job.let_on(verdict)
        await self.quiet()

    async def kill(self, jobs: Sequence[Job]) -> None:
        """As when the process dies: what was not committed is gone, and no word is said."""
        for job in jobs:
            job.dead = True
            job.task.cancel()
        await self._gone(jobs)

    async def cancel(self, job: Job) -> None:
        """As when the process is asked to end: the job may tidy up."""
        job.task.cancel()
        job.gate = None
        await self.quiet()

    async def _gone(self, jobs: Sequence[Job]) -> None:
        if jobs:
            await asyncio.wait([job.task for job in jobs], timeout=GIVE_UP_S)
        for job in jobs:
            assert job.done, f"{job} survived"
            job.gate = None
        await self.quiet()

    async def quiet(self) -> None:
        """Returns when nothing moves: each job stands at a gate, has ended or waits for a lock."""
        deadline = time.monotonic() + GIVE_UP_S
        twice = False
        while moving := [j for j in self.jobs if j.blocked]:
            if all(j.waits_since == self.endings for j in moving):
                return
            assert time.monotonic() < deadline, f"{moving} never came to a stop"
            self.changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self.changed.wait()
                twice = False
                continue
            moving = [j for j in self.jobs if j.blocked]
            waiting = [j for j in moving if j.statement is not None and not j.statement.done()]
            if len(waiting) < len(moving):
                # One of them pauses before it tries again.
                asyncio.get_running_loop().skipped_s += 0.1  # type: ignore[attr-defined]
                twice = False
            elif not await self._all_wait([j.pid for j in waiting]):
                twice = False
            elif not twice:
                twice = True
            else:
                self.lock_waits += sum(j.waits_since is None for j in waiting)
                for job in waiting:
                    job.waits_since = self.endings

    async def _all_wait(self, pids: Sequence[int]) -> bool:
        """Each for somebody's lock, and not in a circle, which PostgreSQL will break."""
        rows = await self.look(
            "SELECT pid, pg_blocking_pids(pid) AS by FROM unnest($1::int[]) AS pid", pids
        )
        blockers = {row["pid"]: set(row["by"]) for row in rows}
        return all(blockers.values()) and not any(_reaches(blockers, pid) for pid in blockers)


def _reaches(blockers: dict[int, set[int]], start: int) -> bool:
    seen: set[int] = set()
    ahead = set(blockers[start])
    while ahead:
        pid = ahead.pop()
        if pid == start:
            return True
        if pid not in seen:
            seen.add(pid)
            ahead |= blockers.get(pid, set())
    return False
