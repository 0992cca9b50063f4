"""How close the rows of one chatbot are to a question, where it wants that: its vectors in memory,
and the question's from the operator's server. What is not there in time is done without.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from db.embeddings import embedding_state, vectors_since, vectors_there
from db.ids import ChatbotId, UserId
from db.pool import Conn, Pool, tenant
from handlers.agent.embedding import Embedder, NotEmbedded
from handlers.agent.segment import Array
from handlers.agent.spending import note_embedding
from handlers.agent.vectors import EMPTY, Closeness, Vectors, changed
from handlers.process import telemetry

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LATE_S = 0.3  # for all of it; then a search is by words alone
INLINE_ROWS = 1_000


@dataclass(slots=True)
class Meaning:
    """Of one chatbot. `room` makes room for so many bytes, or says that there is none."""

    pool: Pool
    user_id: UserId
    chatbot_id: ChatbotId
    embedder: Embedder
    room: Callable[[int], bool]
    _vectors: Vectors = EMPTY
    _seq: int = 0  # up to which they are read
    _reading: "asyncio.Task[None] | None" = field(default=None)

    @property
    def nbytes(self) -> int:
        return self._vectors.nbytes

    async def closeness(self, question: str) -> Closeness | None:
        """None: by words alone. Raises nothing of the server's."""
        async with tenant(self.pool, self.user_id) as conn:
            state = await embedding_state(conn, self.user_id, self.chatbot_id)
        if state is None or not state.wanted or not state.seq:
            return None
        until = time.monotonic() + LATE_S
        asking = asyncio.create_task(self._asked(question))
        outcome: Array | str = "late"
        loaded = False
        try:
            loaded = await self._read_up_to(state.seq)
            outcome = await asyncio.wait_for(asking, max(0.0, until - time.monotonic()))
        except TimeoutError:
            pass
        finally:
            asking.cancel()
        if isinstance(outcome, str) or not loaded:
            word = outcome if isinstance(outcome, str) else "not_loaded"
            telemetry.KNOWLEDGE_MEANINGS.labels(word).inc()
            return None
        telemetry.KNOWLEDGE_MEANINGS.labels("used").inc()
        vectors = self._vectors
        if len(vectors.rows) <= INLINE_ROWS:
            return vectors.closeness(outcome)
        return await asyncio.to_thread(vectors.closeness, outcome)

    async def _asked(self, question: str) -> Array | str:
        try:
            found = await self.embedder.question(question, LATE_S)
        except NotEmbedded as error:
            return "late" if str(error) == "late" else "failed"
        note_embedding(self.embedder.model, found.tokens)
        return found.vectors[0]

    async def _read_up_to(self, seq: int) -> bool:
        """Whether they are there, a little later too: what reads them goes on when a search does
        not wait for it any more."""
        if self._seq >= seq:
            return True
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read(seq))
        await asyncio.wait({self._reading}, timeout=LATE_S)
        return self._seq >= seq

    async def _read(self, seq: int) -> None:
        """All that there is up to this number, which was read before: not every one has a vector,
        for what is deleted or edited moves them on too."""
        try:
            async with tenant(self.pool, self.user_id) as conn:
                vectors = await self._changed(conn, self._vectors, self._seq)
                if vectors is None:
                    return
                there = await vectors_there(conn, *self._of(seq))
                if len(vectors.rows) > there.count:  # of rows that are gone by now
                    vectors = await self._changed(conn, EMPTY, 0)
            if vectors is not None:
                self._vectors, self._seq = vectors, max(self._seq, seq)
        except Exception as error:  # the next search tries again; this one is by words
            log.warning("knowledge.vectors_not_read", exc_info=error)

    async def _changed(self, conn: Conn, before: Vectors, since: int) -> Vectors | None:
        """None: there is no room for what changed since this number."""
        size = (await vectors_there(conn, *self._of(since))).bytes
        if not self.room(self.nbytes + size):
            log.error("knowledge.vectors_too_big", chatbot_id=self.chatbot_id, bytes=size)
            return None
        news: list[tuple[int, bytes | None]] = []
        async for some in vectors_since(conn, *self._of(since)):
            news += [(one.row_id, one.vector) for one in some]
        return await asyncio.to_thread(changed, before, news)

    def _of(self, seq: int) -> tuple[UserId, ChatbotId, int, str]:
        return self.user_id, self.chatbot_id, seq, self.embedder.model
