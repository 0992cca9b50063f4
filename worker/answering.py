"""The role `turns`, with the agent behind it. Importing this takes seconds and 100 MB, because of
LangGraph and the model's client: only who has the role does."""

import asyncio

import aiohttp

from db.asks import AskClaim
from db.conversations import Claim
from db.ids import WorkerId
from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.model import Model
from handlers.agent.offline import Offline
from handlers.agent.own_models import Installed, OwnModels
from handlers.agent.shelf import Shelf
from handlers.agent.transport import MAX_ANSWER_BYTES
from handlers.asks.run import run_ask
from handlers.outbound.guard import ARRIVED_BYTES, Outbound
from handlers.turns.presence import AT_ONCE, Presence
from handlers.turns.run import run_turn
from handlers.turns.think import TURN_TIMEOUT_S
from worker import asking, claims
from worker.embedding import embedder_of
from worker.indexing import build_indexes
from worker.process import Worker, graph_api
from worker.settings import OFFLINE_MODEL, Settings


async def turns(worker: Worker) -> None:
    # Typing indicators have connections of their own: no reply waits behind one.
    async with (
        graph_api(worker.settings, AT_ONCE) as showing,
        _model_session() as session,
        embedder_of(worker.settings) as embedder,
        _guarded(worker.settings) as guarded,
    ):
        presence = Presence(showing, worker.tokens)
        # In a thread: the model's client takes 0.15 s to make, in which the loop would stand still.
        answerer = await asyncio.to_thread(_answerer, worker.settings, session)
        own = OwnModels(_installed(worker.settings, session), guarded.session, worker.tokens.vault)
        shelf = Shelf(worker.settings.knowledge_bytes, embedder)
        agent = Agent(answerer, shelf, own, awaited(worker.settings), worker.store)

        async def answer(worker_id: WorkerId, claim: Claim) -> None:
            await run_turn(worker.pool, agent, worker_id, claim, presence)

        async def answer_ask(claim: AskClaim) -> None:
            await run_ask(worker.pool, agent, claim)

        async with asyncio.TaskGroup() as group:
            group.create_task(claims.turns(worker, answer))
            group.create_task(asking.asks(worker, answer_ask))
            group.create_task(build_indexes(worker))


def awaited(settings: Settings) -> frozenset[str]:
    """Kinds of media that become words here."""
    hears = settings.transcription_model is not None
    return frozenset(["document", "audio"] if hears else ["document"])


def _model_session() -> aiohttp.ClientSession:
    """A connection for each turn that waits; compressed answers are for the model's client."""
    connector = aiohttp.TCPConnector(limit=0)
    return aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)


def _guarded(settings: Settings) -> Outbound:
    """To the models that tenants name. One connection for each turn that may wait; whoever drips an
    answer has the turn's own time."""
    return Outbound(
        settings.outbound_allow,
        connections=claims.TURN_SLOTS + asking.ASK_SLOTS,
        seconds=TURN_TIMEOUT_S,
        arrived_bytes=MAX_ANSWER_BYTES + ARRIVED_BYTES,
    )


def _installed(settings: Settings, session: aiohttp.ClientSession) -> Installed:
    return Installed(
        name=settings.openai_model,
        api_key=settings.openai_key,
        base_url=settings.openai_url,
        session=session,
    )


def _answerer(settings: Settings, session: aiohttp.ClientSession) -> Answerer:
    if settings.openai_model == OFFLINE_MODEL:
        return Offline()
    assert settings.openai_key is not None, "settings.read() refuses to go on without"
    return Model.create(settings.openai_model, settings.openai_key, settings.openai_url, session)
