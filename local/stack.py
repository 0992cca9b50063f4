"""The whole product on this machine: private servers where none are given, the simulator for the
outside world, and the product's own processes. Everything that is started here ends with it.

Imports no product code: it drives the product as anybody would, by its commands and over HTTP.
"""

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp

from local.processes import Process
from local.servers.daemon import free_ports, workplace
from local.servers.postgres import postgres
from local.servers.rabbitmq import rabbitmq, rabbitmq_available

COMMAND = Path(sys.executable).with_name("swiftreplies")
READY_TIMEOUT_S = 120.0  # a loaded machine is slow, not broken
POLL_S = 0.02
HEARS = "simulated-hearing"  # looked up by a file's hash


class StackError(Exception):
    """Something did not start or a command failed; the message holds its last words."""


@dataclass(slots=True)
class Stack:
    """A running product. `environment` is what its processes were started with."""

    environment: dict[str, str]
    ingress_url: str = ""
    simulator_url: str = ""
    processes: list[Process] = field(default_factory=list)
    log_directory: Path = Path()
    _started: int = 0

    async def command(self, *arguments: str) -> Any:
        """Runs `swiftreplies ...`; its JSON when it prints some."""
        process = await asyncio.create_subprocess_exec(
            str(COMMAND),
            *arguments,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            raise StackError(f"swiftreplies {' '.join(arguments)}: {err.decode().strip()}")
        return json.loads(out) if "--json" in arguments else out.decode()

    async def start(
        self, name: str, arguments: Sequence[str], extra: Mapping[str, str] | None = None
    ) -> Process:
        """Starts a process of the product; its log goes to a file."""
        self._started += 1
        process = await Process.start(
            name,
            arguments,
            {**self.environment, **(extra or {})},
            self.log_directory / f"{name}-{self._started}.log",
        )
        self.processes.append(process)
        return process

    async def start_ingress(
        self, port: int | None = None, *, patience_s: float = READY_TIMEOUT_S
    ) -> Process:
        """On a free port; or again on the one that an ingress had."""
        if port is None:
            (port,) = free_ports(1)
        process = await self.start(
            "ingress", [str(COMMAND), "ingress"], {"HOST": "127.0.0.1", "PORT": str(port)}
        )
        self.ingress_url = f"http://127.0.0.1:{port}"
        await until_ready(process, f"{self.ingress_url}/readyz", patience_s)
        return process

    async def start_worker(self, *arguments: str, patience_s: float = READY_TIMEOUT_S) -> Process:
        (port,) = free_ports(1)
        process = await self.start(
            "worker",
            [str(COMMAND), "worker", *arguments],
            {"HOST": "127.0.0.1", "METRICS_PORT": str(port)},
        )
        await until_ready(process, f"http://127.0.0.1:{port}/readyz", patience_s)
        return process

    async def start_simulator(self) -> Process:
        process = await self.start("simulator", [sys.executable, "-m", "simulator"])
        line = await process.first_line(READY_TIMEOUT_S)
        self.simulator_url = json.loads(line)["url"]
        return process

    async def until_one_ends(self) -> Process:
        """Waits as long as everything runs."""
        while True:
            for process in self.processes:
                if process.returncode is not None:
                    return process
            await asyncio.sleep(0.5)

    async def end(self) -> None:
        """In the order that loses nothing: first who brings work, last who does it."""
        for name in ("ingress", "worker", "simulator"):
            ending = [p for p in self.processes if p.name == name]
            for process in ending:
                process.terminate()
            for process in ending:
                await process.ended()
        self.processes.clear()


@asynccontextmanager
async def running(
    say: Callable[[str], None],
    overrides: Mapping[str, str],
    *,
    workers: int = 1,
    simulated_model: bool = False,
) -> AsyncIterator[Stack]:
    """Servers, simulator, schema, ingress and workers; `overrides` go into their environment."""
    async with AsyncExitStack() as ending:
        given = {**os.environ, **overrides}
        async with asyncio.TaskGroup() as group:
            database = group.create_task(_database(ending, given.get("DATABASE_URL", ""), say))
            ingest_log = group.create_task(_ingest_log(ending, given, say))
        # With the guard of the servers: it goes also when this process is killed.
        place = await ending.enter_async_context(workplace("log", "TERM", in_memory=False))
        log_directory = place.path / "log"
        log_directory.mkdir(mode=0o700)
        stack = Stack(
            environment={
                **os.environ,
                "WHATSAPP_APP_SECRET": secrets.token_hex(16),
                "WHATSAPP_VERIFY_TOKEN": secrets.token_hex(8),
                "WHATSAPP_ACCESS_TOKEN": secrets.token_hex(16),
                "SECRETS_KEY": secrets.token_urlsafe(32),
                "MEDIA_STORE": (place.path / "media").as_uri(),
                "PYTHONUNBUFFERED": "1",
                **overrides,
                "DATABASE_URL": database.result(),
                **ingest_log.result(),
            },
            log_directory=log_directory,
        )
        ending.push_async_callback(stack.end)
        await stack.start_simulator()
        stack.environment["WHATSAPP_API_URL"] = stack.simulator_url
        # It plays tenants' own programs too, at a private address and without TLS.
        allowed = (given.get("OUTBOUND_ALLOW", ""), urlsplit(stack.simulator_url).netloc)
        stack.environment["OUTBOUND_ALLOW"] = ",".join(filter(None, allowed))
        if simulated_model:
            stack.environment["OPENAI_BASE_URL"] = f"{stack.simulator_url}/v1"
        stack.environment |= heard_by_simulator(stack)
        # All at once: the worker takes longer to load its libraries than the schema takes.
        async with asyncio.TaskGroup() as group:
            migrating = group.create_task(stack.command("migrate"))
            group.create_task(stack.start_ingress())
            for _ in range(workers):
                group.create_task(stack.start_worker())
        say("; ".join(migrating.result().strip().splitlines()[-2:]))
        say(f"ingress at {stack.ingress_url}, {workers} worker{'s' if workers > 1 else ''}")
        yield stack


def heard_by_simulator(stack: Stack) -> dict[str, str]:
    """Where no model is asked there is no server for sound either. A model's own server is not
    sent what it was not set up for."""
    is_set = stack.environment.get("TRANSCRIPTION_MODEL") or stack.environment.get("OPENAI_API_KEY")
    if is_set or stack.environment.get("OPENAI_MODEL") != "offline":
        return {}
    return {
        "OPENAI_BASE_URL": f"{stack.simulator_url}/v1",
        "OPENAI_API_KEY": "of-the-simulator",
        "TRANSCRIPTION_MODEL": HEARS,
    }


def who_hears(environment: Mapping[str, str]) -> Literal["simulator", "model", "nobody"]:
    """Of a running stack: who makes words of voice messages."""
    model = environment.get("TRANSCRIPTION_MODEL")
    if not model:
        return "nobody"
    return "simulator" if model == HEARS else "model"


# What asyncpg takes of a URL's parameters; others it would send to the server, which refuses them.
DRIVER_TAKES = (
    *("host", "port", "user", "password", "dbname", "passfile", "target_session_attrs"),
    *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslnegotiation"),
)


def for_looking(database_url: str) -> str:
    """A hoster's URL for the driver as it is, to look at what the product wrote."""
    head, _, query = database_url.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0] in DRIVER_TAKES]
    return f"{head}?{'&'.join(kept)}" if kept else head


async def _database(ending: AsyncExitStack, given: str, say: Callable[[str], None]) -> str:
    if given:
        say("PostgreSQL: yours, from DATABASE_URL")
        return given
    server = await ending.enter_async_context(postgres())
    say(server.origin)
    return server.url


async def _ingest_log(
    ending: AsyncExitStack, given: Mapping[str, str], say: Callable[[str], None]
) -> dict[str, str]:
    """The one place that chooses by what is at hand; the processes are told."""
    chosen, url = given.get("INGEST_LOG", ""), given.get("AMQP_URL", "")
    if chosen == "postgres":
        say("ingest log: a table in PostgreSQL, by INGEST_LOG")
        return {"INGEST_LOG": "postgres"}
    if url:
        say("RabbitMQ: yours, from AMQP_URL")
    elif chosen or rabbitmq_available():
        server = await ending.enter_async_context(rabbitmq())
        say(server.origin)
        url = server.url
    else:
        say("NO RABBITMQ on this machine: the ingest log is a table in PostgreSQL instead")
        say("(INGEST_LOG=postgres: for trying out and small installations)")
        return {"INGEST_LOG": "postgres"}
    return {"INGEST_LOG": "rabbitmq", "AMQP_URL": url}


async def until_ready(process: Process, url: str, patience_s: float = READY_TIMEOUT_S) -> None:
    deadline = asyncio.get_running_loop().time() + patience_s
    said = "nothing"
    async with aiohttp.ClientSession() as session:
        while True:
            if process.returncode is not None:
                raise StackError(f"{process.name} ended at once:\n{process.tail()}")
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(url) as response:
                    if response.status == 200:
                        return
                    said = await response.text()
            if asyncio.get_running_loop().time() > deadline:
                raise StackError(f"{process.name} is not ready, says {said}:\n{process.tail()}")
            await asyncio.sleep(POLL_S)
