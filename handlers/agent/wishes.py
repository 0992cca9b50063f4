"""What a customer wants besides an answer, without a model: a person. Pure, and no more than rules:
wishes.toml has them."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import regex

from handlers.rules.texts import searched

TEXT_CHARS = 500  # of a message; a wish is short


def wants_human(text: str) -> bool:
    return any(pattern.search(_folded(text)) for pattern in _known().human)


def _folded(text: str) -> str:
    return searched(text[:TEXT_CHARS])


@dataclass(frozen=True, slots=True)
class _Known:
    human: Sequence["regex.Pattern[str]"]


@cache
def _known() -> _Known:
    told = tomllib.loads((Path(__file__).parent / "wishes.toml").read_text(encoding="utf-8"))
    return _Known(
        human=[regex.compile(one) for one in told["human"].values()],
    )
