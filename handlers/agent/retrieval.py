"""Finds knowledge-base rows for a question: BM25 over words and character 3- and 4-grams. Pure.

Grams carry what words cannot: inflection, typos, compounds and scripts without spaces. PostgreSQL's
websearch_to_tsquery is no substitute: it ANDs every word of the question and finds almost nothing
(recall@5 0.01 against 0.72 on BANKING77 with 154 rows).

What is kept is counts and no weights: what a term weighs depends on all rows, so an addition to an
index scores as if all of it had been built anew.
"""

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from handlers.agent.building import Builder
from handlers.agent.segment import Array, Segment, keys_of, terms
from handlers.agent.vectors import Closeness

K1 = 1.2
B = 0.75
# Postings that are scored together: fewer, and numpy's calls count; more, and what they are scored
# with takes more than some megabytes.
TOGETHER = 131_072


# What a standard deviation of closeness adds to the share. The two are added, and not their ranks:
# that one side is sure of a row has to count. A row that shares no term has to be close.
CLOSENESS_WEIGHT = 0.15
CLOSE = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    place: int  # the row's id, as the segment has it
    share: float  # of the weight that the question could have got, 0..1


class Index:
    """Segments that are searched as one, but for rows that are gone."""

    def __init__(self, segments: Sequence[Segment], gone: Collection[int] = ()) -> None:
        """`gone` are rows of the first segment: what is left of them is in a later one."""
        self._segments = [s for s in segments if len(s.rows)]
        self._here = [np.ones(len(s.rows), dtype=bool) for s in self._segments]
        if gone and self._segments and self._segments[0] is segments[0]:
            rows = self._segments[0].rows
            self._here[0] = ~np.isin(rows, np.fromiter(gone, dtype=np.int64, count=len(gone)))
        self._rows = sum(int(here.sum()) for here in self._here)
        pairs = list(zip(self._segments, self._here, strict=True))
        total = sum(int(s.lengths[here].sum(dtype=np.int64)) for s, here in pairs)
        mean = total / self._rows if self._rows else 1.0
        self._norms = [K1 * (1 - B + B * s.lengths / (mean or 1.0)) for s in self._segments]

    @property
    def nbytes(self) -> int:
        arrays = (*self._here, *self._norms)
        return sum(s.nbytes for s in self._segments) + sum(one.nbytes for one in arrays)

    def search(self, question: str, limit: int, closeness: Closeness | None = None) -> list[Hit]:
        """Best first; rows that share nothing with the question are not there, unless they are
        close to it."""
        asked = list(dict.fromkeys(terms(question)))
        if not asked or not self._rows:
            return []
        keys = keys_of(asked)
        postings = [_postings(s, keys) for s in self._segments]
        having = np.zeros(len(asked), dtype=np.int64)  # rows with each term
        for (starts, ends), segment, here in zip(postings, self._segments, self._here, strict=True):
            having += ends - starts if here.all() else _left(segment, here, starts, ends)
        # Of a term that no row has, as of the rarest: it counts against the question's share.
        weights = [math.log(1 + (self._rows - n + 0.5) / (n + 0.5)) for n in having.tolist()]
        possible = sum(weight * (K1 + 1) for weight in weights)
        rows, scores, shares = [], [], []
        for found, segment, here, norms in zip(
            postings, self._segments, self._here, self._norms, strict=True
        ):
            scored = _scored(segment, norms, np.asarray(weights), *found)
            share = scored / possible
            summed = share if closeness is None else _summed(share, closeness.of(segment.rows))
            summed[~here] = 0.0
            best = _best(summed, limit)
            rows.append(segment.rows[best])
            scores.append(summed[best])
            shares.append(share[best])
        best_rows, best_scores = np.concatenate(rows), np.concatenate(scores)
        best_shares = np.concatenate(shares)
        order = np.lexsort((best_rows, -best_scores))[:limit]
        return [Hit(int(best_rows[n]), min(1.0, float(best_shares[n]))) for n in order.tolist()]


def _summed(share: Array, close: Array) -> Array:
    summed: Array = share + CLOSENESS_WEIGHT * close
    summed[(share <= 0) & (close < CLOSE)] = 0.0
    # A row that is found is not lost because others are closer; it comes last.
    return np.where(share > 0, np.maximum(summed, share * 1e-3), summed)


def index_of(texts: Iterable[str]) -> Index:
    """With the texts' places as their ids."""
    builder = Builder()
    builder.add(enumerate(texts))
    return Index([builder.segment()])


def _postings(segment: Segment, keys: Array) -> tuple[Array, Array]:
    """Where those of each key begin and end; at the same place, when there are none."""
    at = np.searchsorted(segment.keys, keys)
    at[at == len(segment.keys)] = 0
    there = segment.keys[at] == keys if len(segment.keys) else np.zeros(len(keys), dtype=bool)
    at[~there] = 0
    starts = np.where(there, segment.offsets[at], 0)
    return starts, np.where(there, segment.offsets[np.minimum(at + 1, len(segment.keys))], 0)


def _left(segment: Segment, here: Array, starts: Array, ends: Array) -> Array:
    """How many rows have each term, without those that are gone."""
    pairs = zip(starts.tolist(), ends.tolist(), strict=True)
    left = [int(here[segment.places[start:end]].sum()) for start, end in pairs]
    return np.asarray(left, dtype=np.int64)


def _scored(segment: Segment, norms: Array, weights: Array, starts: Array, ends: Array) -> Array:
    """Of every row of the segment."""
    scores = np.zeros(len(segment.rows))
    lengths = ends - starts
    groups = np.cumsum(lengths) // TOGETHER
    for group in np.unique(groups[lengths > 0]).tolist():
        some = np.flatnonzero((groups == group) & (lengths > 0))
        slices = [slice(starts[n], ends[n]) for n in some.tolist()]
        places = np.concatenate([segment.places[one] for one in slices])
        counts = np.concatenate([segment.counts[one] for one in slices]).astype(np.float64)
        gained = np.repeat(weights[some], lengths[some])
        gained *= counts
        gained *= K1 + 1
        counts += norms[places]
        gained /= counts
        if len(slices) == 1:  # no place twice
            scores[places] += gained
        else:
            scores += np.bincount(places, weights=gained, minlength=len(scores))
    return scores


def _best(scores: Array, limit: int) -> Array:
    """The places of the best, and of all that are as good as the last of them."""
    if len(scores) > limit:
        least = np.partition(scores, len(scores) - limit)[-limit]
        return np.flatnonzero((scores >= least) & (scores > 0))
    return np.flatnonzero(scores > 0)
