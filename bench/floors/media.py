"""The least that fetching media can cost with this library: ask for the address, fetch, write the
same bytes to a file, as many at a time as the product has. No database, no hash, no look at what it
is; nothing is drawn anew or read.

    python -m bench.floors.media URL DIRECTORY HANDLE HANDLE ...

Says the seconds that it took and the CPU, and waits for its standard input's end.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections import deque
from pathlib import Path

import aiohttp
import uvloop

AT_ONCE = 8
PIECE_BYTES = 64 * 1024


async def fetch(session: aiohttp.ClientSession, url: str, place: Path, queue: deque[str]) -> None:
    headers = {"Authorization": "Bearer bench"}
    while queue:
        path = place / str(len(queue))
        async with session.get(f"{url}/v25.0/{queue.popleft()}", headers=headers) as described:
            where = (await described.json(content_type=None))["url"]
        async with session.get(where, headers=headers) as response:
            if response.status != 200:
                raise RuntimeError(f"{response.status} from {where}")
            with path.open("wb") as file:
                while piece := await response.content.read(PIECE_BYTES):
                    await asyncio.to_thread(file.write, piece)
                await asyncio.to_thread(os.fsync, file.fileno())


async def main(url: str, place: Path, handles: list[str]) -> None:
    queue = deque(handles)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        began, cpu = time.perf_counter(), cpu_s()
        await asyncio.gather(*(fetch(session, url, place, queue) for _ in range(AT_ONCE)))
        took = {"seconds": time.perf_counter() - began, "cpu_s": cpu_s() - cpu}
    print(json.dumps(took), flush=True)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
