"""The media store. It promises: a file is there whole or not at all, and durable when `write`
returns; who reads one gets it as it was when they began, also when it is removed meanwhile.

Keys are ours, `family/tenant/name`, never anything that came from outside. What the store refuses
(full, read-only, not there) is a StoreProblem, whatever it is: an OSError would be taken for
PostgreSQL's.
"""

import re
from collections.abc import AsyncIterator
from typing import Any, Protocol

PIECE_BYTES = 64 * 1024
UNFINISHED_S = 86_400  # a write that died is thrown away after a day
IDENTITY = "store-id"
NONE = "MEDIA_STORE: there is none"
_KEY = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+")


class StoreProblem(Exception):
    """What is wrong with the store, and what to do."""


class Store(Protocol):
    async def write(self, key: str, pieces: AsyncIterator[bytes]) -> int:
        """How many bytes it has. A file of this name is replaced."""

    def read(self, key: str, start: int = 0) -> AsyncIterator[bytes]:
        """In pieces of PIECE_BYTES, from this byte on. Raises FileNotFoundError at the first."""

    async def remove(self, key: str) -> None:
        """Also what is being written under it: that write fails. None there: that is as it should
        be."""

    async def remove_below(self, prefix: str) -> int:
        """All whose key begins with the prefix. How many."""

    async def keys_below(self, prefix: str) -> list[str]:
        """That begin so, also of what is being written, or was by somebody who died."""

    async def identity(self) -> str:
        """The same for whoever reaches the same store, made by whoever comes first. Raises
        StoreProblem."""

    async def close(self) -> None:
        """With the process."""


class NoStore:
    """Where none is named."""

    async def write(self, *_: Any) -> int:
        raise StoreProblem(NONE)

    def read(self, key: str, start: int = 0) -> AsyncIterator[bytes]:  # noqa: ARG002 - as stores do
        raise FileNotFoundError(key)

    async def remove(self, *_: Any) -> None:
        return

    async def remove_below(self, *_: Any) -> int:
        return 0

    async def keys_below(self, *_: Any) -> list[str]:
        return []

    async def identity(self) -> str:
        raise StoreProblem(NONE)

    async def close(self) -> None:
        return


def checked(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError("no key of the media store")
    return key


def folder_of(prefix: str) -> str:
    """In which all are whose key begins so."""
    folder, _, _ = prefix.rpartition("/")
    checked(f"{folder}/x")
    return folder
