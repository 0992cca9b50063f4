"""What a text must have for a pattern to find something in it. Pure.

A search for a string costs a fiftieth of one for a pattern, and most texts have none of them.
"""

import re
from collections.abc import Iterator, Sequence
from re import _constants as ops  # type: ignore[attr-defined]  # the parser of `re` has no types
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

_LETTER = re.compile(r"\\p\{\w+\}")  # which `re` does not know, and of which no string is made


def needles(pattern: str) -> frozenset[str]:
    """Strings of which whatever it finds has one. None of them: that cannot be said, and any text
    may have it."""
    found = _of(list(parser.parse(_LETTER.sub(r"\\w", pattern))))
    return frozenset(one for one in found if not any(other in one for other in found - {one}))


def _of(sequence: Sequence[tuple[Any, Any]]) -> frozenset[str]:
    """Of all that must be there that by which least is found: the longest."""
    return max(_needed(sequence), key=_rarity, default=frozenset())


def _rarity(strings: frozenset[str]) -> tuple[int, int]:
    return min(map(len, strings), default=0), -len(strings)


def _needed(sequence: Sequence[tuple[Any, Any]]) -> Iterator[frozenset[str]]:
    run = ""
    for op, of in sequence:
        if op is ops.LITERAL:
            run += chr(of)
            continue
        if run:
            yield frozenset([run])
        run = ""
        if op is ops.BRANCH:
            found = [_of(list(branch)) for branch in of[1]]
            yield frozenset().union(*found) if all(found) else frozenset()
        elif op is ops.SUBPATTERN:
            yield _of(list(of[-1]))
        elif op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT) and of[0] > 0:
            yield _of(list(of[2]))
        elif op is ops.ATOMIC_GROUP:
            yield _of(list(of))
    if run:
        yield frozenset([run])
