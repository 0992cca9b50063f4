"""What a text says that was done: refunded, ordered, approved, booked, cancelled. Pure.

In the languages of the fixed texts, by patterns (claims.toml). A question, a condition and a denial
say nothing of the kind.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import regex

from handlers.rules.lookalikes import unmixed
from handlers.rules.texts import searched

APPROVED: Final = "approved"
_ENDS = r"!?\u061f\u3002\uff01\uff1f\u0964"
_SENTENCE = regex.compile(rf"(?:[^.{_ENDS}\n]|\.(?=[^\s.]))+(?:[.{_ENDS}]+|\n|$)")
_CLAUSES = regex.compile(r"[,;:\u060c\uff0c\u3001\u2013\u2014]")
_MARKUP = regex.compile(r"[*_~`]+")  # bold is said no less
_ASKS = ("?", "\u061f", "\uff1f")


@dataclass(frozen=True, slots=True)
class Claim:
    effect: str
    start: int  # of the sentence
    end: int


def claims_in(text: str) -> list[Claim]:
    return [
        Claim(effect, match.start(), match.end())
        for match in _SENTENCE.finditer(text)
        for effect in sorted(_effects(match[0]))
    ]


def effects_in(text: str) -> frozenset[str]:
    return frozenset(claim.effect for claim in claims_in(text))


def named_in(request: str) -> frozenset[str]:
    """The effects that a request's words name."""
    folded = searched(request)
    return frozenset(
        effect for effect, stems in _known().stems.items() if any(stem in folded for stem in stems)
    )


def _effects(sentence: str) -> Iterator[str]:
    if sentence.rstrip().endswith(_ASKS):
        return
    shown = unmixed(_MARKUP.sub("", sentence))
    lower = shown.replace("\u0130", "i").lower().replace("'", "\u2019")
    for language in _known().languages:
        for effect, pattern in language.effects.items():
            if any(_is_said(lower, match, language) for match in pattern.finditer(lower)):
                yield effect


def _is_said(sentence: str, match: "regex.Match[str]", language: "_Language") -> bool:
    before = [place.end() for place in _CLAUSES.finditer(sentence, 0, match.start())]
    clause = sentence[before[-1] if before else 0 : match.end()]
    return language.skip.search(clause) is None


@dataclass(frozen=True, slots=True)
class _Language:
    skip: "regex.Pattern[str]"
    effects: Mapping[str, "regex.Pattern[str]"]


@dataclass(frozen=True, slots=True)
class _Known:
    languages: tuple[_Language, ...]
    stems: Mapping[str, tuple[str, ...]]


@cache
def _known() -> _Known:
    told: dict[str, dict[str, str]] = tomllib.loads(
        (Path(__file__).parent / "claims.toml").read_text(encoding="utf-8")
    )
    stems = {effect: tuple(words.split()) for effect, words in told.pop("stems").items()}
    languages = tuple(
        _Language(
            skip=regex.compile(patterns["skip"]),
            effects={
                effect: regex.compile(pattern)
                for effect, pattern in patterns.items()
                if effect != "skip"
            },
        )
        for patterns in told.values()
    )
    return _Known(languages, stems)
