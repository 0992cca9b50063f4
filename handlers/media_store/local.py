"""The media store as a directory: of one machine, or shared between machines (NFS, a volume)."""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

from handlers.media_store.port import (
    IDENTITY,
    PIECE_BYTES,
    UNFINISHED_S,
    StoreProblem,
    checked,
    folder_of,
)

# What is being written, by its key with + for /, and is renamed when it is durable.
UNFINISHED = "unfinished"

T = TypeVar("T")


class Directory:
    def __init__(self, root: Path) -> None:
        self._root = root

    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> int:
        path = self._root / checked(key)
        named = f"{key.replace('/', '+')}+{secrets.token_hex(16)}"
        unfinished = self._root / UNFINISHED / named
        await self._disk(_make, unfinished.parent, path.parent)
        written = 0
        file = await self._disk(unfinished.open, "xb")
        try:
            with file:
                async for piece in pieces:
                    written += len(piece)
                    await self._disk(file.write, piece)
                await self._disk(_to_disk, file.fileno(), file.flush)
            await self._disk(_put, unfinished, path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise
        return written

    async def read(self, key: str, start: int = 0) -> AsyncIterator[bytes]:
        path = self._root / checked(key)
        try:
            file = await self._disk(_opened, path)
        except StoreProblem as problem:
            if isinstance(problem.__cause__, FileNotFoundError):
                raise problem.__cause__ from None
            raise
        with file:
            file.seek(start)
            while piece := await self._disk(file.read, PIECE_BYTES):
                yield piece

    async def remove(self, key: str) -> None:
        await self._disk(self._remove, checked(key))

    async def remove_below(self, prefix: str) -> int:
        return await self._disk(self._remove_below, folder_of(prefix), prefix)

    async def keys_below(self, prefix: str) -> list[str]:
        found = await self._disk(self._below, folder_of(prefix), prefix)
        return sorted({key for key, _ in found})

    async def _disk(self, work: Callable[..., T], *args: object) -> T:
        try:
            return await asyncio.to_thread(work, *args)
        except OSError as error:
            raise StoreProblem(f"MEDIA_STORE: {self._root}: {error.strerror or error}") from error

    def _remove(self, key: str) -> None:
        (self._root / key).unlink(missing_ok=True)
        for of, path in self._unfinished():
            if of == key:
                path.unlink(missing_ok=True)

    def _remove_below(self, folder: str, prefix: str) -> int:
        found = self._below(folder, prefix)
        for _, path in found:
            path.unlink(missing_ok=True)
        return len(found)

    def _below(self, folder: str, prefix: str) -> list[tuple[str, Path]]:
        finished = (
            Path(parent) / name
            for parent, _, names in os.walk(self._root / folder)
            for name in names
        )
        found = [(path.relative_to(self._root).as_posix(), path) for path in finished]
        return [one for one in (*found, *self._unfinished()) if one[0].startswith(prefix)]

    def _unfinished(self) -> Iterator[tuple[str, Path]]:
        """With the key that each is to have."""
        with suppress(FileNotFoundError):
            for path in (self._root / UNFINISHED).iterdir():
                yield path.name.rpartition("+")[0].replace("+", "/"), path

    async def close(self) -> None:
        """It holds nothing between calls."""

    async def identity(self) -> str:
        try:
            return await asyncio.to_thread(self._identity)
        except OSError as error:
            raise StoreProblem(
                f"MEDIA_STORE: {self._root} cannot be written ({error.strerror}): make it, and let"
                " the user of ingress and workers write there"
            ) from error

    def _identity(self) -> str:
        """Also throws away what writes that died have left."""
        _make(self._root / UNFINISHED, self._root)
        for left in (self._root / UNFINISHED).iterdir():
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - UNFINISHED_S:
                    left.unlink()
        path = self._root / IDENTITY
        if not path.exists():
            mine = self._root / UNFINISHED / secrets.token_hex(16)
            mine.write_text(secrets.token_hex(16))
            with suppress(FileExistsError):  # of two at once one is first
                os.link(mine, path)
            mine.unlink()
        return path.read_text()


def _opened(path: Path) -> BinaryIO:
    return path.open("rb")


def _make(*folders: Path) -> None:
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)


def _to_disk(fileno: int, flush: object) -> None:
    assert callable(flush), "a file's"
    flush()
    os.fsync(fileno)


def _put(unfinished: Path, path: Path) -> None:
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
