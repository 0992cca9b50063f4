"""The role `turns`, with the agent behind it. Importing this takes seconds and 100 MB, because of
LangGraph and the model's client: only who has the role does."""

import asyncio

import aiohttp

from db.conversations import Claim
from db.ids import WorkerId
from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.model import Model
from handlers.agent.offline import Offline
from handlers.agent.shelf import Shelf
from handlers.turns.presence import AT_ONCE, Presence
from handlers.turns.run import run_turn
from worker import claims
from worker.indexing import build_indexes
from worker.process import Worker, graph_api
from worker.settings import OFFLINE_MODEL, Settings


async def turns(worker: Worker) -> None:
    # Typing indicators have connections of their own: no reply waits behind one.
    async with graph_api(worker.settings, AT_ONCE) as showing, _model_session() as session:
        presence = Presence(showing, worker.tokens)
        # In a thread: the model's client takes 0.15 s to make, in which the loop would stand still.
        answerer = await asyncio.to_thread(_answerer, worker.settings, session)
        agent = Agent(answerer, Shelf(worker.settings.knowledge_bytes))

        async def answer(worker_id: WorkerId, claim: Claim) -> None:
            await run_turn(worker.pool, agent, worker_id, claim, presence)

        async with asyncio.TaskGroup() as group:
            group.create_task(claims.turns(worker, answer))
            group.create_task(build_indexes(worker))


def _model_session() -> aiohttp.ClientSession:
    """A connection for each turn that waits; compressed answers are for the model's client."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)


def _answerer(settings: Settings, session: aiohttp.ClientSession) -> Answerer:
    if settings.openai_model == OFFLINE_MODEL:
        return Offline()
    assert settings.openai_key is not None, "settings.read() refuses to go on without"
    return Model.create(settings.openai_model, settings.openai_key, settings.openai_url, session)
