"""The part of the role `jobs` that fetches what customers sent, and removes files."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp

from db.media import DueFile, MediumClaim, Taking, claim_media
from handlers.media.fetching import MediaApi, media_session
from handlers.media.hearing import Transcriber
from handlers.media.listening import Listener
from handlers.media.pictures import children
from handlers.media.removal import remove_due_files
from handlers.media.work import Fetcher
from handlers.outbound.kept import Connector
from handlers.process.sweeps import Sweep
from worker.claims import Claims, Work, work
from worker.clock import every
from worker.liveness import TERM
from worker.process import Worker
from worker.settings import Settings

FETCH_SLOTS = 8  # of a worker; half of them one tenant's
HEAR_SLOTS = 4  # each with a file of 16 MiB at most in memory
POLL_S = 0.25
REMOVE_S = 1.0
STOP_S = 5.0  # for what is being fetched when the worker ends; another begins it anew


async def media(worker: Worker) -> None:
    """Until the worker's `stop`."""
    settings, sweep = worker.settings, Sweep[DueFile]("file_to_remove")

    async def remove() -> None:
        if worker.liveness.is_alive:
            await remove_due_files(worker.pool, worker.store, sweep)

    async with (
        AsyncExitStack() as ending,
        media_session(FETCH_SLOTS * 2) as session,
        asyncio.TaskGroup() as group,
    ):
        api = MediaApi(session, settings.graph_url, settings.graph_version)
        hears = settings.transcription_model is not None
        room = children()
        fetcher = Fetcher(worker.pool, worker.store, api, worker.tokens, hears, room)
        fetching = _claims(worker, "waiting", fetcher.fetch, fetcher.give_back)
        group.create_task(work(worker, fetching))
        model = await ending.enter_async_context(_model_session())
        transcriber = _transcriber(settings, model) if hears else None
        listener = Listener(worker.pool, worker.store, transcriber, room)
        listening = _claims(worker, "stored", listener.listen, fetcher.give_back)
        group.create_task(work(worker, listening))
        group.create_task(every(REMOVE_S, "remove_files", remove, worker.stop))


def _model_session() -> aiohttp.ClientSession:
    connector = Connector(limit=HEAR_SLOTS)
    return aiohttp.ClientSession(connector=connector, trust_env=False)


def _transcriber(settings: Settings, session: aiohttp.ClientSession) -> Transcriber:
    assert settings.openai_key is not None, "settings.read() refuses to go on without"
    assert settings.transcription_model is not None, "asked for"
    return Transcriber.create(
        settings.transcription_model, settings.openai_key, settings.openai_url, session
    )


Do = Callable[[MediumClaim], Awaitable[None]]


def _claims(worker: Worker, status: str, do: Do, give_back: Do) -> Claims:
    held: set[int] = set()
    slots = FETCH_SLOTS if status == "waiting" else HEAR_SLOTS

    async def one(claim: MediumClaim) -> None:
        working = asyncio.ensure_future(do(claim))
        stopping = asyncio.create_task(worker.stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({working}, timeout=STOP_S)
        finally:
            unfinished = not working.done()
            for task in (working, stopping):
                task.cancel()
            await asyncio.wait({working, stopping})
            held.discard(claim.id)
        if unfinished:
            await give_back(claim)

    async def take(free: int) -> list[Work]:
        worker_id = worker.liveness.worker_id
        if worker_id is None:
            return []
        async with worker.pool.acquire() as conn:
            taking = Taking(limit=free, tenant_max=slots // 2, term=TERM)
            claims = await claim_media(conn, worker_id, status, list(held), taking)
        held.update(claim.id for claim in claims)
        return [one(claim) for claim in claims]

    return Claims(
        role=f"media_{status}",
        slots=slots,
        take=take,
        poll_s=lambda: POLL_S,
        room=lambda: slots,
    )
