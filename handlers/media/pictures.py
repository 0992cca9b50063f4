"""Pictures are drawn anew by a process of their own, which may take so long and no longer."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from handlers.documents.blocks import Refused
from handlers.documents.reading import TooSlow, by_child
from handlers.media.room import Room

PICTURE_S = 20.0
CHILDREN_MAX = 2  # of a worker at once: each may take hundreds of MB, of pictures and of documents
OUT_BYTES = 16 * 1024 * 1024
PICTURES = frozenset(["image", "sticker"])
DRAWN = "image/jpeg"


def children() -> Room:
    """For them, which all who open media in a process share."""
    return Room(CHILDREN_MAX)


class NotDrawn(Exception):
    """It is no picture, is damaged, or takes more than a picture may. In a word of rules.py."""


@dataclass(frozen=True, slots=True)
class Picture:
    big: bytes  # for people
    small: bytes  # for a model


async def drawn_anew(pieces: AsyncIterator[bytes]) -> Picture:
    """Raises NotDrawn, and what the pieces raise."""
    try:
        out = await by_child(("handlers.media.drawing",), pieces, PICTURE_S, OUT_BYTES)
    except TooSlow:
        raise NotDrawn("too_slow") from None
    except Refused:
        raise NotDrawn("not_drawn") from None
    line, _, rest = out.partition(b"\n")
    try:
        big, small = json.loads(line)
    except (ValueError, KeyError, TypeError):
        raise NotDrawn("not_drawn") from None
    if big + small != len(rest):  # killed by one of its bounds
        raise NotDrawn("not_drawn")
    return Picture(rest[:big], rest[big:])


async def whole(data: bytes) -> AsyncIterator[bytes]:
    yield data
