"""Makes a segment of rows. Pure.

A text is looked at word by word in Python, and everything else is done for a thousand rows at once:
the terms of a word are found the first time that it occurs anywhere.
"""

from array import array
from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np

from handlers.agent.segment import Array, Segment, keys_of, of_word
from handlers.rules.texts import searched, words

ROWS_AT_ONCE = 1_000


class TooBig(Exception):
    """The segment would take more bytes than it may."""


class Builder:
    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._rows = array("q")
        self._lengths: list[Array] = []
        self._words: dict[str, int] = {}
        self._terms: dict[str, int] = {}
        # Of each word its terms, one after the other, as often as they are in it.
        self._word_terms = array("I")
        self._word_ends = array("q", [0])
        self._parts: list[tuple[int, Array, Array, Array, Array]] = []

    def add(self, rows: Iterable[tuple[int, str]]) -> None:
        """Ids and texts, by id. Raises TooBig."""
        todo = iter(rows)
        while some := list(islice(todo, ROWS_AT_ONCE)):
            self._add(some)

    def _add(self, rows: list[tuple[int, str]]) -> None:
        said, ends = array("I"), array("q", [0])
        for row, text in rows:
            self._rows.append(row)
            said.extend(self._word(word) for word in words(searched(text)))
            ends.append(len(said))
        word, begins = np.asarray(said, dtype=np.int64), np.asarray(self._word_ends)
        each = begins[word + 1] - begins[word]  # terms
        row_of = np.repeat(np.arange(len(rows)), np.diff(ends))
        self._lengths.append(np.bincount(row_of, each, len(rows)).astype("<u4"))
        within = np.arange(each.sum()) - np.repeat(np.cumsum(each) - each, each)
        term = np.asarray(self._word_terms)[np.repeat(begins[word], each) + within]
        pairs = term.astype(np.int64) * ROWS_AT_ONCE + np.repeat(row_of, each)
        pairs, counts = np.unique(pairs, return_counts=True)
        term, places = np.divmod(pairs, ROWS_AT_ONCE)
        term, having = np.unique(term, return_counts=True)
        first = len(self._rows) - len(rows)
        small = (having.astype("<u2"), places.astype("<u2"), counts.astype("<u2"))
        self._parts.append((first, term.astype("<u4"), *small))
        self._bytes += len(counts) * 3 + len(rows) * 12
        if self._most_bytes is not None and self._bytes > self._most_bytes:
            raise TooBig

    def _word(self, word: str) -> int:
        known = self._words.get(word)
        if known is None:
            known = self._words[word] = len(self._words)
            terms = self._terms
            self._word_terms.extend(terms.setdefault(t, len(terms)) for t in of_word(word))
            self._word_ends.append(len(self._word_terms))
        return known

    def segment(self) -> Segment:
        keys = keys_of(list(self._terms))
        order = np.argsort(keys)
        rank = np.empty(len(keys), dtype=np.int64)
        rank[order] = np.arange(len(keys))
        having = np.zeros(len(keys), dtype=np.int64)
        for _, term, has, _, _ in self._parts:
            having[rank[term]] += has
        offsets = np.concatenate(([0], np.cumsum(having)))
        widest = max((int(c.max()) for *_, c in self._parts if len(c)), default=0)
        places = np.empty(offsets[-1], dtype="<u2" if len(self._rows) <= 65_536 else "<u4")
        counts = np.empty(offsets[-1], dtype="<u1" if widest < 256 else "<u2")
        filled = offsets[:-1].copy()
        for first, term, has, some, often in self._parts:
            at, each = rank[term], has.astype(np.int64)
            within = np.arange(len(some)) - np.repeat(np.cumsum(each) - each, each)
            to = np.repeat(filled[at], each) + within
            places[to] = some.astype(places.dtype) + first
            counts[to] = often
            filled[at] += each
        lengths = np.concatenate([np.empty(0, "<u4"), *self._lengths])
        return Segment(
            np.asarray(self._rows, dtype="<i8"),
            lengths.astype("<u4"),
            keys[order],
            offsets.astype("<i8"),
            places,
            counts,
        )


def pieces(segment: Segment, size: int) -> Iterator[bytes]:
    """Its bytes in parts of one size."""
    held = bytearray()
    for piece in segment.written():
        for at in range(0, len(piece), size):
            held += piece[at : at + size]
            while len(held) >= size:
                yield bytes(held[:size])
                del held[:size]
    if held:
        yield bytes(held)
