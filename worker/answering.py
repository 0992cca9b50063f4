"""Turns with the agent behind them. Importing this takes seconds: only the role `turns` does."""

import aiohttp

from db.conversations import Claim
from db.ids import WorkerId
from db.pool import Pool
from handlers.agent.answerer import Answerer
from handlers.agent.graph import Agent
from handlers.agent.model import Model
from handlers.agent.offline import Offline
from handlers.turns.presence import Presence
from handlers.turns.run import run_turn
from worker.claims import RunTurn
from worker.settings import OFFLINE_MODEL, Settings


def answering(
    pool: Pool, settings: Settings, presence: Presence, session: aiohttp.ClientSession
) -> RunTurn:
    """`session` is for the model's server."""
    agent = Agent(_answerer(settings, session))

    async def run(worker_id: WorkerId, claim: Claim) -> None:
        await run_turn(pool, agent, worker_id, claim, presence)

    return run


def _answerer(settings: Settings, session: aiohttp.ClientSession) -> Answerer:
    if settings.openai_model == OFFLINE_MODEL:
        return Offline()
    assert settings.openai_key is not None, "settings.read() refuses to go on without"
    return Model.create(settings.openai_model, settings.openai_key, settings.openai_url, session)
