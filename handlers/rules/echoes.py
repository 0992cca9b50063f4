"""What somebody outside says again of what a model gave them: it was the model's before, and is no
source of what its answer may name. Pure."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

ECHOES_MAX = 100  # of a call's arguments; each is looked for in all of the result
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LEAST = 3  # characters of a text that has no digit


def without_echoes(text: str, arguments: Mapping[str, Any]) -> str:
    """Without texts and numbers of the arguments. Where somebody else said them as well, that is a
    source by itself."""
    found = sorted({*_leaves(arguments)}, key=len, reverse=True)[:ECHOES_MAX]
    for one in found:
        if _NUMBER.fullmatch(one):
            text = _number(one).sub(" ", text)
        else:
            for spelled in (one, json.dumps(one, ensure_ascii=False)[1:-1]):
                text = text.replace(spelled, " ")
    return text


def _number(one: str) -> "re.Pattern[str]":
    """Not as a part of another; with decimals that say nothing."""
    return re.compile(rf"(?<![\w.,]){re.escape(one)}(?:[.,]0+)?(?![.,]?\w)")


def _leaves(value: Any) -> Iterator[str]:
    match value:
        case bool() | None:
            return
        case int() | float():
            yield str(value)
            if isinstance(value, float):
                yield f"{value:.2f}"
        case str():
            yield from _NUMBER.findall(value)
            if len(value.strip()) >= _LEAST:
                yield value.strip()
        case Mapping():
            for item in value.values():
                yield from _leaves(item)
        case Sequence():
            for item in value:
                yield from _leaves(item)
        case _:
            return
