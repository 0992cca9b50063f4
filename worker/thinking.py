"""An agent with all that it asks: the installation's model, those that chatbots have of their own,
what finds knowledge. Importing this takes seconds and 100 MB, because of LangGraph and the model's
client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.model import Model
from handlers.agent.offline import Offline
from handlers.agent.own_models import Installed, OwnModels
from handlers.agent.shelf import Shelf
from handlers.agent.transport import MAX_ANSWER_BYTES
from handlers.checks.answer import checked
from handlers.checks.told import Told
from handlers.media_store.port import Store
from handlers.outbound.guard import ARRIVED_BYTES, Outbound
from handlers.outbound.kept import Connector
from handlers.process.secrets import Vault
from handlers.tools.calling import CALL_S, Caller
from handlers.turns.thinking import TURN_TIMEOUT_S
from worker.embedding import embedder_of
from worker.settings import OFFLINE_MODEL, ModelSettings


@asynccontextmanager
async def agent_of(
    settings: ModelSettings, vault: Vault, connections: int, store: Store | None = None
) -> AsyncIterator[Agent]:
    """`connections`: so many runs at once. `store`: of what customers send; without, no run waits
    for it, and none calls tenants' own tools: it is a test."""
    async with (
        _model_session() as session,
        embedder_of(settings) as embedder,
        _guarded(settings, connections) as guarded,
        Outbound(settings.outbound_allow, connections=connections, seconds=CALL_S) as tools,
    ):
        # In a thread: the model's client takes 0.15 s to make, in which the loop would stand still.
        answerer = await asyncio.to_thread(_answerer, settings, session)
        # Likewise the patterns of its checks, 0.2 s.
        await asyncio.to_thread(checked, "It is 1 EUR.", Told(), "")
        own = OwnModels(_installed(settings, session), guarded.session, vault)
        shelf = Shelf(settings.knowledge_bytes, embedder)
        awaits = awaited(settings) if store is not None else frozenset[str]()
        caller = Caller(tools, vault) if store is not None else None
        yield Agent(answerer, shelf, own, awaits, store, caller)


def awaited(settings: ModelSettings) -> frozenset[str]:
    """Kinds of media that become words here."""
    hears = settings.transcription_model is not None
    return frozenset(["document", "audio"] if hears else ["document"])


def _model_session() -> aiohttp.ClientSession:
    """A connection for each turn that waits; compressed answers are for the model's client."""
    connector = Connector(limit=0)
    return aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False)


def _guarded(settings: ModelSettings, connections: int) -> Outbound:
    """To the models that tenants name. One connection for each turn that may wait; whoever drips an
    answer has the turn's own time."""
    return Outbound(
        settings.outbound_allow,
        connections=connections,
        seconds=TURN_TIMEOUT_S,
        arrived_bytes=MAX_ANSWER_BYTES + ARRIVED_BYTES,
    )


def _installed(settings: ModelSettings, session: aiohttp.ClientSession) -> Installed:
    return Installed(
        name=settings.openai_model,
        api_key=settings.openai_key,
        base_url=settings.openai_url,
        session=session,
    )


def _answerer(settings: ModelSettings, session: aiohttp.ClientSession) -> Answerer:
    if settings.openai_model == OFFLINE_MODEL:
        return Offline()
    assert settings.openai_key is not None, "settings.read() refuses to go on without"
    return Model.create(settings.openai_model, settings.openai_key, settings.openai_url, session)
