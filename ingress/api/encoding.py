"""Answers are written: rows become JSON, a piece at a time, so that nobody who shares the process
waits for a large one."""

import asyncio
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import MappingProxyType
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
        yield from _object({**one})
    elif _is_row(one.__class__):
        yield from _object(_members(one))
    else:
        yield to_json(one)


SHOWN_ONCE: Mapping[str, bool] = MappingProxyType({"shown_once": True})  # metadata of a field


def kept(row: Any) -> str:
    """Of the first answer to an Idempotency-Key: without what is shown this one time."""
    hidden = shown_once(type(row))
    members = {name: value for name, value in _members(row).items() if name not in hidden}
    return b"".join(_object(members)).decode()


def shown_once(kind: Any) -> frozenset[str]:
    """Names of fields that an answer may lack."""
    return frozenset(
        field.name for field in dataclasses.fields(kind) if field.metadata.get("shown_once")
    )


# What most values are, told from the rest by a look.
_PLAIN = frozenset((str, int, bool, float, type(None), datetime, date, Decimal))


def _object(members: dict[str, Any]) -> Iterator[bytes]:
    """All that is small in one go. `members` is the caller's no more."""
    apart = [name for name, value in members.items() if _stands_apart(value)]
    taken = [(to_json(name) + b":", members.pop(name)) for name in apart]
    plain = to_json(members)
    if not taken:
        yield plain
        return
    begun = plain[:-1] + b"," if members else plain[:-1]
    if all(isinstance(value, StoredJson) for _, value in taken):
        yield begun + b",".join(name + value.encode() for name, value in taken) + b"}"
        return
    for name, value in taken:
        yield begun + name
        yield from pieces(value)
        begun = b","
    yield b"}"


def _stands_apart(value: Any) -> bool:
    """A list of texts or numbers does not: to_json() writes it as well."""
    kind = value.__class__
    if kind is list:
        return any(
            True for one in value if one.__class__ not in _PLAIN and _has_parts(one.__class__)
        )
    return kind not in _PLAIN and _has_parts(kind)


@functools.cache
def _has_parts(kind: Any) -> bool:
    return issubclass(kind, StoredJson | list | dict) or _is_row(kind)


@functools.cache
def _is_row(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind)


def _members(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _names(row.__class__)}


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))
