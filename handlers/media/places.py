"""MP4 without what it says beside sound and pictures: where it was taken, by what, by whom. Pure.

Such boxes (`udta`, `meta`, `uuid`: ©xyz, loci, Apple's location keys, XMP) become free space of the
same length as the file comes, so that nothing else moves and offsets stay true. What a track of
samples says (GoPro's positions) stays: it lies among sound and pictures.
"""

import struct
from collections.abc import AsyncIterator
from typing import Final

TYPES: Final = frozenset(["video/mp4", "video/3gpp", "audio/mp4"])
_INSIDE: Final = frozenset([b"moov", b"trak", b"mdia", b"moof", b"traf"])
_BLANKED: Final = frozenset([b"udta", b"meta", b"uuid", b"XMP_", b"loci", b"\xa9xyz"])
_DEPTH = 8
_SHORT, _LONG = 8, 16  # of a header
_ENDLESS = 2**63


async def without_places(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    walk = Walk()
    async for piece in pieces:
        if done := walk.feed(piece):
            yield done
    if rest := walk.end():
        yield rest


class Walk:
    """Through the boxes of a file as it comes; it holds back a header at most. What is no box is
    left as it is, to the end of what it is in."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0  # of what is held, in the file
        self._copy = 0
        self._blank = 0
        self._ends = [_ENDLESS]  # of the boxes that it is in

    def feed(self, piece: bytes) -> bytes:
        self._held += piece
        out = bytearray()
        while self._held and self._step(out):
            pass
        return bytes(out)

    def end(self) -> bytes:
        rest, self._held = bytes(self._held), bytearray()
        return rest

    def _step(self, out: bytearray) -> bool:
        """Whether something of it could be done."""
        if self._copy:
            taken = min(self._copy, len(self._held))
            self._copy -= taken
            self._give(out, taken, bytes(memoryview(self._held)[:taken]))
            return True
        if self._blank:
            taken = min(self._blank, len(self._held))
            self._blank -= taken
            self._give(out, taken, bytes(taken))
            return True
        while self._at >= self._ends[-1]:
            self._ends.pop()
        if self._ends[-1] - self._at < _SHORT:
            self._copy = self._ends[-1] - self._at
            return True
        return self._box(out)

    def _box(self, out: bytearray) -> bool:
        if len(self._held) < _SHORT:
            return False
        size, named = struct.unpack_from(">I4s", self._held)
        head = _SHORT
        if size == 1:
            if len(self._held) < _LONG:
                return False
            (size,) = struct.unpack_from(">Q", self._held, _SHORT)
            head = _LONG
        room = self._ends[-1] - self._at
        if size == 0:  # the last one
            size = room
        if not head <= size <= room:
            self._copy = room
            return True
        header = bytes(self._held[:head])
        if named in _BLANKED:
            header, self._blank = header[:4] + b"free" + header[_SHORT:], size - head
        elif named in _INSIDE and len(self._ends) < _DEPTH:
            self._ends.append(self._at + size)
        else:
            self._copy = size - head
        self._give(out, head, header)
        return True

    def _give(self, out: bytearray, taken: int, data: bytes) -> None:
        out += data
        del self._held[:taken]
        self._at += taken
