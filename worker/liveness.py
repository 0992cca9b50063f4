"""This worker's beat, from a thread of its own.

A lease is (worker, epoch); a worker is dead when it has not beaten for TERM by the database's
clock. Model work on the main loop can starve a task there for longer than that, a thread with its
own loop and connection it cannot. A main loop that hangs for HUNG_S is dead all the same, so the
beat ends.
"""

import asyncio
import threading
import time
from datetime import timedelta

import structlog

from db.ids import WorkerId
from db.pool import UNAVAILABLE, Conn, connect_runtime
from db.workers import beat, register_worker, retire_worker

log: structlog.stdlib.BoundLogger = structlog.get_logger()

BEAT_S = 1.0
TERM = timedelta(seconds=4)
HUNG_S = 15.0


class Liveness:
    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="beat", daemon=True)
        self._main_loop_seen = time.monotonic()
        self._last_beat: float | None = None
        self._steady_since: float | None = None
        self.worker_id: WorkerId | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Retires the worker, so that what it still held is free at once."""
        self._stop.set()
        self._thread.join(timeout=5)

    def main_loop_runs(self) -> None:
        """Said by the main loop, again and again."""
        self._main_loop_seen = time.monotonic()

    @property
    def is_alive(self) -> bool:
        """Whether others take this worker for alive, as far as it can know."""
        return (
            self.worker_id is not None
            and self._last_beat is not None
            and time.monotonic() - self._last_beat < TERM.total_seconds() / 2
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

    async def _beat_forever(self) -> None:
        conn: Conn | None = None
        while not self._stop.is_set():
            started = time.monotonic()
            if started - self._main_loop_seen > HUNG_S:
                log.error("worker.main_loop_hangs", seconds=round(started - self._main_loop_seen))
            else:
                try:
                    async with asyncio.timeout(BEAT_S * 2):
                        if conn is None or conn.is_closed():
                            conn = await connect_runtime(self._url, f"swiftreplies {self._name}")
                        await self._beat(conn)
                except Exception as error:  # a beat thread that ended would leave a zombie
                    self._steady_since = None
                    if conn is not None:
                        conn.terminate()
                        conn = None
                    log.warning("worker.beat_missed", exc_info=error)
            await asyncio.to_thread(
                self._stop.wait, max(0.05, BEAT_S - (time.monotonic() - started))
            )
        if conn is not None and self.worker_id is not None:
            try:
                await retire_worker(conn, self.worker_id)
                await conn.close()
            except UNAVAILABLE as error:
                log.warning("worker.not_retired", error=type(error).__name__)

    async def _beat(self, conn: Conn) -> None:
        if self.worker_id is None or await beat(conn, self.worker_id) is None:
            if self.worker_id is not None:
                log.error("worker.was_taken_for_dead", worker_id=self.worker_id)
            self.worker_id = await register_worker(conn, self._name)
            log.info("worker.registered", worker_id=self.worker_id)
            self._steady_since = None
        now = time.monotonic()
        if self._last_beat is None or now - self._last_beat > BEAT_S * 2:
            self._steady_since = None
        if self._steady_since is None:
            self._steady_since = now
        self._last_beat = now
