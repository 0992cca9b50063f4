"""Answers are written: rows become JSON, a piece at a time, so that nobody who shares the process
waits for a large one."""

import asyncio
import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

from pydantic_core import to_json

from db.pages import StoredJson

STRIDE_BYTES = 64 * 1024  # then others have their turn


async def encoded(body: Any) -> bytes:
    whole = bytearray()
    since = 0
    for piece in pieces(body):
        whole += piece
        since += len(piece)
        if since > STRIDE_BYTES:
            since = 0
            await asyncio.sleep(0)
    return bytes(whole)


def pieces(one: Any) -> Iterator[bytes]:
    """Of a row, a page, a problem. What is stored as JSON goes out as it is stored."""
    if isinstance(one, StoredJson):
        yield one.encode()
    elif isinstance(one, list):
        yield b"["
        for number, item in enumerate(one):
            if number:
                yield b","
            yield from pieces(item)
        yield b"]"
    elif isinstance(one, dict):
        yield from _object(one)
    elif dataclasses.is_dataclass(one) and not isinstance(one, type):
        yield from _object({name: getattr(one, name) for name in _names(type(one))})
    else:
        yield to_json(one)


def _object(members: dict[str, Any]) -> Iterator[bytes]:
    """All that is small in one go."""
    apart = {name: value for name, value in members.items() if _stands_apart(value)}
    plain = to_json({name: value for name, value in members.items() if name not in apart})
    yield plain[:-1]
    comma = b"," if len(plain) > len("{}") else b""
    for name, value in apart.items():
        yield comma + to_json(name) + b":"
        yield from pieces(value)
        comma = b","
    yield b"}"


def _stands_apart(value: Any) -> bool:
    return isinstance(value, StoredJson | list | dict) or dataclasses.is_dataclass(value)


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
