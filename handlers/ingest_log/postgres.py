"""The ingest log as a table of the database: for trying out and for small installations.

A batch is one transaction that holds its lanes by advisory locks of the transaction, reads, waits
for the handler, and deletes. Such a lock needs no clock and no session, so it also holds behind a
pooler that lends its connections for a transaction; it ends with its connection, and a process
that only fell silent loses it after the 30 s that the server lets a transaction idle. Its handler
may then still run beside the successor's: that is harmless, because the successor begins with the
same entries, recording one twice changes nothing, and who lost the lock can delete nothing.

Entries are read by existence and deleted by name. A reader with a cursor would pass over an entry
whose smaller id is committed later; so here it is only read later, and publishers wait for nobody.

Readers look again and again instead of being woken: a NOTIFY makes all commits of a database queue
for one lock.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog

from db.ingest_log import (
    Size,
    Waiting,
    add_entries,
    connect_consuming,
    connect_publishing,
    count_deliveries,
    is_waiting,
    lock_lanes,
    log_size,
    move_entry,
    publishing_pool,
    read_entries,
    remove_entries,
)
from db.pool import REFUSED, UNAVAILABLE, Conn, Pool
from handlers.ingest_log.port import (
    BATCH_BYTES,
    BATCH_MAX,
    DEAD_LANES,
    DELIVERY_LIMIT,
    LANES,
    PUBLISH_TIMEOUT_S,
    RECONNECT_MAX_S,
    RECONNECT_MIN_S,
    Entry,
    HandBack,
    Handler,
    Lane,
    NotDurable,
    NotNow,
    pause_before_retry,
    until_stopped,
)
from handlers.process import telemetry

NAME = "postgresql"

ENTRIES_MAX = 100_000  # then nothing more is taken, as by a queue that is full
BYTES_MAX = 1024 * 1024 * 1024
LOOK_S = 1.0  # between two looks at the size; it may be passed by what comes in between
PUBLISH_CONNECTIONS = 8
LANES_AT_ONCE = 4  # in a batch: the others are for other workers
POLL_MIN_S = 0.005
POLL_MAX_S = 0.05
KEEP_S = 10.0  # a handler may take longer than a transaction may idle (30 s)
SUSPECT = 3  # deliveries after which an entry is handled alone, so that no other shares its end

_LOST = (*UNAVAILABLE, *REFUSED)
UNREACHABLE = (*_LOST, NotDurable)
_NUMBERS = {lane: n for n, lane in enumerate((*LANES, "status", "other", *DEAD_LANES))}

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def prove(url: str, name: str) -> None:
    async with _connected(connect_publishing(url, f"swiftreplies {name}")):
        return


async def prepare(url: str) -> str:
    async with _connected(connect_publishing(url, "swiftreplies migrate")) as conn:
        await log_size(conn)
    return "ingest log is current, a table of it"


@asynccontextmanager
async def publishing(url: str) -> AsyncIterator[Callable[[Entry], Awaitable[None]]]:
    async with _connected(connect_publishing(url, "swiftreplies command")) as conn:
        if (problem := full(await log_size(conn))) is not None:
            raise NotDurable(problem)

        async def publish(entry: Entry) -> None:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await add_entries(conn, [entry.lane], [entry.body])

        yield publish


@asynccontextmanager
async def _connected(connecting: Awaitable[Conn]) -> AsyncIterator[Conn]:
    """Cut at the end: what it held is free, and no answer of the server's is waited for."""
    conn = await connecting
    try:
        yield conn
    finally:
        conn.terminate()


def full(size: Size) -> str | None:
    """Why nothing more is taken."""
    if size.entries < ENTRIES_MAX and size.bytes < BYTES_MAX:
        return None
    return f"the ingest log is full: {size.entries} entries, {size.bytes // 2**20} MiB"


class Publisher:
    """The door's side. `run` looks whether the database answers and has room."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        self._pool: Pool | None = None
        self._problem: str | None = None
        self._doubtful = asyncio.Event()

    @property
    def problem(self) -> str | None:
        return "not connected to PostgreSQL" if self._pool is None else self._problem

    async def run(self) -> None:
        pool = await publishing_pool(
            self._url, size=PUBLISH_CONNECTIONS, name=f"swiftreplies {self._name}"
        )
        try:
            while True:
                await self._look(pool)
                self._doubtful.clear()
                away = self._pool is None
                wait = random.uniform(RECONNECT_MIN_S, RECONNECT_MAX_S) if away else LOOK_S
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._doubtful.wait()
        finally:
            self._pool = None
            pool.terminate()

    async def _look(self, pool: Pool) -> None:
        try:
            async with _lent(pool) as conn:
                self._problem = full(await log_size(conn))
        except _LOST as error:
            self._pool = None
            log.warning("ingest_log.unreachable", connection=self._name, **telemetry.named(error))
        else:
            if self._pool is None:
                log.info("ingest_log.connected", connection=self._name)
            self._pool = pool

    async def publish(self, entries: Sequence[Entry]) -> None:
        pool = self._pool
        if pool is None or self.problem is not None:
            raise NotDurable(self.problem or "not connected to PostgreSQL")
        if not entries:
            return
        try:
            async with _lent(pool) as conn:
                await add_entries(conn, [e.lane for e in entries], [e.body for e in entries])
        except UNAVAILABLE as error:
            self._doubtful.set()
            raise NotDurable(f"not confirmed: {type(error).__name__}") from error
        except REFUSED as error:
            raise NotDurable(f"refused: {type(error).__name__}") from error


@asynccontextmanager
async def _lent(pool: Pool) -> AsyncIterator[Conn]:
    """For as long as a publish may take; the wait for a connection is part of it."""
    async with asyncio.timeout(PUBLISH_TIMEOUT_S), pool.acquire() as conn:
        try:
            yield conn
        except (*UNAVAILABLE, asyncio.CancelledError):
            conn.terminate()  # giving it back would wait for the server's answer
            raise


async def consume(
    url: str,
    name: str,
    lanes: Sequence[Lane],
    handler: Handler,
    stop: asyncio.Event,
    on_state: Callable[[bool], None] = lambda _: None,
) -> None:
    handling = False  # between two batches there is nothing to finish

    async def observed(bodies: Sequence[bytes]) -> None:
        nonlocal handling
        handling = True
        try:
            await handler(bodies)
        finally:
            handling = False

    async def session(holder: Conn, counter: Conn) -> None:
        await is_waiting(counter, lanes)  # raises as long as there is no table
        on_state(True)
        log.info("ingest_log.connected", connection=name, lanes=len(lanes))
        pause_s = POLL_MIN_S
        try:
            while not stop.is_set():
                if await is_waiting(counter, lanes) and await _batch(
                    holder, counter, lanes, observed, stop
                ):
                    pause_s = POLL_MIN_S
                    continue
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await stop.wait()
                pause_s = min(pause_s * 2, POLL_MAX_S)
        finally:
            on_state(False)

    await until_stopped(_serve(url, name, session, stop.is_set), stop, lambda: handling)


async def _serve(
    url: str,
    name: str,
    session: Callable[[Conn, Conn], Awaitable[None]],
    is_over: Callable[[], bool],
) -> None:
    """One session after the other, until it is over."""

    def connected() -> AbstractAsyncContextManager[Conn]:
        return _connected(connect_consuming(url, f"swiftreplies {name}"))

    while not is_over():
        try:
            async with connected() as holder, connected() as counter:
                await session(holder, counter)
        except HandBack:
            log.warning("ingest_log.handed_back", connection=name)
        except _LOST as error:
            log.warning("ingest_log.lost", connection=name, **telemetry.named(error))
        if not is_over():
            await asyncio.sleep(random.uniform(RECONNECT_MIN_S, RECONNECT_MAX_S))


async def _batch(
    holder: Conn, counter: Conn, lanes: Sequence[Lane], handler: Handler, stop: asyncio.Event
) -> bool:
    """Whether there was one. What it raises ends the session."""
    await holder.execute("BEGIN")
    shuffled = {lane: _NUMBERS[lane] for lane in random.sample(lanes, len(lanes))}
    held = await lock_lanes(holder, shuffled, LANES_AT_ONCE)
    waiting = await read_entries(holder, held, BATCH_MAX // len(held), BATCH_BYTES) if held else []
    if waiting:
        batch = chosen(waiting)
        dead_lane = dead_lane_of(batch[0].lane)
        if batch[0].delivered >= DELIVERY_LIMIT and dead_lane is not None:
            await move_entry(holder, batch[0], dead_lane)
        else:
            firsts = {entry.lane: entry.id for entry in reversed(batch)}
            # Committed by another connection before the handler begins, and so not lost with it.
            await count_deliveries(counter, firsts)
            failures = 0
            while not await _handled(holder, handler, [entry.body for entry in batch]):
                await pause_before_retry(failures, stop)
                failures += 1
                if len(batch) > 1 or batch[0].delivered < SUSPECT:  # not one that is tried alone
                    batch = await read_entries(holder, held, BATCH_MAX // len(held), BATCH_BYTES)
            await remove_entries(holder, batch)
    await holder.execute("COMMIT")
    return bool(waiting)


def chosen(waiting: Sequence[Waiting]) -> list[Waiting]:
    """All of them, or alone the one that was delivered too often to be trusted."""
    worst = max(waiting, key=lambda entry: entry.delivered)
    return [worst] if worst.delivered >= SUSPECT else list(waiting)


def dead_lane_of(lane: Lane) -> Lane | None:
    """None: it is one."""
    if lane in DEAD_LANES:
        return None
    return "dead-inbound" if lane in LANES else f"dead-{lane}"


async def _handled(holder: Conn, handler: Handler, bodies: Sequence[bytes]) -> bool:
    """Waits for the handler, and keeps the transaction from idling; when that is lost, the handler
    is not needed any more. False: not now."""
    handling = asyncio.ensure_future(handler(bodies))
    try:
        while not (await asyncio.wait({handling}, timeout=KEEP_S))[0]:
            await holder.execute("SELECT")
        handling.result()
    except NotNow:
        return False
    finally:
        handling.cancel()
        await asyncio.wait({handling})
    return True
