"""Requests are read: texts and bytes become a model, or everything that is wrong with them. Pure.

A body is parsed twice. First by us, who refuse what parsers disagree about (a name that is given
twice, NaN), what PostgreSQL cannot store, and what nests too deep; then by pydantic, which takes
JSON more exactly than Python's values: 1.0 is no whole number, "1" is none either.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from handlers.outbound.addresses import NOTHING, Allow
from handlers.rules.texts import storable
from ingress.api.fields import Body, Parameters
from ingress.api.mistakes import (
    MISTAKES_MAX,
    NOT_JSON,
    UNSTORABLE,
    Mistake,
    mistakes_in,
    named,
    names_of,
    no_such,
)
from ingress.api.problems import not_found

NESTING_MAX = 32  # what is stored from a body is written, read and merged by others, too

P = TypeVar("P", bound=Parameters)
B = TypeVar("B", bound=Body)

_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_UNSTORABLE_ESCAPE = re.compile(r"\\u(?:0000|d[89a-f])", re.IGNORECASE)  # or half of a good pair


def read_parameters(
    model: type[P], path: Mapping[str, str], query: Mapping[str, Sequence[str]], now: datetime
) -> P | list[Mistake]:
    """Raises not_found for what no path can say: that is no mistake in a request, but a wrong
    address."""
    mistakes: list[Mistake] = []
    given = dict(path)
    names = [name for name in names_of(model) if name not in path]
    for name, (first, *more) in query.items():
        if name not in names:
            mistakes.append(Mistake(named(name), no_such("parameter", name, names)))
            continue
        if more:
            mistakes.append(Mistake(name, "given more than once"))
        elif storable(first) != first:
            mistakes.append(Mistake(name, UNSTORABLE))
        given[name] = storable(first)
    try:
        parameters = model.model_validate_strings(given, context={"now": now})
    except ValidationError as error:
        if any(one["loc"][0] in path for one in error.errors(include_url=False)):
            raise not_found() from None
        mistakes += mistakes_in(error, model, given, kind="parameter")
        return mistakes[:MISTAKES_MAX]
    return mistakes[:MISTAKES_MAX] or parameters


def read_json(
    model: type[B], raw: bytes, now: datetime, outbound: Allow = NOTHING
) -> B | list[Mistake]:
    """No body is an empty object. `outbound`: inner addresses that URLs may lead to."""
    try:
        text = raw.strip().decode("utf-8-sig") or "{}"
        given = json.loads(
            text, object_pairs_hook=_named_once, parse_float=_finite, parse_constant=_no_constant
        )
    except _Refused as refused:
        return [refused.mistake]
    except (ValueError, RecursionError):
        return [Mistake("", NOT_JSON)]
    if _nesting(text) > NESTING_MAX:
        return [Mistake("", f"nests deeper than {NESTING_MAX} levels")]
    mistakes = []
    if _UNSTORABLE_ESCAPE.search(text):
        mistakes = [Mistake(place, UNSTORABLE) for place in _unstorable(given)]
    try:
        body = model.model_validate_json(text, context={"now": now, "outbound": outbound})
    except ValidationError as error:
        # Half of a surrogate pair is no JSON to pydantic, which then says nothing else.
        if not mistakes or error.errors()[0]["type"] != "json_invalid":
            mistakes += mistakes_in(error, model, given)
        return mistakes[:MISTAKES_MAX]
    return mistakes[:MISTAKES_MAX] or body


class _Refused(Exception):
    """What is JSON by its grammar, and taken by nobody in the same way."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__()
        self.mistake = mistake


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values of one name, some parsers take the first and some the last."""
    given = dict(pairs)
    if len(given) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise _Refused(Mistake(named(twice), "given more than once"))
    return given


def _finite(text: str) -> float:
    """1e999 is infinite to Python and no number to PostgreSQL's JSON."""
    number = float(text)
    if math.isinf(number):
        raise _Refused(Mistake("", "has a number that is too large"))
    return number


def _no_constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _nesting(text: str) -> int:
    brackets = text.count("[") + text.count("{")
    if brackets <= NESTING_MAX:  # nearly every body: nothing to look at
        return brackets
    depth = deepest = 0
    for bracket in re.findall(r"[\[\]{}]", _STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unstorable(given: Any) -> Iterator[str]:
    """Where texts and names are that PostgreSQL would refuse."""
    waiting: list[tuple[str, Any]] = [("", given)]
    while waiting:
        place, one = waiting.pop()
        inner: Iterable[tuple[Any, Any]]
        texts: Iterable[str]
        if isinstance(one, dict):
            inner = one.items()
            texts = one
        else:
            inner = enumerate(one) if isinstance(one, list) else ()
            texts = (one,) if isinstance(one, str) else ()
        if any(storable(text) != text for text in texts):
            yield place
        waiting += [(f"{place}.{named(str(step))}".lstrip("."), it) for step, it in inner]
