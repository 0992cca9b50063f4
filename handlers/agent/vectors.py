"""Rows by what they mean: vectors of length 1, compared with a question's. Pure.

In 16-bit floats, which is half the memory and no other order: 50,000 rows of 384 are 38 MB, and a
question takes about 25 ms, of which the half is to make 32-bit floats of them, some rows at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from handlers.agent.segment import Array

ROWS_AT_ONCE = 4_096
DIMENSIONS_MAX = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Closeness:
    """How close rows are to one question, in standard deviations from the mean of all of them: of
    another model other cosines are close, and these are not."""

    rows: Array  # int64, ascending
    scores: Array  # float32

    def at(self, places: Mapping[int, int]) -> "Closeness":
        """Of rows that an index knows by their places; others are left out."""
        pairs = zip(self.rows.tolist(), self.scores.tolist(), strict=True)
        there = sorted((places[row], score) for row, score in pairs if row in places)
        return Closeness(
            np.array([place for place, _ in there], dtype=np.int64),
            np.array([score for _, score in there], dtype=np.float32),
        )

    def of(self, rows: Array) -> Array:
        """0 of those that have no vector."""
        found = np.zeros(len(rows), dtype=np.float64)
        if len(self.rows):
            at = np.searchsorted(self.rows, rows)
            at[at == len(self.rows)] = 0
            there = self.rows[at] == rows
            found[there] = self.scores[at[there]]
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    rows: Array  # int64, ascending
    matrix: Array  # float16

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes + self.matrix.nbytes)

    def closeness(self, asked: Array) -> Closeness | None:
        """None: this is a vector of something else."""
        if not len(self.rows) or asked.shape != self.matrix.shape[1:]:
            return None
        cosines = np.empty(len(self.rows), dtype=np.float32)
        for at in range(0, len(self.rows), ROWS_AT_ONCE):
            part = self.matrix[at : at + ROWS_AT_ONCE].astype(np.float32)
            cosines[at : at + ROWS_AT_ONCE] = part @ asked
        spread = float(cosines.std())
        if spread < 1e-6:  # one row, or all alike
            return None
        return Closeness(self.rows, (cosines - cosines.mean()) / spread)


EMPTY = Vectors(np.empty(0, dtype=np.int64), np.empty((0, 0), dtype=np.float16))


def changed(before: Vectors, news: Sequence[tuple[int, bytes | None]]) -> Vectors:
    """With these rows as they are now; None: without. Those of another length than the newest are
    of another model, and left out."""
    newest: dict[int, bytes | None] = dict(news)
    have = [(row, data) for row, data in newest.items() if data is not None]
    width = len(have[-1][1]) // 2 if have else before.matrix.shape[1]
    have = [(row, data) for row, data in have if len(data) == 2 * width]
    if not width:
        return EMPTY
    keep = np.zeros(len(before.rows), dtype=bool)
    if before.matrix.shape[1] == width:
        keep = ~np.isin(before.rows, np.fromiter(newest, dtype=np.int64, count=len(newest)))
    added = np.frombuffer(b"".join(data for _, data in have), dtype="<f2").reshape(-1, width)
    rows = np.concatenate([before.rows[keep], np.array([row for row, _ in have], dtype=np.int64)])
    kept = before.matrix[keep].reshape(-1, width)
    order = np.argsort(rows, kind="stable")
    return Vectors(rows[order], np.concatenate([kept, added])[order])


def unit(values: Iterable[float]) -> Array | None:
    """Of length 1; None: it is no direction."""
    vector = np.asarray(list(values), dtype=np.float64)
    length = float(np.linalg.norm(vector)) if vector.ndim == 1 and len(vector) else 0.0
    if not 0 < length < float("inf") or len(vector) > DIMENSIONS_MAX:
        return None
    return (vector / length).astype(np.float32)


def stored(vector: Array) -> bytes:
    return vector.astype("<f2").tobytes()
