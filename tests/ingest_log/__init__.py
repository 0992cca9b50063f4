"""The promises of handlers/ingest_log/port.py."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import ClassVar

from handlers.ingest_log.factory import adapter
from handlers.ingest_log.port import LANES, Entry, IngestLog, NotDurable
from tests.e2e.conftest import until


@asynccontextmanager
async def publishing(url: str, *, wait: bool = True) -> AsyncIterator[IngestLog]:
    publisher = adapter(url).Publisher(url, "tests")
    running = asyncio.create_task(publisher.run())
    try:
        if wait:
            await connected(publisher)
        yield publisher
    finally:
        running.cancel()
        await asyncio.wait({running})


async def connected(publisher: IngestLog) -> None:
    async def problem() -> str | None:
        return publisher.problem

    await until(problem, lambda p: p is None)


def entries(numbers: Sequence[int], lanes: Sequence[str] = LANES) -> list[Entry]:
    """Number n goes to lane n modulo their count."""
    return [Entry(lanes[n % len(lanes)], f"{lanes[n % len(lanes)]}:{n}".encode()) for n in numbers]


async def publish_patiently(publisher: IngestLog, batch: Sequence[Entry]) -> None:
    """As Meta does: again and again, until it is told that it is durable."""
    while True:
        try:
            return await publisher.publish(batch)
        except NotDurable:
            await asyncio.sleep(0.05)


@dataclass
class Recorder:
    """A handler that writes down what it gets, and can be told to fail or to take its time."""

    name: str = "recorder"
    batches: list[list[tuple[str, int]]] = field(default_factory=list)
    begun: list[list[tuple[str, int]]] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)  # of the next batches, in order
    gate: asyncio.Event | None = None  # a batch is not done before it is set
    seconds: float = 0.0
    log: list[tuple[str, int]] = field(default_factory=list)  # what was done, of all that share it
    running: int = 0

    async def __call__(self, bodies: Sequence[bytes]) -> None:
        batch = [(lane, int(n)) for lane, n in (body.decode().split(":") for body in bodies)]
        assert self.running == 0, "one batch at a time"
        self.running += 1
        try:
            self.begun.append(batch)
            if self.failures:
                raise self.failures.pop(0)
            if self.gate is not None:
                await self.gate.wait()
            if self.seconds:
                await asyncio.sleep(self.seconds)
            self.batches.append(batch)
            self.log += batch
        finally:
            self.running -= 1

    @property
    def numbers(self) -> list[int]:
        return [n for batch in self.batches for _, n in batch]

    def by_lane(self) -> dict[str, list[int]]:
        return by_lane([entry for batch in self.batches for entry in batch])

    async def has(self, count: int, patience_s: float = 20.0) -> None:
        async def look() -> int:
            return len(set(self.numbers))

        await until(look, lambda n: n >= count, patience_s)


def by_lane(done: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    lanes: dict[str, list[int]] = {}
    for lane, n in done:
        lanes.setdefault(lane, []).append(n)
    return lanes


class Consumer:
    """consume() in a task."""

    alive: ClassVar[set["Consumer"]] = set()

    def __init__(
        self, url: str, handler: Recorder, lanes: Sequence[str] = LANES, name: str = "tests"
    ) -> None:
        self.stopping = asyncio.Event()
        self.connected = False
        self.task = asyncio.create_task(
            adapter(url).consume(url, name, lanes, handler, self.stopping, self._note)
        )
        self.alive.add(self)
        self.task.add_done_callback(lambda _: self.alive.discard(self))

    def _note(self, connected: bool) -> None:
        self.connected = connected

    async def is_connected(self) -> None:
        async def look() -> bool:
            return self.connected

        await until(look, bool)

    async def stop(self, patience_s: float = 15.0) -> float:
        """How long it took, in seconds."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        self.stopping.set()
        async with asyncio.timeout(patience_s):
            await self.task
        return loop.time() - started

    async def kill(self) -> None:
        """As kill -9 would: nothing is finished, nothing is said."""
        self.task.cancel()
        await asyncio.wait({self.task})


def once_in_order(numbers: Sequence[int]) -> list[int]:
    """The first time of each."""
    return list(dict.fromkeys(numbers))


def repeated(numbers: Sequence[int]) -> int:
    return sum(n - 1 for n in Counter(numbers).values())
