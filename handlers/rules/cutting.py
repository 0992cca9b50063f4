"""Cuts of texts in any script, between what people see as characters. Pure.

Lengths are UTF-16 units, as WhatsApp counts them: an emoji has two, a flag four. What looks like
one character may be many code points (an emoji of a family, a vowel sign of Hindi, a syllable of
Hangul in its parts), so nothing is cut but between grapheme clusters, as Unicode has them.
"""

from collections.abc import Iterator, Sequence

import regex

_CLUSTER = regex.compile(r"\X")
_BACKWARDS_MAX = 100_000  # code points: of a text's end, clusters are told from its beginning


def units(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def head(text: str, room: int) -> str:
    """The longest beginning that fits."""
    if units(text) <= room:
        return text
    return text[: places(text, room)[-1]] or _units_of(text, room)


def places(text: str, room: int) -> Sequence[int]:
    """Where a text may be cut within its first `room` units, its beginning among them."""
    used, found = 0, [0]
    for cluster in _clusters(text):
        used += units(cluster)
        if used > room:
            break
        found.append(found[-1] + len(cluster))
    return found


def tail(text: str, room: int) -> str:
    """The longest end that fits."""
    if units(text) <= room:
        return text
    clusters = [*_clusters(text[-_BACKWARDS_MAX:])]
    used, start = 0, len(clusters)
    while start and used + (more := units(clusters[start - 1])) <= room:
        used += more
        start -= 1
    return "".join(clusters[start:])


def both_ends(text: str, room: int, left_out: str = " \u2026 ") -> str:
    """Of a text that is too long, as much of its beginning as of its end: what somebody wants
    stands in one of them."""
    if units(text) <= room:
        return text
    if room < 4 * units(left_out):
        return head(text, room)
    half = (room - units(left_out)) // 2
    return f"{head(text, half).rstrip()}{left_out}{tail(text, half).lstrip()}"


def _clusters(text: str) -> Iterator[str]:
    return (match[0] for match in _CLUSTER.finditer(text))


def _units_of(text: str, room: int) -> str:
    """Of a cluster that is longer than a message (a letter under thousands of marks)."""
    return (
        text[:room].encode("utf-16-le", "surrogatepass")[: room * 2].decode("utf-16-le", "ignore")
    )
