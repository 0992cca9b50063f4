"""The least that deliveries can cost with this library: one aiohttp session, and loops that sign a
body and post it, as many at a time to an endpoint as the product has. No database; nothing is
looked at, kept, or tried again.

    python -m bench.floors.deliveries BODIES

Each line of the file: URL, secret, id and body of one delivery, as JSON. Says the seconds that it
took and the CPU.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import resource
import sys
import time
from collections import deque
from pathlib import Path

import aiohttp
import uvloop

WIDTH = 4


async def deliver(
    session: aiohttp.ClientSession, queue: deque[tuple[str, bytes, str, str]]
) -> None:
    while queue:
        url, key, name, text = queue.popleft()
        body = text.encode()
        now = int(time.time())
        signed = b"%s.%d.%s" % (name.encode(), now, body)
        signature = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(now),
            "webhook-signature": f"v1,{signature}",
        }
        async with session.post(url, data=body, headers=headers) as response:
            await response.read()
            if response.status != 200:
                raise RuntimeError(f"{response.status} from {url}")


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def main(lines: list[str]) -> None:
    queues: dict[str, deque[tuple[str, bytes, str, str]]] = {}
    for line in lines:
        url, secret, name, body = json.loads(line)
        key = base64.b64decode(secret.removeprefix("whsec_"))
        queues.setdefault(url, deque()).append((url, key, name, body))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began, cpu = time.perf_counter(), cpu_s()
        await asyncio.gather(*(deliver(session, q) for q in queues.values() for _ in range(WIDTH)))
        print(json.dumps({"seconds": time.perf_counter() - began, "cpu_s": cpu_s() - cpu}))


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]).read_text().splitlines()))
