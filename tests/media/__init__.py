"""What customers send beside words: fetched from a Meta of ours, by HTTP, into a real store."""

import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from db.ids import UserId, WorkerId
from db.media import DueFile, MediumClaim, Taking, claim_media
from db.pool import Conn, Pool
from handlers.ingest.recording import record_batch
from handlers.media.fetching import MediaApi
from handlers.media.hearing import Transcriber
from handlers.media.listening import Listener
from handlers.media.removal import remove_due_files
from handlers.media.work import Fetcher
from handlers.media_store.port import Store
from handlers.process.secrets import Vault
from handlers.process.sweeps import Sweep
from handlers.sends.tokens import Tokens
from simulator.app import create_app
from simulator.client import Simulator
from tests.factories import Tenant
from tests.recording import DEBOUNCE, to, wrote
from tests.s3 import Inside
from worker.liveness import TERM

_numbers = itertools.count(1)
CALLER = "13035550111"


@dataclass(frozen=True, slots=True)
class House:
    """A worker with the role jobs, step by step."""

    pool: Pool
    owner: Conn
    simulator: Simulator
    session: ClientSession
    store: Store
    place: Path
    workers: list[WorkerId] = field(default_factory=list)
    bucket: Inside | None = None  # instead of the place

    @property
    def fetcher(self) -> Fetcher:
        return Fetcher(
            self.pool,
            self.store,
            MediaApi(self.session, self.simulator.url, "v25.0"),
            Tokens(Vault(("a key that is long enough",)), "token"),
        )

    async def worker(self) -> WorkerId:
        made = "INSERT INTO workers (name, beat_at) VALUES ('w', now() + '1 hour') RETURNING id"
        return WorkerId(await self.owner.fetchval(made))

    async def claims(
        self, by: WorkerId, status: str = "waiting", limit: int = 100
    ) -> list[MediumClaim]:
        async with self.pool.acquire() as conn:
            taking = Taking(limit=limit, tenant_max=100, term=TERM)
            return await claim_media(conn, by, status, [], taking)

    async def fetch_all(self) -> None:
        """All that is due, as one worker does it."""
        me = await self.worker()
        for claim in await self.claims(me):
            await self.fetcher.fetch(claim)

    @property
    def listener(self) -> Listener:
        url = f"{self.simulator.url}/v1"
        transcriber = Transcriber.create("hears-well", "sk-1", url, self.session)
        return Listener(self.pool, self.store, transcriber)

    async def fetch_and_hear(self) -> None:
        """With TRANSCRIPTION_MODEL."""
        me = await self.worker()
        for claim in await self.claims(me):
            await replace(self.fetcher, hears=True).fetch(claim)
        await self.hear()

    async def hear(self) -> None:
        for claim in await self.claims(await self.worker(), "stored"):
            await self.listener.listen(claim)

    async def later(self) -> None:
        """As if whatever was put off were due."""
        await self.owner.execute("UPDATE media SET due_at = now() WHERE settled_at IS NULL")

    async def remove(self) -> None:
        await remove_due_files(self.pool, self.store, Sweep[DueFile]("test"))

    def files(self) -> list[str]:
        """In the store, beside what says whose it is."""
        if self.bucket is not None:
            return sorted(name for name in self.bucket.files() if name != "store-id")
        found = (p.relative_to(self.place).as_posix() for p in self.place.rglob("*") if p.is_file())
        return sorted(name for name in found if name != "store-id")

    def put(self, file: str, data: bytes) -> None:
        """Behind the product's back."""
        if self.bucket is not None:
            self.bucket.put(file, data)
            return
        (self.place / file).parent.mkdir(parents=True, exist_ok=True)
        (self.place / file).write_bytes(data)

    async def content(self, medium_id: int) -> bytes:
        row = await self.row(medium_id)
        return b"".join([piece async for piece in self.store.read(row["file"])])

    async def row(self, medium_id: int) -> dict[str, Any]:
        (row,) = await self.owner.fetch("SELECT * FROM media WHERE id = $1", medium_id)
        return dict(row)

    async def fate(self, medium_id: int) -> tuple[str, str | None]:
        row = await self.row(medium_id)
        return row["status"], row["reason"]

    async def sent(
        self,
        of: Tenant,
        kind: str,
        data: bytes | None = None,
        *,
        who: str = CALLER,
        at: int | None = None,
        more: dict[str, Any] | None = None,
        **options: Any,
    ) -> int:
        """A customer sends a file, which Meta has; the id of its row."""
        media_id = await self.simulator.media(data, sample=kind, **options)
        return await self.heard(of, kind, media_id, who=who, at=at, more=more)

    async def heard(
        self,
        of: Tenant,
        kind: str,
        media_id: str,
        *,
        who: str = CALLER,
        at: int | None = None,
        more: dict[str, Any] | None = None,
    ) -> int:
        wamid = f"wamid.medium-{next(_numbers)}"
        item = wrote(wamid, who, at or int(time.time()), type=kind)
        del item["text"]
        item[kind] = {"id": media_id, "mime_type": "whatever/it-says", **(more or {})}
        await record_batch(self.pool, [to(of, item)], DEBOUNCE)
        found: int = await self.owner.fetchval(
            "SELECT d.id FROM media d JOIN messages m ON m.id = d.message_id"
            " WHERE m.message_id = $1",
            wamid,
        )
        return found


@asynccontextmanager
async def meta() -> AsyncIterator[Simulator]:
    runner = web.AppRunner(create_app(), shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with Simulator(f"http://127.0.0.1:{runner.addresses[0][1]}") as simulator:
        yield simulator
    await runner.cleanup()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def plan(**parts: Any) -> str:
    return json.dumps(parts)


async def files_named(owner: Conn, user_id: UserId) -> list[str]:
    rows = await owner.fetch("SELECT file FROM files_to_remove WHERE user_id = $1", user_id)
    return [row["file"] for row in rows]
