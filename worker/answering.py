"""The role `turns`, with the agent behind it. Importing this takes seconds and 100 MB, because of
LangGraph and the model's client: only who has the role does."""

import asyncio

from db.asks import AskClaim
from db.conversations import Claim
from db.ids import WorkerId
from handlers.asks.run import run_ask
from handlers.turns.presence import AT_ONCE, Presence
from handlers.turns.run import run_turn
from worker import asking, claims
from worker.indexing import build_indexes
from worker.process import Worker, graph_api
from worker.thinking import agent_of


async def turns(worker: Worker) -> None:
    # Typing indicators have connections of their own: no reply waits behind one.
    connections = claims.TURN_SLOTS + asking.ASK_SLOTS
    async with (
        graph_api(worker.settings, AT_ONCE) as showing,
        agent_of(worker.settings, worker.tokens.vault, connections, worker.store) as agent,
    ):
        presence = Presence(showing, worker.tokens)

        async def answer(worker_id: WorkerId, claim: Claim) -> None:
            await run_turn(worker.pool, agent, worker_id, claim, presence)

        async def answer_ask(claim: AskClaim) -> None:
            await run_ask(worker.pool, agent, claim)

        async with asyncio.TaskGroup() as group:
            group.create_task(claims.turns(worker, answer))
            group.create_task(asking.asks(worker, answer_ask))
            group.create_task(build_indexes(worker))
