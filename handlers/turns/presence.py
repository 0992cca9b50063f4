"""What a customer sees while a turn thinks: their message is read, and somebody is typing.

Best effort. Nothing waits for it, nothing is retried, and a failure is only counted: an answer
without it is an answer all the same.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from db.conversations import TurnContext
from db.ids import Wamid
from handlers.process import telemetry
from handlers.sends.tokens import Tokens
from handlers.whatsapp.cloud_api.graph_api import GraphApi

REFRESH_S = 20.0  # Meta takes it away after 25 s
AT_ONCE = 64  # turns of a worker that show it; beyond that, turns go without


class Presence:
    def __init__(self, graph_api: GraphApi, tokens: Tokens, refresh_s: float = REFRESH_S) -> None:
        self._graph_api = graph_api
        self._tokens = tokens
        self._refresh_s = refresh_s
        self._showing: set[asyncio.Task[None]] = set()

    @property
    def at_work(self) -> int:
        return len(self._showing)

    @asynccontextmanager
    async def shown(self, context: TurnContext, wamid: Wamid | None) -> AsyncIterator[None]:
        """While the block runs. A call that is under way at its end is let finish, because it also
        marks as read what was read."""
        thought = asyncio.Event()
        token = self._tokens.of(context.chatbot_id, context.access_token)
        number = context.phone_number_id
        # A turn that is repeated after a failure has shown it before.
        wanted = context.attempts == 0 and self.at_work < AT_ONCE
        if wanted and number is not None and token is not None and wamid is not None:
            task = asyncio.create_task(self._show(number, token, wamid, thought))
            self._showing.add(task)
            task.add_done_callback(self._showing.discard)
        try:
            yield
        finally:
            thought.set()

    async def _show(
        self, phone_number_id: str, token: str, wamid: Wamid, thought: asyncio.Event
    ) -> None:
        while True:
            shown = await self._graph_api.show_typing(phone_number_id, token, wamid)
            telemetry.TYPING.labels("shown" if shown else "failed").inc()
            try:
                await asyncio.wait_for(thought.wait(), self._refresh_s)
            except TimeoutError:
                continue
            return
