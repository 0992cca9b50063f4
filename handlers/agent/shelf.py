"""What chatbots know, kept by the process for as long as it is current.

It is not read for every turn: the chatbot's kb_version moves with every change
(migrations/0025_knowledge.sql), and only a version that is not here is read.
"""

import asyncio
from collections import OrderedDict
from weakref import WeakValueDictionary

from db.ids import ChatbotId, UserId
from db.knowledge import read_knowledge
from db.pool import Pool, tenant
from handlers.agent.big_base import Big
from handlers.agent.embedding import Embedder
from handlers.agent.knowledge import Knowledge, Known
from handlers.agent.meaning import Meaning
from handlers.agent.prompt import Row
from handlers.process import telemetry

KEPT_BYTES = 256 * 1024 * 1024
KEPT_BASES = 10_000  # an empty one takes bytes too
SAMPLES = 5  # rows of a big base that are shown


class Shelf:
    """The knowledge of the chatbots that were asked last; one for the process."""

    def __init__(self, kept_bytes: int = KEPT_BYTES, embedder: Embedder | None = None) -> None:
        self._kept_bytes = kept_bytes
        self._embedder = embedder
        self._kept: OrderedDict[ChatbotId, Known] = OrderedDict()
        self._loading: WeakValueDictionary[ChatbotId, asyncio.Lock] = WeakValueDictionary()

    async def knowledge(
        self, pool: Pool, user_id: UserId, chatbot_id: ChatbotId, version: int
    ) -> Known:
        """Of this version, or a later one that came meanwhile."""
        if (kept := self._current(chatbot_id, version)) is not None:
            return kept
        lock = self._loading.setdefault(chatbot_id, asyncio.Lock())
        async with lock:  # a hundred turns that miss together load once
            if (kept := self._current(chatbot_id, version)) is not None:
                return kept
            async with tenant(pool, user_id) as conn:
                read = await read_knowledge(conn, user_id, chatbot_id, SAMPLES)
            if read is None:  # deleted meanwhile
                return Knowledge(version, ())
            rows = tuple(Row(a, b, c, d, tuple(e), f) for a, b, c, d, e, f in read.rows)
            languages = tuple(read.languages)
            before = self._kept.get(chatbot_id)
            meaning = self._meaning(pool, user_id, chatbot_id, before)
            knowledge: Known
            if read.big:
                knowledge = Big(
                    *(read.version, rows, read.count, pool, user_id, chatbot_id),
                    lambda size: self._room(chatbot_id, size),
                    languages,
                    meaning,
                )
                if isinstance(before, Big):  # what is built of it may still be the newest
                    knowledge.opened = before.opened
            else:
                knowledge = Knowledge(read.version, rows, languages=languages, meaning=meaning)
            self._kept[chatbot_id] = knowledge
            self._kept.move_to_end(chatbot_id)
            self._room(chatbot_id, 0)
            return knowledge

    def _meaning(
        self, pool: Pool, user_id: UserId, chatbot_id: ChatbotId, before: Known | None
    ) -> Meaning | None:
        """What is read of it goes on from version to version."""
        if self._embedder is None:
            return None
        if isinstance(before, Knowledge | Big) and before.meaning is not None:
            return before.meaning
        return Meaning(
            *(pool, user_id, chatbot_id, self._embedder),
            lambda size: self._room(chatbot_id, size),
        )

    def _current(self, chatbot_id: ChatbotId, version: int) -> Known | None:
        kept = self._kept.get(chatbot_id)
        if kept is None or kept.version != version:
            return None
        self._kept.move_to_end(chatbot_id)
        return kept

    def _room(self, chatbot_id: ChatbotId, size: int) -> bool:
        """Lets go of what was asked for longest ago, but not of this one's."""
        if size > self._kept_bytes:
            return False
        used = size + sum(kept.nbytes for kept in self._kept.values())
        for other in list(self._kept):
            if used <= self._kept_bytes and len(self._kept) <= KEPT_BASES:
                break
            if other != chatbot_id:
                used -= self._kept.pop(other).nbytes
        telemetry.KNOWLEDGE_BYTES.set(used)
        return True
