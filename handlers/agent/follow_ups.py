"""Whether a line asks about what was asked before it, and which of its words say something. Pure;
follow_ups.toml has the words that do not."""

import tomllib
from functools import cache
from pathlib import Path

from handlers.agent.phrases import READ_CHARS, Phrases, divided
from handlers.rules.texts import searched, words


def follows(text: str) -> bool:
    """Whether it may ask about what was asked before: it does not say enough by itself."""
    return len(text) <= READ_CHARS and (not telling(text) or _openers().begins(text))


def refers(text: str) -> bool:
    """Whether it surely does."""
    if len(text) > READ_CHARS:
        return False
    if _openers().begins(text):
        return True
    return not telling(text) and (_prices().is_in(text) or _backs().is_in(text))


def telling(text: str) -> str:
    """The words that say what it is about."""
    return _small().without(" ".join(words(searched(text))))


def asks_price(text: str) -> bool:
    """And says not of what."""
    return len(text) <= READ_CHARS and not telling(text) and _prices().is_in(text)


@cache
def _told() -> dict[str, str]:
    told = Path(__file__).parent / "follow_ups.toml"
    return tomllib.loads(told.read_text(encoding="utf-8"))


@cache
def _openers() -> Phrases:
    return Phrases({"opener": _told()["openers"]})


@cache
def _prices() -> Phrases:
    return Phrases({"price": _told()["price"]})


@cache
def _backs() -> Phrases:
    return Phrases({"back": _told()["back"]})


@cache
def _small() -> Phrases:
    every = "|".join(phrase for of in _told().values() for phrase in divided(of))
    return Phrases({"small": every.replace(" ", "|")})
