"""A worker that answers asks alone, as its own process would, with the simulator's model."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from db.asks import AskClaim
from db.pool import Pool, create_pool
from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.model import Model
from handlers.asks.run import run_ask
from handlers.process.secrets import Vault
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from simulator.app import create_app
from simulator.client import Simulator
from tests.conftest import Database
from tests.e2e.conftest import until
from worker.asking import asks
from worker.intake import Intake
from worker.liveness import Liveness
from worker.process import Worker
from worker.settings import read

MODEL = "some-model"


@dataclass(slots=True)
class Answering:
    worker: Worker
    tasks: list[asyncio.Task[None]]

    async def end(self) -> None:
        """As kill -9 would: nothing is finished."""
        for task in self.tasks:
            task.cancel()
        await asyncio.wait(self.tasks)
        await asyncio.to_thread(self.worker.liveness.stop)


@asynccontextmanager
async def simulated() -> AsyncIterator[Simulator]:
    runner = web.AppRunner(create_app())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        async with Simulator(f"http://127.0.0.1:{runner.addresses[0][1]}") as simulator:
            yield simulator
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(
    database: Database, simulator: Simulator, answerer: Answerer | None = None
) -> AsyncIterator[Answering]:
    pool = await create_pool(database.runtime_url, size=8, name="answering")
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        model = Model.create(MODEL, "sk-1", f"{simulator.url}/v1", session)
        worker = _worker(database, pool, session)
        agent = Agent(answerer or model)

        async def answer(claim: AskClaim) -> None:
            await run_ask(pool, agent, claim)

        worker.liveness.start()
        await until(_is_alive(worker.liveness), bool)
        running = Answering(worker, [asyncio.create_task(asks(worker, answer)), _lives(worker)])
        try:
            yield running
        finally:
            await running.end()
    pool.terminate()


def _lives(worker: Worker) -> asyncio.Task[None]:
    async def lives() -> None:
        while True:
            worker.liveness.main_loop_runs()
            await asyncio.sleep(0.5)

    return asyncio.create_task(lives())


def _is_alive(liveness: Liveness):  # type: ignore[no-untyped-def]
    async def look() -> bool:
        return liveness.is_alive

    return look


def _worker(database: Database, pool: Pool, http: aiohttp.ClientSession) -> Worker:
    settings = read(
        {
            "DATABASE_URL": database.runtime_url,
            "AMQP_URL": "amqp://guest:guest@127.0.0.1:1/",
            "OPENAI_MODEL": "offline",
            "SECRETS_KEY": "a key of the tests: long enough",
        }
    )
    tokens = Tokens(Vault(settings.secrets_keys), None)
    return Worker(
        name="answering",
        settings=settings,
        pool=pool,
        intake_pool=pool,
        tokens=tokens,
        sender=Sender(pool, GraphApi(http, "http://127.0.0.1:1", "v25.0"), tokens),
        liveness=Liveness(settings.database_url, "answering"),
        intake=Intake("rabbitmq"),
        stop=asyncio.Event(),
    )
