"""A call of a tool, as the thread can keep it and a tool can take it or refuse it in words. Pure.

Arguments come from a model through a server. What they become goes into a checkpoint
(MessagePack: 64 bits, bounded depth), into a row (PostgreSQL's JSON: no NaN), and to the server
again with every later prompt; so it is plain, small and flat, whatever came.
"""

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from handlers.rules.texts import mended

MAX_CHARS = 16_000  # of a call's arguments; what the tools keep of them is less
MAX_DEPTH = 16
MAX_ITEMS = 1_000
WHOLE_DIGITS = 18  # of a number; what is longer is text: it is an order's, not a quantity

NO_OBJECT = "the arguments are not a JSON object"
TOO_LONG = f"the arguments are too long ({MAX_CHARS:,} characters are the most)"
TOO_DEEP = f"the arguments are nested deeper than {MAX_DEPTH} levels"
NO_NUMBER = "the arguments have a number that JSON does not know"


@dataclass(frozen=True, slots=True)
class Call:
    name: str  # every server takes it
    arguments: dict[str, Any]
    id: str | None = None  # the server's own
    problem: str | None = None  # why no tool can take it, for the model


class _Unfit(Exception):
    """The message is the problem."""


def call_of(name: object, arguments: object, tools: Collection[str], id_: object = None) -> Call:
    """`arguments` as a server gave them: an object, or JSON as text, once or twice."""
    problem: str | None = None
    plain: dict[str, Any] = {}
    try:
        plain = _plain_arguments(arguments)
    except _Unfit as unfit:
        problem = str(unfit)
    own = id_ if isinstance(id_, str) and re.fullmatch(r"[\x21-\x7e]{1,64}", id_) else None
    return Call(_tool_name(name, tools), plain, own, problem)


def loads(text: str | bytes) -> Any:
    """JSON as models and servers write it: line breaks in strings, and numbers of any length.
    Raises ValueError."""
    try:
        return json.loads(text, parse_int=whole, strict=False)
    except RecursionError:
        raise ValueError("nested too deep") from None


def whole(digits: str) -> int | str:
    return int(digits) if len(digits) <= WHOLE_DIGITS else digits


def _plain_arguments(given: object) -> dict[str, Any]:
    for _ in range(2):  # some servers encode what is encoded already
        if isinstance(given, str):
            if len(given) > MAX_CHARS:
                raise _Unfit(TOO_LONG)
            try:
                given = loads(given) if given.strip() else None
            except ValueError:
                raise _Unfit(NO_OBJECT) from None
    if given is None:
        return {}  # of a tool without any
    if not isinstance(given, dict):
        raise _Unfit(NO_OBJECT)
    plain: dict[str, Any] = _Plain().value(given, 0)
    return plain


class _Plain:
    """Copies a value, and counts what it copies."""

    def __init__(self) -> None:
        self._chars = MAX_CHARS
        self._items = MAX_ITEMS

    def value(self, given: object, depth: int) -> Any:
        self._items -= 1
        if self._items < 0:
            raise _Unfit(TOO_LONG)
        if depth > MAX_DEPTH:
            raise _Unfit(TOO_DEEP)
        match given:
            case str():
                return self._text(given)
            case dict():
                return {
                    self._text(str(key)): self.value(item, depth + 1) for key, item in given.items()
                }
            case list():
                return [self.value(item, depth + 1) for item in given]
            case float() if not math.isfinite(given):
                raise _Unfit(NO_NUMBER)
            case bool() | float() | None:
                return given
            case int():
                return given if abs(given) < 10**WHOLE_DIGITS else str(given)
            case _:
                raise _Unfit(NO_OBJECT)

    def _text(self, given: str) -> str:
        self._chars -= len(given)
        if self._chars < 0:
            raise _Unfit(TOO_LONG)
        return mended(given)


def _tool_name(given: object, tools: Collection[str]) -> str:
    """Of a tool, if it is one of them with something around it, such as `functions.`."""
    text = given if isinstance(given, str) else ""
    parts = re.split(r"[^a-zA-Z0-9_-]+", text[:200])
    known = next((part for part in parts if part in tools), None)
    return known or re.sub(r"[^a-zA-Z0-9_-]", "_", text)[:64] or "nameless"
