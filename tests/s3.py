"""A real server that speaks S3, and a line to it that can be cut."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3  # type: ignore[import-untyped]

from handlers.media_store.place import Keys, place_of
from handlers.media_store.s3 import PAGE, Bucket
from handlers.media_store.s3_calls import Patience

ROOT = Path(__file__).parents[1]
# Seconds of a test, not of a network.
IMPATIENT = Patience(connect_s=2.0, idle_s=1.0, call_s=5.0, tries=3, between_s=0.2)


@dataclass(frozen=True, slots=True)
class S3:
    url: str
    keys: Keys
    process: asyncio.subprocess.Process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def media_store(self, prefix: str, bucket: str = "files") -> str:
        return f"s3://{bucket}/{prefix}?endpoint={self.url}&region=us-east-1"

    def bucket(self, prefix: str, patience: Patience = IMPATIENT, page: int = PAGE) -> Bucket:
        return Bucket(place_of(self.media_store(prefix)), self.keys, patience, page)

    def inside(self, prefix: str) -> "Inside":
        """By another client than the product's."""
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.keys.key_id,
            aws_secret_access_key=self.keys.secret,
        )
        return Inside(client, f"{prefix}/")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@dataclass(frozen=True, slots=True)
class Inside:
    """What is in a bucket, also half of it."""

    client: Any
    prefix: str

    def files(self) -> list[str]:
        of = {"Bucket": "files", "Prefix": self.prefix}
        there = self.client.list_objects_v2(**of).get("Contents", [])
        begun = self.client.list_multipart_uploads(**of).get("Uploads", [])
        return [one["Key"].removeprefix(self.prefix) for one in (*there, *begun)]

    def put(self, file: str, data: bytes) -> None:
        self.client.put_object(Bucket="files", Key=self.prefix + file, Body=data)


@asynccontextmanager
async def s3(port: int = 0) -> AsyncIterator[S3]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.s3_server", str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        said = json.loads(await process.stdout.readline())
        yield S3(said["url"], Keys(said["key_id"], said["secret"]), process)
    finally:
        process.stdin.close()
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@dataclass(slots=True)
class Line:
    """Between a client and the server: `most` bytes go up, then all connections are cut; with
    `silent` nothing comes down any more."""

    target: int
    port: int = 0
    most: int | None = None
    silent: bool = False
    cuts: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def through(self, of: S3) -> S3:
        return S3(f"http://127.0.0.1:{self.port}", of.keys, of.process)

    async def _serve(self, up: asyncio.StreamReader, down: asyncio.StreamWriter) -> None:
        server, client = await asyncio.open_connection("127.0.0.1", self.target)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(up, client, is_up=True))
                group.create_task(self._carry(server, down, is_up=False))
        except* (ConnectionError, OSError):
            pass
        finally:
            for writer in (client, down):
                writer.transport.abort()

    async def _carry(
        self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, is_up: bool
    ) -> None:
        while data := await source.read(64 * 1024):
            if is_up and self.most is not None:
                self.most -= len(data)
                if self.most < 0:
                    self.most, self.cuts = 0, self.cuts + 1
                    raise ConnectionAbortedError
            if is_up or not self.silent:
                to.write(data)
                await to.drain()
        raise ConnectionAbortedError


@asynccontextmanager
async def line(of: S3) -> AsyncIterator[Line]:
    this = Line(of.port)
    server = await asyncio.start_server(this._serve, "127.0.0.1", 0)
    this.port = server.sockets[0].getsockname()[1]
    try:
        yield this
    finally:
        server.close()
