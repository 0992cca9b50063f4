"""A knowledge base that is too big to be held: its rows stay in the database, and of its index,
which a worker made and stored (worker/indexing.py), the bytes are loaded when somebody searches.

What changed since the index was made is a second, small segment beside it. Until there is an index
at all, rows are looked for by words of their questions; what that does not find may be there all
the same, so nobody is told that it is not.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from db.ids import ChatbotId, UserId
from db.knowledge import (
    IndexState,
    KnownRow,
    disown_index,
    index_built,
    index_bytes,
    index_parts,
    index_state,
    rows_of,
    rows_with,
)
from db.pool import Pool, tenant
from handlers.agent.building import Builder
from handlers.agent.knowledge import NotReady, asked, close_to, indexed_text
from handlers.agent.meaning import Meaning
from handlers.agent.prompt import Row
from handlers.agent.retrieval import Hit, Index
from handlers.agent.segment import NoSegment, Segment, read
from handlers.process import telemetry
from handlers.rules.texts import searched, words

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CHANGES_MAX = 2_000  # rows in the small segment; at 500 the index is due to be built anew
SPARE_HITS = 6  # rows may be gone that were found
LIKELY = 0.22  # a share below it is a guess
WORDS_MAX = 8  # of a question, the longest, without an index
WORD_MIN = 3
WORDS_SHARE = 0.5  # more of them than this a row has to have
AT_ONCE = 2  # such looks: each reads every question
IN_VAIN_MAX = 1_000  # looks that are not repeated, while turns come again


@dataclass(frozen=True, slots=True)
class Opened:
    built: int
    segment: Segment
    index: Index
    whole: bool

    @property
    def nbytes(self) -> int:
        return self.index.nbytes


@dataclass(slots=True)
class Big:
    """One version. `room` makes room for so many bytes, or says that there is none."""

    version: int
    rows: tuple[Row, ...]  # the first ones
    count: int
    pool: Pool
    user_id: UserId
    chatbot_id: ChatbotId
    room: Callable[[int], bool]
    languages: tuple[str, ...] = ()
    meaning: Meaning | None = None
    opened: Opened | None = None
    crowds: bool = False
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _looking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _in_vain: set[tuple[str, ...]] = field(default_factory=set)  # in this version
    _current: bool = False  # `opened` is of this version

    @property
    def tokens(self) -> int | None:
        return None

    @property
    def complete(self) -> bool:
        return self._whole() is not None

    @property
    def nbytes(self) -> int:
        vectors = 0 if self.meaning is None else self.meaning.nbytes
        return vectors + (0 if self.opened is None else self.opened.nbytes)

    async def search(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        query = asked(query)
        opened, complete = await self._open(), self.complete  # others may open more meanwhile
        found: list[tuple[Row, Hit]] = []
        if opened is not None:
            closeness = await close_to(query, self.meaning)
            most = limit + SPARE_HITS
            hits = await asyncio.to_thread(opened.index.search, query, most, closeness)
            found = (await self._rows(hits))[:limit]
        if complete or any(hit.share >= LIKELY for _, hit in found):
            telemetry.KNOWLEDGE_SEARCHES.labels("index").inc()
            return found
        found = await self._by_words(query, limit)
        telemetry.KNOWLEDGE_SEARCHES.labels("words" if found else "not_ready").inc()
        if not found:
            raise NotReady
        return found

    async def _rows(self, hits: Sequence[Hit]) -> list[tuple[Row, Hit]]:
        """As they are now."""
        async with tenant(self.pool, self.user_id) as conn:
            ids = [hit.place for hit in hits]
            known = await rows_of(conn, self.user_id, self.chatbot_id, ids)
        rows = {row.id: row for row in known}
        return [(_row(rows[hit.place]), hit) for hit in hits if hit.place in rows]

    async def _by_words(self, query: str, limit: int) -> list[tuple[Row, Hit]]:
        some = _longest_words(query)
        if not some or some in self._in_vain:
            return []
        async with self._looking, tenant(self.pool, self.user_id) as conn:
            rows = await rows_with(conn, self.user_id, self.chatbot_id, some, limit)
        found = [(_row(row), Hit(row.id, row.matches / len(some))) for row in rows]
        likely = [(row, hit) for row, hit in found if hit.share > WORDS_SHARE]
        if not likely and len(self._in_vain) < IN_VAIN_MAX:
            self._in_vain.add(some)
        return likely

    def _whole(self) -> Opened | None:
        opened = self.opened
        return opened if self._current and opened is not None and opened.whole else None

    async def _open(self) -> Opened | None:
        """The newest index that there is, with what changed since."""
        if (opened := self._whole()) is not None:
            return opened
        async with self._opening:  # a hundred turns that search together load once
            if (opened := self._whole()) is not None:
                return opened
            of = (self.user_id, self.chatbot_id)
            async with tenant(self.pool, self.user_id) as conn:
                built = await index_built(conn, *of)
                if self._current and self.opened is not None and self.opened.built == built:
                    return self.opened  # its successor is still being built
                state = await index_state(conn, *of, CHANGES_MAX)
            if not state:
                self.opened = None
                return None
            segment = await self._segment(state[0].built)
            if segment is not None:
                index = await asyncio.to_thread(_with_changes, segment, state)
                self.opened = Opened(state[0].built, segment, index, state[0].whole)
                self._current = True
            return self.opened

    async def _segment(self, built: int) -> Segment | None:
        if self.opened is not None and self.opened.built == built:
            return self.opened.segment
        of = (self.user_id, self.chatbot_id, built)
        async with tenant(self.pool, self.user_id) as conn:
            size = await index_bytes(conn, *of)
            if not size or not self.room(size):
                if size:
                    log.error("knowledge.too_big", chatbot_id=self.chatbot_id, bytes=size)
                return None
            data, at = bytearray(size), 0
            async for part in index_parts(conn, *of):
                data[at : at + len(part)] = part
                at += len(part)
            try:
                return read(data)
            except NoSegment:  # of another release
                await disown_index(conn, *of)
                return None


def _with_changes(segment: Segment, state: Sequence[IndexState]) -> Index:
    changed = [(one.row_id, one) for one in state if one.row_id is not None]
    if not changed:
        return Index([segment])
    builder = Builder()
    builder.add(
        (row_id, indexed_text(one.question, one.alternatives or (), one.answer))
        for row_id, one in changed
        if one.question is not None and one.answer is not None
    )
    return Index([segment, builder.segment()], gone=[row_id for row_id, _ in changed])


def _longest_words(query: str) -> tuple[str, ...]:
    found = {word for word in words(searched(query)) if len(word) >= WORD_MIN}
    some = sorted(found, key=lambda word: (len(word), word))
    return tuple(some[-WORDS_MAX:])


def _row(row: KnownRow) -> Row:
    return Row(
        *(row.id, row.category, row.question, row.answer), tuple(row.alternatives), row.language
    )
