"""What a text says that was done: refunded, ordered, paid, approved, booked, cancelled. Pure.

In the languages of the fixed texts, by patterns (claims.toml). A question, a condition and a denial
say nothing of the kind.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import regex

from handlers.rules.needles import needles
from handlers.rules.seen import seen
from handlers.rules.texts import searched, words

APPROVED: Final = "approved"
_ENDS = r"!?\u061f\u3002\uff01\uff1f\u0964"
_SENTENCE = regex.compile(rf"(?:[^.{_ENDS}\n]|\.(?=[^\s.]))+(?:[.{_ENDS}]+|\n|$)")
_CLAUSES = regex.compile(r"[,;:\u060c\uff0c\u3001\u2013\u2014]")
TAG_WORDS = 3
_ASKS = ("?", "\u061f", "\uff1f")


@dataclass(frozen=True, slots=True)
class Claim:
    effect: str
    start: int  # of the sentence
    end: int


def claims_in(text: str) -> list[Claim]:
    view = seen(text)
    small = _small(view.text)
    likely = [kind for kind in _known().kinds if kind.may_be_in(small)]
    if not likely:
        return []
    return [
        Claim(effect, *view.place(match.start(), match.end()))
        for match in _SENTENCE.finditer(view.text)
        for effect in sorted(_effects(match[0], likely))
    ]


def effects_in(text: str) -> frozenset[str]:
    return frozenset(claim.effect for claim in claims_in(text))


def named_in(request: str) -> frozenset[str]:
    """The effects that a request's words name."""
    folded = searched(request)
    return frozenset(
        effect for effect, stems in _known().stems.items() if any(stem in folded for stem in stems)
    )


def _effects(sentence: str, kinds: Sequence["_Kind"]) -> set[str]:
    asks = sentence.rstrip().endswith(_ASKS)
    lower = _small(sentence)
    return {
        kind.effect
        for kind in kinds
        if any(
            _is_said(lower, match, kind) and not (asks and _is_asked(lower, match.end()))
            for match in kind.pattern.finditer(lower)
        )
    }


def _small(text: str) -> str:
    return text.replace("\u0130", "i").lower().replace("'", "\u2019")


def _is_said(sentence: str, match: "regex.Match[str]", kind: "_Kind") -> bool:
    before = [place.end() for place in _CLAUSES.finditer(sentence, 0, match.start())]
    clause = sentence[before[-1] if before else 0 : match.end()]
    return kind.skip.search(clause) is None


def _is_asked(sentence: str, end: int) -> bool:
    """Of a question: not what stands before another clause that only asks on ("it was refunded, is
    there anything else?"). One or two words ("right?") do ask for it."""
    clause = _CLAUSES.search(sentence, end)
    return clause is None or len(words(sentence[clause.end() :])) <= TAG_WORDS


@dataclass(frozen=True, slots=True)
class _Kind:
    """An effect in a language."""

    effect: str
    pattern: "regex.Pattern[str]"
    needles: tuple[str, ...]  # of the pattern
    skip: "regex.Pattern[str]"  # of the language

    def may_be_in(self, small: str) -> bool:
        return not self.needles or any(needle in small for needle in self.needles)


@dataclass(frozen=True, slots=True)
class _Known:
    kinds: tuple[_Kind, ...]
    stems: Mapping[str, tuple[str, ...]]


@cache
def _known() -> _Known:
    told: dict[str, dict[str, str]] = tomllib.loads(
        (Path(__file__).parent / "claims.toml").read_text(encoding="utf-8")
    )
    stems = {effect: tuple(words.split()) for effect, words in told.pop("stems").items()}
    kinds = []
    for patterns in told.values():
        skip = regex.compile(patterns.pop("skip"))
        for effect, pattern in patterns.items():
            found = tuple(sorted(needles(pattern)))
            kinds.append(_Kind(effect, regex.compile(pattern), found, skip))
    return _Known(tuple(kinds), stems)
