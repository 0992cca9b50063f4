"""What a chatbot knows, kept by the process for as long as it is current.

Ten thousand rows are not read for every turn: the chatbot's kb_version moves with every change
(migrations/0011_actions.sql), and only a version that is not here is loaded. The index is built
when somebody first searches.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from db.chatbots import read_knowledge
from db.ids import ChatbotId, UserId
from db.pool import Pool, tenant
from handlers.agent.prompt import Row
from handlers.agent.retrieval import Hit, Index
from handlers.rules.cutting import both_ends

PROMPT_CHARS = (
    12_000  # of questions and answers, about 3,000 tokens: so much is in the prompt whole
)
KEPT_ROWS = 50_000  # of all chatbots together; a row with its index takes about 6 KB
QUERY_UNITS = 500
INLINE_ROWS = 300  # above, indexing and searching (50 ms at 10,000 rows) leave the event loop


@dataclass(slots=True)
class Knowledge:
    """One version, with its index once it was needed."""

    version: int
    rows: tuple[Row, ...]
    crowds: bool = False  # whole in the prompt it leaves too little of the model's context
    _index: Index | None = None
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def fits_prompt(self) -> bool:
        room = PROMPT_CHARS
        for row in self.rows:
            room -= len(row.question) + len(row.answer)
            if room < 0:
                return False
        return True

    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        """Best first."""
        query = both_ends(query, QUERY_UNITS, " ")
        if len(self.rows) <= INLINE_ROWS:
            if self._index is None:
                self._index = _indexed(self.rows)
            hits = self._index.search(query, limit)
        else:
            async with self._building:
                if self._index is None:
                    self._index = await asyncio.to_thread(_indexed, self.rows)
            hits = await asyncio.to_thread(self._index.search, query, limit)
        return [(self.rows[hit.place], hit) for hit in hits]


def _indexed(rows: Sequence[Row]) -> Index:
    """The question counts twice: it is written as customers ask."""
    return Index([f"{row.question} {row.question} {row.answer}" for row in rows])


class Shelf:
    """The knowledge of the chatbots that were asked last; one for the process."""

    def __init__(self, kept_rows: int = KEPT_ROWS) -> None:
        self._kept_rows = kept_rows
        self._kept: OrderedDict[ChatbotId, Knowledge] = OrderedDict()
        self._loading: WeakValueDictionary[ChatbotId, asyncio.Lock] = WeakValueDictionary()

    async def knowledge(
        self, pool: Pool, user_id: UserId, chatbot_id: ChatbotId, version: int
    ) -> Knowledge:
        """Of this version, or a later one that came meanwhile."""
        if (kept := self._current(chatbot_id, version)) is not None:
            return kept
        lock = self._loading.setdefault(chatbot_id, asyncio.Lock())
        async with lock:  # a hundred turns that miss together load once
            if (kept := self._current(chatbot_id, version)) is not None:
                return kept
            async with tenant(pool, user_id) as conn:
                loaded = await read_knowledge(conn, user_id, chatbot_id)
            if loaded is None:  # deleted meanwhile
                return Knowledge(version, ())
            knowledge = Knowledge(loaded.version, tuple(Row(*row) for row in loaded.rows))
            self._keep(chatbot_id, knowledge)
            return knowledge

    def _current(self, chatbot_id: ChatbotId, version: int) -> Knowledge | None:
        kept = self._kept.get(chatbot_id)
        if kept is None or kept.version != version:
            return None
        self._kept.move_to_end(chatbot_id)
        return kept

    def _keep(self, chatbot_id: ChatbotId, knowledge: Knowledge) -> None:
        self._kept[chatbot_id] = knowledge
        self._kept.move_to_end(chatbot_id)
        rows = sum(1 + len(kept.rows) for kept in self._kept.values())
        while rows > self._kept_rows and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            rows -= 1 + len(gone.rows)
