"""What a customer wants besides an answer, without a model: a person, or to know whether the shop
is open at this moment. Pure, and no more than rules: wishes.toml has them."""

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


def asks_open_now(text: str) -> bool:
    return any(pattern.search(_folded(text)) for pattern in _known().open_now)


def _folded(text: str) -> str:
    return searched(text[:TEXT_CHARS])


@dataclass(frozen=True, slots=True)
class _Known:
    human: Sequence["regex.Pattern[str]"]
    open_now: Sequence["regex.Pattern[str]"]


@cache
def _known() -> _Known:
    told = tomllib.loads((Path(__file__).parent / "wishes.toml").read_text(encoding="utf-8"))
    return _Known(
        human=[regex.compile(one) for one in told["human"].values()],
        open_now=[regex.compile(one) for one in told["open_now"].values()],
    )
