"""What a chatbot knows, as a run of the agent sees it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handlers.agent.prompt import Row
from handlers.agent.retrieval import Hit, Index, index_of
from handlers.rules.cutting import both_ends

PROMPT_CHARS = (
    12_000  # of questions and answers, about 3,000 tokens: so much is in the prompt whole
)
QUERY_UNITS = 500
INLINE_ROWS = 300  # above, indexing and searching leave the event loop
# In memory, of a base that is there whole: its texts twice, its index, and each row as an object.
CHAR_BYTES, ROW_BYTES = 6, 400


class NotReady(Exception):
    """What was asked for may be in the knowledge base, and cannot be looked up yet."""


class Known(Protocol):
    """One version."""

    crowds: bool  # whole in the prompt it leaves too little of the model's context

    @property
    def version(self) -> int: ...

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of it, or of what is too big for the prompt at least the first ones."""

    @property
    def count(self) -> int:
        """Of all rows."""

    @property
    def fits_prompt(self) -> bool: ...

    @property
    def complete(self) -> bool:
        """Whether what a search does not find is not there."""

    @property
    def nbytes(self) -> int: ...

    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        """Best first. Raises NotReady."""


@dataclass(slots=True)
class Knowledge:
    """A base that is in memory, with its index once it was needed."""

    version: int
    rows: tuple[Row, ...]
    crowds: bool = False
    complete: bool = True
    _index: Index | None = None
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)
    _chars: int = field(init=False)

    def __post_init__(self) -> None:
        self._chars = sum(len(row.question) + len(row.answer) for row in self.rows)

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def fits_prompt(self) -> bool:
        return self._chars <= PROMPT_CHARS

    @property
    def nbytes(self) -> int:
        """About, and as if there were an index already."""
        return CHAR_BYTES * self._chars + ROW_BYTES * (1 + len(self.rows))

    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        query = asked(query)
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


def asked(query: str) -> str:
    return both_ends(query, QUERY_UNITS, " ")


def indexed_text(question: str, answer: str) -> str:
    """The question counts twice: it is written as customers ask."""
    return f"{question} {question} {answer}"


def _indexed(rows: Sequence[Row]) -> Index:
    return index_of(indexed_text(row.question, row.answer) for row in rows)
