"""A ZIP as it is made, piece by piece: nothing of it is held but what is being packed."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

from handlers.media_store.port import PIECE_BYTES


class _Out(io.RawIOBase):
    """What the archive writes, until it is fetched. It cannot be sought in, so the sizes of each
    file come after it."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._waiting += data
        return len(data)

    def fetch(self, at_least: int) -> bytes:
        if len(self._waiting) < at_least:
            return b""
        taken, self._waiting = bytes(self._waiting), bytearray()
        return taken


async def zipped(files: AsyncIterator[tuple[str, AsyncIterator[bytes]]]) -> AsyncIterator[bytes]:
    """Packing a piece takes milliseconds of a processor, which a worker's other roles have not."""
    out = _Out()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        async for name, pieces in files:
            with archive.open(name, "w", force_zip64=True) as entry:
                async for piece in pieces:
                    await asyncio.to_thread(entry.write, piece)
                    if packed := out.fetch(PIECE_BYTES):
                        yield packed
    if packed := out.fetch(1):
        yield packed
