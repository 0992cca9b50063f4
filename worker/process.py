"""One worker process, as its roles see it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from db.pool import Pool
from handlers.erasure.marks import UNMARKED, Marker
from handlers.media_store.port import NoStore, Store
from handlers.outbound.kept import Connector
from handlers.sends.sending import Sender
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi
from worker.holdings import Holdings
from worker.intake import Intake
from worker.liveness import Liveness
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Worker:
    name: str
    settings: Settings
    pool: Pool
    intake_pool: Pool  # of the role ingest alone: what arrives is recorded, whatever waits
    tokens: Tokens
    sender: Sender
    liveness: Liveness
    intake: Intake
    stop: asyncio.Event
    holdings: Holdings = field(default_factory=Holdings)
    marker: Marker = UNMARKED  # of who is erased
    store: Store = field(default_factory=NoStore)
    replied: asyncio.Event = field(default_factory=asyncio.Event)  # there may be sends to claim


@asynccontextmanager
async def graph_api(settings: Settings, connections: int) -> AsyncIterator[GraphApi]:
    connector = Connector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
        yield GraphApi(session, settings.graph_url, settings.graph_version)
