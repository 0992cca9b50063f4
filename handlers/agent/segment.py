"""A part of an index: which rows have which term, and how often, in flat arrays. Pure.

As dicts and tuples the same took 52 KB a row, and a worker 2.6 GB for 50,000 rows; so it takes 1 to
2 KB. An array is written and read as it is, so a segment that somebody else built is there as soon
as its bytes are.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from handlers.rules.texts import searched, words

GRAMS = (3, 4)
# Moves with the bytes' form and with what `terms` finds: a segment of another format is built anew.
FORMAT = 2
Array: TypeAlias = npt.NDArray[Any]

_HEAD = struct.Struct("<4sIQQQII")  # mark, format, rows, terms, postings, bytes of a place, a count
_MARK = b"SRkb"
_ALIGNED = 8


class NoSegment(Exception):
    """These bytes are none of this format."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    rows: Array  # int64: a row's id; its place here is what `places` speaks of
    lengths: Array  # uint32: terms of each row
    keys: Array  # uint64, sorted: of each term
    offsets: Array  # int64: where each term's postings begin, and behind the last where they end
    places: Array  # uint16 or uint32, ascending for each term
    counts: Array  # uint8 or uint16

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays)

    @property
    def _arrays(self) -> tuple[Array, ...]:
        return (self.rows, self.lengths, self.keys, self.offsets, self.places, self.counts)

    def written(self) -> Iterator[memoryview]:
        """In pieces, for whoever stores or sends them."""
        sizes = (len(self.rows), len(self.keys), len(self.places))
        head = _HEAD.pack(_MARK, FORMAT, *sizes, self.places.itemsize, self.counts.itemsize)
        for piece in (head, *self._arrays):
            data = memoryview(piece).cast("B")  # type: ignore[arg-type]
            yield data
            yield memoryview(bytes(-len(data) % _ALIGNED))


def read(data: bytes | bytearray | memoryview) -> Segment:
    """Raises NoSegment. The arrays are of these very bytes, not of a copy."""
    try:
        mark, form, rows, terms_, postings, place, count = _HEAD.unpack_from(data)
        if (mark, form) != (_MARK, FORMAT):
            raise NoSegment
        arrays, at = [], _HEAD.size + -_HEAD.size % _ALIGNED
        for length, kind in (
            *((rows, "<i8"), (rows, "<u4"), (terms_, "<u8"), (terms_ + 1, "<i8")),
            *((postings, f"<u{place}"), (postings, f"<u{count}")),
        ):
            array = np.frombuffer(data, dtype=kind, count=length, offset=at)
            arrays.append(array)
            at += array.nbytes + -array.nbytes % _ALIGNED
    except (struct.error, ValueError, TypeError) as error:
        raise NoSegment from error
    return Segment(*arrays)


def terms(text: str) -> list[str]:
    """Words of any script, and each word's grams with its borders marked."""
    return [term for word in words(searched(text)) for term in of_word(word)]


def of_word(word: str) -> list[str]:
    padded = f"^{word}$"
    grams = (padded[i : i + n] for n in GRAMS for i in range(len(padded) - n + 1))
    return [word, *grams]


def key(term: str) -> int:
    """64 bits instead of the text: among a million terms two are the same once in 37 million
    indexes."""
    digest = blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def keys_of(some: Sequence[str]) -> Array:
    return np.fromiter((key(term) for term in some), dtype="<u8", count=len(some))
