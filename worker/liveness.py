"""This worker's beat, from a thread of its own.

A lease is (worker, epoch); a worker is dead when it has not beaten for TERM by the database's
clock. Model work on the main loop can starve a task there for longer than that, a thread with its
own loop and connection it cannot. A main loop that hangs for HUNG_S is dead all the same, so the
beat ends.

A process that was killed is known dead sooner, by the lock of the session that beats
(worker/session_lock.py): whoever watches looks every LOOK_S, in its own such session, whether the
others' are still held.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta

import structlog

from db.ids import WorkerId
from db.pool import REFUSED, UNAVAILABLE, Conn, connect_runtime
from db.workers import beat, beat_without_lock, register_worker, retire_worker
from handlers.process import telemetry
from worker.session_lock import SessionLock

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BEAT_S = 1.0
TERM = timedelta(seconds=4)
HUNG_S = 15.0
LOOK_S = 0.25
LOOK_TIMEOUT_S = 0.75  # the next beat waits for it
AGAIN_S = 0.5  # without a session
SHORTEST_REST_S = 0.05

Tell = Callable[[Sequence[int]], object]


class Liveness:
    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None  # the thread's
        self._due = asyncio.Event()  # to beat at once: the session ended, or all does
        self._main_loop_seen = time.monotonic()
        self._last_beat: float | None = None
        self._steady_since: float | None = None
        self._conn: Conn | None = None
        self._former: Conn | None = None  # left, and cut when the row no longer names its lock
        self._lock = SessionLock(self._connect)
        self._tell: Tell | None = None
        self.worker_id: WorkerId | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Retires the worker, so that what it still held is free at once."""
        self._stop.set()
        with contextlib.suppress(RuntimeError):  # it has ended by itself
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._due.set)
        self._thread.join(timeout=5)

    def watch(self, tell: Tell) -> None:
        """`tell` is called, in the beat's thread, with the locks of others that are broken."""
        self._tell = tell

    def main_loop_runs(self) -> None:
        """Said by the main loop, again and again."""
        self._main_loop_seen = time.monotonic()

    @property
    def is_alive(self) -> bool:
        """Whether others take this worker for alive, as far as it can know."""
        last = self._last_beat
        return (
            self.worker_id is not None
            and last is not None
            and time.monotonic() - last < TERM.total_seconds() / 2
        )

    @property
    def steady_since(self) -> float | None:
        """Since when the database has been within reach without a gap; None: it is not."""
        return self._steady_since if self.is_alive else None

    @property
    def may_judge(self) -> bool:
        """After an outage every beat is old: who judges has been beating for a whole term."""
        since = self.steady_since
        return since is not None and time.monotonic() - since > TERM.total_seconds()

    def _run(self) -> None:
        asyncio.run(self._beat_forever())

    async def _connect(self) -> Conn:
        return await connect_runtime(self._url, f"swiftreplies {self._name}")

    async def _beat_forever(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not self._stop.is_set():
            started = time.monotonic()
            self._due.clear()
            if started - self._main_loop_seen > HUNG_S:
                log.error("worker.main_loop_hangs", seconds=round(started - self._main_loop_seen))
            else:
                try:
                    async with asyncio.timeout(BEAT_S * 2):
                        conn, worker_id = await self._beat()
                    await self._lock.take(conn, worker_id)
                except Exception as error:  # a beat thread that ended would leave a zombie
                    self._leave()
                    log.warning("worker.beat_missed", exc_info=error)
            wait_s = BEAT_S if self._conn is not None else AGAIN_S
            await self._rest(max(started + wait_s, time.monotonic() + SHORTEST_REST_S))
        await self._retire()

    async def _beat(self) -> tuple[Conn, WorkerId]:
        worker_id, conn = self.worker_id, self._conn
        known: WorkerId | None = None
        if conn is None:
            conn = await self._begin()
            if worker_id is not None:
                known = await beat_without_lock(conn, worker_id)
            self._cut_former()
        elif worker_id is not None:
            known = await beat(conn, worker_id)
            if known is None and not self.is_alive:
                self._lock.is_gone()  # by its beats, and the lock is that of a row that is no more
            await self._lock.look_at_own(conn, worker_id)
        if known is None:
            if worker_id is not None:
                log.error("worker.was_taken_for_dead", worker_id=worker_id)
            self.worker_id = known = await register_worker(conn, self._name)
            log.info("worker.registered", worker_id=known)
            self._steady_since = None
        self._has_beaten()
        return conn, known

    def _has_beaten(self) -> None:
        now = time.monotonic()
        if self._last_beat is None or now - self._last_beat > BEAT_S * 2:
            self._steady_since = None
        if self._steady_since is None:
            self._steady_since = now
        self._last_beat = now

    async def _begin(self) -> Conn:
        """A session in the place of the last one."""
        conn = await self._connect()
        conn.add_termination_listener(self._is_cut)
        self._conn = conn
        return conn

    def _leave(self) -> None:
        """A session that gives no answer. Where it still holds its lock it is kept until its row
        names another one: a database that was slow is no death."""
        self._steady_since = None
        conn, self._conn = self._conn, None
        self._lock.is_gone()
        if self._former is None:
            self._former = conn
        elif conn is not None:
            conn.terminate()

    def _cut_former(self) -> None:
        if self._former is not None:
            self._former.terminate()
            self._former = None

    def _is_cut(self, conn: object) -> None:
        """A session ended, here or at the server's end. Until the next one has beaten this worker
        claims nothing: others may hold it for dead already."""
        if conn is not self._conn:
            return
        if self._steady_since is not None and time.monotonic() - self._steady_since > BEAT_S:
            self._due.set()
        self._conn = self._last_beat = self._steady_since = None
        self._lock.is_gone()

    async def _rest(self, until: float) -> None:
        while not self._due.is_set() and (left_s := until - time.monotonic()) > 0:
            await self._look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, LOOK_S)):
                    await self._due.wait()

    async def _look(self) -> None:
        """For others whose lock is broken."""
        if self._tell is None or self._conn is None or self.worker_id is None:
            return
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                broken = await self._lock.broken(self._conn, self.worker_id, TERM)
        except (*UNAVAILABLE, *REFUSED) as error:
            log.warning("worker.look_failed", **telemetry.named(error))
            return
        if broken:
            with contextlib.suppress(RuntimeError):  # the main loop has ended
                self._tell(broken)

    async def _retire(self) -> None:
        conn = self._conn
        self._cut_former()
        if conn is None or self.worker_id is None:
            return
        try:
            await retire_worker(conn, self.worker_id)
            await conn.close()
        except UNAVAILABLE as error:
            log.warning("worker.not_retired", **telemetry.named(error))
