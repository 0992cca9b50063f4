"""A worker that stood still knows it: what it did not hear then, it must not judge by."""

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.conftest import Database
from tests.e2e.conftest import until
from worker.liveness import BEAT_S, TERM

# Says whenever it is asked since when it has been steady, by the clock that all processes share.
BEATS = """
import sys
from handlers.process import telemetry
from worker.liveness import Liveness
telemetry.configure("error", "json", "tests")
liveness = Liveness(sys.argv[1], "stands still")
liveness.start()
for line in sys.stdin:
    liveness.main_loop_runs()
    print(liveness.steady_since, int(liveness.may_judge), flush=True)
liveness.stop()
"""


class Beating:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def asked(self) -> tuple[float | None, bool]:
        """Since when it is steady, and whether it may judge others."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"?\n")
        since, may_judge = (await self.process.stdout.readline()).split()
        return None if since == b"None" else float(since), bool(int(may_judge))


@asynccontextmanager
async def beating(url: str) -> AsyncIterator[Beating]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", BEATS, url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield Beating(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_gap_between_two_beats_ends_steadiness(database: Database) -> None:
    """As when the machine sleeps: no call fails, and no beat is missed by any error."""
    async with beating(database.runtime_url) as worker:
        term = TERM.total_seconds()
        since, _ = await until(worker.asked, lambda seen: seen[1], 4 * term)
        worker.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(BEAT_S * 2 + 0.5)
        woken = time.monotonic()
        worker.process.send_signal(signal.SIGCONT)
        again, may_judge = await until(worker.asked, lambda seen: seen[0] is not None, 4 * term)
        assert since is not None
        assert again is not None
        assert since < woken <= again
        assert not may_judge
        await until(worker.asked, lambda seen: seen[1], 4 * term)
