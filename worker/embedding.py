"""The part of the role `jobs` that embeds knowledge, where the operator has a model for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from handlers.agent.embedding import Embedder
from handlers.embeddings.work import embed_one
from worker.clock import every
from worker.liveness import TERM
from worker.process import Worker
from worker.settings import ModelSettings

LOOK_S = 1.0


@asynccontextmanager
async def embedder_of(settings: ModelSettings) -> AsyncIterator[Embedder | None]:
    if settings.embedding_model is None:
        yield None
        return
    assert settings.openai_key is not None, "settings.read() refuses to go on without"
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield Embedder.create(
            settings.embedding_model, settings.openai_key, settings.openai_url, session
        )


async def embed_bases(worker: Worker) -> None:
    """Until the worker's `stop`."""
    async with embedder_of(worker.settings) as embedder:
        if embedder is None:
            return

        async def look() -> None:
            worker_id = worker.liveness.worker_id
            if worker_id is None or not worker.liveness.is_alive:
                return
            work = asyncio.create_task(embed_one(worker.pool, embedder, worker_id, TERM))
            stopping = asyncio.create_task(worker.stop.wait())
            try:
                await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    work.result()
            finally:
                for task in (work, stopping):
                    task.cancel()
                await asyncio.wait({work, stopping})

        await every(LOOK_S, "embed", look, worker.stop)
