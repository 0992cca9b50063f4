"""What customers send: CPU and seconds for each item, a worker's memory over two hundred of them,
and what a flood of one tenant's does to another's turns.

Floor (bench/floors/media.py): bare aiohttp that asks for the address, fetches the same bytes and
writes them to a file. Pictures are drawn anew besides, PDFs read, voice messages heard: that is
what the product is for, and no floor does it. CPU is that of the worker and of its children.
"""

import asyncio
import io
import json
import os
import random
import struct
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.harness import TICKS_PER_S, Figures, Result, Spread, in_turns, percentile, tested, usage
from bench.prepared import Prepared, Variant, databases
from local.processes import Process
from local.servers.daemon import free_ports
from local.stack import COMMAND, until_ready
from simulator.client import Simulator
from simulator.samples import pdf, video, voice

MIB = 1024 * 1024
# Of a round. Each is another customer's, who may send twenty a day.
ITEMS = {"picture": 20, "voice": 40, "pdf": 20, "video": 10}
KINDS = {"picture": "image", "voice": "audio", "pdf": "document", "video": "video"}
ROUNDS, QUICK_ROUNDS = 3, 1
QUICKER = 5  # times fewer of everything, for a look that proves nothing
FLAT_ITEMS = 200
FLAT_MB = 32.0  # that a worker may be bigger after them: parts of files that were in memory
TURNS, PAIRS = 100, 3
FLOOD = 150
NEIGHBOUR = 1.5
BUSY = Variant("flooding", tenants=1)
QUIET = Variant("neighbour", tenants=1)
STALLED_S = 600.0


async def run(quick: bool) -> list[Result]:
    rounds = QUICK_ROUNDS if quick else ROUNDS
    async with AsyncExitStack() as ending:
        made = await ending.enter_async_context(databases("product"))
        prepared = made["product"]
        for variant in (BUSY, QUIET):
            await prepared.add_tenants(variant)
        place = Path(ending.enter_context(TemporaryDirectory(prefix="swiftreplies-bench-")))
        simulator = await ending.enter_async_context(_simulator())
        handles = {name: await simulator.media(data, sample=KINDS[name]) for name, data in _FILES}
        worker = await ending.enter_async_context(_worker(prepared, simulator, place))
        bench = Bench(prepared, simulator, place, worker, handles)
        part = QUICKER if quick else 1
        results = [await bench.items(name, ITEMS[name] // part, rounds) for name in ITEMS]
        results.append(await bench.memory(FLAT_ITEMS // part))
        results.append(await bench.neighbour(TURNS // part, QUICK_ROUNDS if quick else PAIRS))
        return results


@asynccontextmanager
async def _simulator() -> AsyncIterator[Simulator]:
    (port,) = free_ports(1)
    with TemporaryDirectory(prefix="swiftreplies-bench-") as directory:
        arguments = [sys.executable, "-m", "simulator", "--port", str(port)]
        process = await Process.start(
            "simulator", arguments, {**os.environ}, Path(directory) / "log"
        )
        try:
            await process.first_line(60)
            async with Simulator(f"http://127.0.0.1:{port}") as simulator:
                yield simulator
        finally:
            process.terminate()
            await process.ended()


@asynccontextmanager
async def _worker(prepared: Prepared, simulator: Simulator, place: Path) -> AsyncIterator[Process]:
    (port,) = free_ports(1)
    environment = {
        "DATABASE_URL": prepared.url,
        "AMQP_URL": "amqp://nobody@127.0.0.1:1/",  # of no use to the roles that run here
        "WHATSAPP_API_URL": simulator.url,
        "WHATSAPP_ACCESS_TOKEN": "bench",
        "OPENAI_API_KEY": "sk-bench",
        "OPENAI_BASE_URL": f"{simulator.url}/v1",
        "OPENAI_MODEL": "bench",
        "TRANSCRIPTION_MODEL": "bench",
        "SECRETS_KEY": "bench" * 8,
        "MEDIA_STORE": (place / "store").as_uri(),
        "METRICS_PORT": str(port),
    }
    command = [str(COMMAND), "worker", "--only", "turns,jobs"]
    async with tested("worker", command, environment) as process:
        await until_ready(process, f"http://127.0.0.1:{port}/readyz")
        yield process


class Bench:
    def __init__(
        self,
        prepared: Prepared,
        simulator: Simulator,
        place: Path,
        worker: Process,
        handles: dict[str, str],
    ) -> None:
        self.prepared, self.simulator, self.place = prepared, simulator, place
        self.worker, self.handles = worker, handles

    async def items(self, name: str, count: int, rounds: int) -> Result:
        result = Result(f"media_{name}", f"What customers send: {name}; floor: bare aiohttp")

        async def floor() -> Figures:
            with TemporaryDirectory(dir=self.place) as directory:
                arguments = [sys.executable, "-m", "bench.floors.media", self.simulator.url]
                handles = [self.handles[name]] * count
                async with tested("floor", [*arguments, directory, *handles], {}) as process:
                    if await process.ended() != 0:
                        raise RuntimeError(process.tail())
                    said = json.loads(process.log.read_text().splitlines()[-1])
            return {
                "seconds": said["seconds"] / count,
                "cpu_ms": said["cpu_s"] * 1000 / count,
                "postgresql_cpu_ms": 0.0,
            }

        async def product() -> Figures:
            cpu, server = _cpu_s(self.worker.pid), self.prepared.server_cpu_s()
            began = time.perf_counter()
            await self.settled(await self.sent([name] * count))
            return {
                "seconds": (time.perf_counter() - began) / count,
                "cpu_ms": (_cpu_s(self.worker.pid) - cpu) * 1000 / count,
                "postgresql_cpu_ms": (self.prepared.server_cpu_s() - server) * 1000 / count,
            }

        await in_turns(result, {"floor": floor, "product": product}, rounds)
        result.compare("cpu_ms")
        result.compare("seconds")
        return result

    async def memory(self, count: int) -> Result:
        """After all of the rounds before, which warmed it up."""
        result = Result("media_memory", f"A worker's memory over {count} media")
        mixed = [name for n in range(count // 4) for name in ITEMS]
        before = usage(self.worker.pid).rss_mb
        done = asyncio.create_task(self.settled(await self.sent(mixed)))
        most = before
        while not done.done():
            most = max(most, usage(self.worker.pid).rss_mb)
            await asyncio.sleep(0.02)
        await done
        after = usage(self.worker.pid).rss_mb
        figures = {"rss_mb_before": before, "rss_mb_most": most, "rss_mb_after": after}
        result.sides["product"] = {name: Spread.of([mb]) for name, mb in figures.items()}
        result.goal("MB that it is bigger afterwards", after - before, FLAT_MB, at_least=False)
        return result

    async def neighbour(self, turns: int, pairs: int) -> Result:
        """Turns of a tenant, alone and while another's pictures and videos come."""
        result = Result("media_neighbour", "A neighbour's turns beside a flood of media")
        talks = await self.prepared.conversations(QUIET, turns)

        async def alone() -> Figures:
            return await self._turns(talks)

        async def beside() -> Figures:
            flood = await self.sent(["picture", "video"] * (FLOOD // 2))
            figures = await self._turns(talks)
            left = await self.prepared.owner.fetchval(_LEFT, flood)
            await self.prepared.owner.execute("DELETE FROM media WHERE id = ANY ($1)", flood)
            if not left:
                raise RuntimeError("the flood was over before the turns were")
            return figures

        await in_turns(result, {"floor": alone, "product": beside}, pairs)
        result.sides = {"alone": result.sides["floor"], "beside": result.sides["product"]}
        ratio = result.compare("p99_ms", "beside", "alone")
        result.compare("p50_ms", "beside", "alone")
        result.goal("a turn's p99 beside it / alone", ratio, NEIGHBOUR, at_least=False)
        return result

    async def _turns(self, talks: Sequence[int]) -> Figures:
        """One after the other: what is measured is how long one waits."""
        took = []
        for talk in talks:
            await self.prepared.ask(QUIET, [talk])
            began = time.perf_counter()
            await self.prepared.due([talk])
            await self.prepared.answered([talk])
            took.append((time.perf_counter() - began) * 1000)
        took.sort()
        return {"p50_ms": percentile(took, 0.5), "p99_ms": percentile(took, 0.99)}

    async def sent(self, names: Sequence[str]) -> list[int]:
        """Rows as recording leaves them, each of a customer of its own."""
        owner = self.prepared.owner
        talks = await self.prepared.conversations(BUSY, len(names))
        await owner.execute("UPDATE media_days SET files = 0")  # 2,000 a day are not measured
        rows = await owner.fetch(
            _SENT, talks, [KINDS[name] for name in names], [self.handles[name] for name in names]
        )
        return [row["id"] for row in rows]

    async def settled(self, media: Sequence[int]) -> None:
        owner, deadline = self.prepared.owner, time.monotonic() + STALLED_S
        while await owner.fetchval(_LEFT, media):
            if time.monotonic() > deadline:
                raise RuntimeError("not everything was fetched")
            await asyncio.sleep(0.02)
        refused = await owner.fetch(_REFUSED, media)
        if refused:
            raise RuntimeError(f"not all was stored: {[tuple(row) for row in refused]}")


def _cpu_s(pid: int) -> float:
    """With that of children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_PER_S


def _photo() -> bytes:
    """As WhatsApp sends one: 1,600 pixels, some hundred KB."""
    from PIL import Image

    noise = random.Random(4).randbytes(400 * 300 * 3)
    image = Image.frombytes("RGB", (400, 300), noise).resize((1_600, 1_200))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=70)
    return out.getvalue()


def _video() -> bytes:
    return video()[:24] + struct.pack(">I4s", 15 * MIB, b"mdat") + bytes(15 * MIB - 8)


_FILES = (
    ("picture", _photo()),
    ("voice", voice(20.0) + bytes(60_000)),
    ("pdf", pdf(*("A cake is 24.50 EUR, to be ordered two days before. " * 30,) * 10)),
    ("video", _video()),
)
_LEFT = "SELECT count(*) FROM media WHERE id = ANY ($1::bigint[]) AND settled_at IS NULL"
_REFUSED = """
SELECT status, reason, heard, count(*) FROM media
 WHERE id = ANY ($1::bigint[]) AND (status <> 'stored' OR heard NOT IN ('read', 'heard', 'nothing'))
 GROUP BY 1, 2, 3
"""
_SENT = """
WITH given AS (
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[]) AS g (talk, kind, handle)
), said AS (
    INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, message_id, direction,
                          message_type, content_text, status, sent_at, metadata, ai_processed)
    SELECT v.user_id, v.chatbot_id, v.contact_id, v.id, 'wamid.medium.' || v.id, 'inbound', g.kind,
           '[' || g.kind || ']', 'received', now(), '{}', true
      FROM given g JOIN conversations v ON v.id = g.talk
    RETURNING id, user_id, chatbot_id, contact_id, conversation_id
)
INSERT INTO media (user_id, chatbot_id, contact_id, conversation_id, message_id, kind, handle,
                   sent_at)
SELECT s.user_id, s.chatbot_id, s.contact_id, s.conversation_id, s.id, g.kind, g.handle, now()
  FROM said s JOIN given g ON g.talk = s.conversation_id
RETURNING id
"""
