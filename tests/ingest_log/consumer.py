"""A consumer that is a process: `python -m tests.ingest_log.consumer URL FILE LANE... [--hang]`.

It appends to the file what it begins and what is done; with --hang it never gets done.
"""

import asyncio
import os
import sys
from collections.abc import Sequence

from handlers.ingest_log.factory import adapter


async def main(url: str, file: str, *rest: str) -> None:
    lanes = [lane for lane in rest if lane != "--hang"]
    log = os.open(file, os.O_WRONLY | os.O_APPEND)

    def note(what: str, bodies: Sequence[bytes]) -> None:
        """One write: lines of several processes do not mix."""
        os.write(log, "".join(f"{what} {os.getpid()} {b.decode()}\n" for b in bodies).encode())

    async def handle(bodies: Sequence[bytes]) -> None:
        note("begun", bodies)
        await asyncio.sleep(3600 if "--hang" in rest else 0.02)
        note("done", bodies)

    await adapter(url).consume(url, "process", lanes, handle, asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
