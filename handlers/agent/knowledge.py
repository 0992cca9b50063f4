"""What a chatbot knows, as a run of the agent sees it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from handlers.agent.meaning import Meaning
from handlers.agent.prompt import Row, also_asked
from handlers.agent.retrieval import Hit, Index, index_of
from handlers.agent.tokens import tokens
from handlers.agent.vectors import Closeness
from handlers.rules.cutting import both_ends

ROW_TOKENS = 20  # of a row in a prompt, besides question and answer
QUERY_UNITS = 500
INLINE_ROWS = 300  # above, indexing and searching leave the event loop
# In memory, of a base that is there whole: its texts twice, its index, and each row as an object.
CHAR_BYTES, ROW_BYTES = 6, 400


class NotReady(Exception):
    """What was asked for may be in the knowledge base, and cannot be looked up yet."""


class Searched(Protocol):
    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        """Best first. Raises NotReady."""


class Known(Searched, Protocol):
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
    def tokens(self) -> int | None:
        """Of all rows in a prompt; None: they are too many to be held."""

    @property
    def languages(self) -> tuple[str, ...]:
        """In which it is written, as far as the tenant says."""

    @property
    def complete(self) -> bool:
        """Whether what a search does not find is not there."""

    @property
    def nbytes(self) -> int: ...


@dataclass(slots=True)
class Knowledge:
    """A base that is in memory, with its index once it was needed."""

    version: int
    rows: tuple[Row, ...]
    crowds: bool = False
    complete: bool = True
    languages: tuple[str, ...] = ()
    meaning: Meaning | None = None
    _index: Index | None = None
    _building: asyncio.Lock = field(default_factory=asyncio.Lock)
    tokens: int = field(init=False)
    _chars: int = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = sum(row_tokens(row) for row in self.rows)
        self._chars = sum(map(prompt_chars, self.rows))

    @property
    def count(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """About, and as if there were an index already."""
        others = sum(len(text) for row in self.rows for text in row.alternatives)
        vectors = 0 if self.meaning is None else self.meaning.nbytes
        return CHAR_BYTES * (self._chars + others) + ROW_BYTES * (1 + len(self.rows)) + vectors

    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        query = asked(query)
        closeness = await close_to(query, self.meaning)
        if closeness is not None:
            closeness = closeness.at({row.id: place for place, row in enumerate(self.rows)})
        if len(self.rows) <= INLINE_ROWS:
            if self._index is None:
                self._index = _indexed(self.rows)
            hits = self._index.search(query, limit, closeness)
        else:
            async with self._building:
                if self._index is None:
                    self._index = await asyncio.to_thread(_indexed, self.rows)
            hits = await asyncio.to_thread(self._index.search, query, limit, closeness)
        return [(self.rows[hit.place], hit) for hit in hits]


def fits_prompt(known: Known, tokens: int) -> bool:
    """So many may be rows. By our own estimate, uncorrected: whether there is a tool to search with
    should not change within a conversation."""
    return known.tokens is not None and known.tokens <= tokens


def row_tokens(row: Row) -> int:
    return ROW_TOKENS + sum(map(tokens, (row.question, row.answer, *also_asked(row))))


async def close_to(query: str, meaning: Meaning | None) -> Closeness | None:
    return None if meaning is None else await meaning.closeness(query)


def asked(query: str) -> str:
    return both_ends(query, QUERY_UNITS, " ")


def indexed_text(question: str, alternatives: Sequence[str], answer: str) -> str:
    """The question counts twice: it is written as customers ask."""
    return " ".join((question, question, *alternatives, answer))


def prompt_chars(row: Row) -> int:
    return len(row.question) + len(row.answer) + sum(map(len, also_asked(row)))


def _indexed(rows: Sequence[Row]) -> Index:
    return index_of(indexed_text(row.question, row.alternatives, row.answer) for row in rows)
