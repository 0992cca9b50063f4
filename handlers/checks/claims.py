"""What a text says that was done: refunded, ordered, paid, approved, booked, cancelled. Pure.

In the languages of the fixed texts, by patterns (claims.toml). A question, a condition and a denial
say nothing of the kind.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
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
_WORD = regex.compile(r"\p{L}{2}")
TAG_WORDS = 3
_SKIP, _NEVER = "skip", regex.compile(r"(?!)")
_ASKS = ("?", "\u061f", "\uff1f")


@dataclass(frozen=True, slots=True)
class Claim:
    effect: str
    start: int  # of the sentence
    end: int


def claims_in(text: str) -> list[Claim]:
    view = seen(text)
    places = [match.span() for match in _SENTENCE.finditer(view.text)]
    lowered = [_lower(view.text[start:end]) for start, end in places]
    possible = _possible("\n".join(lowered))
    return [
        Claim(effect, *view.place(start, end))
        for (start, end), sentence in zip(places, lowered, strict=True)
        for effect in sorted(_effects(sentence, possible))
    ]


def effects_in(text: str) -> frozenset[str]:
    return frozenset(claim.effect for claim in claims_in(text))


def named_in(request: str) -> frozenset[str]:
    """The effects that a request's words name."""
    folded = searched(request)
    return frozenset(
        effect for effect, stems in _known().stems.items() if any(stem in folded for stem in stems)
    )


def _lower(sentence: str) -> str:
    return sentence.replace("\u0130", "i").lower().replace("'", "\u2019")


def _possible(lowered: str) -> Sequence["_Pattern"]:
    """Those that stand on any line: most answers have none, and 4,000 short sentences are not
    looked through with each of them."""
    if not _WORD.search(lowered):
        return ()
    return [one for one in _known().patterns if one.may_be_in(lowered) and one.said.search(lowered)]


def _effects(lowered: str, possible: Sequence["_Pattern"]) -> Iterator[str]:
    asks = lowered.rstrip().endswith(_ASKS)
    for one in possible:
        if one.beside.search(lowered) is None and any(
            _is_said(lowered, match, one) and not (asks and _is_asked(lowered, match.end()))
            for match in one.said.finditer(lowered)
        ):
            yield one.effect


def _is_said(sentence: str, match: "regex.Match[str]", pattern: "_Pattern") -> bool:
    before = [place.end() for place in _CLAUSES.finditer(sentence, 0, match.start())]
    clause = sentence[before[-1] if before else 0 : match.end()]
    return pattern.skip.search(clause) is None


def _is_asked(sentence: str, end: int) -> bool:
    """Of a question: not what stands before another clause that only asks on ("it was refunded, is
    there anything else?"). One or two words ("right?") do ask for it."""
    clause = _CLAUSES.search(sentence, end)
    return clause is None or len(words(sentence[clause.end() :])) <= TAG_WORDS


@dataclass(frozen=True, slots=True)
class _Pattern:
    effect: str
    said: "regex.Pattern[str]"  # within a line
    needles: tuple[str, ...]  # of which one stands in whatever it finds
    skip: "regex.Pattern[str]"  # of its language: in the clause
    beside: "regex.Pattern[str]"  # anywhere in the sentence

    def may_be_in(self, lowered: str) -> bool:
        return not self.needles or any(needle in lowered for needle in self.needles)


@dataclass(frozen=True, slots=True)
class _Known:
    patterns: tuple[_Pattern, ...]
    stems: Mapping[str, tuple[str, ...]]


@cache
def _known() -> _Known:
    told: dict[str, dict[str, str]] = tomllib.loads(
        (Path(__file__).parent / "claims.toml").read_text(encoding="utf-8")
    )
    stems = {effect: tuple(words.split()) for effect, words in told.pop("stems").items()}
    # Of all languages: what is said in one is found by the patterns of its neighbours too.
    beside = {
        effect: regex.compile("|".join(skips))
        for effect in stems | {APPROVED: ()}
        if (skips := [own[key] for own in told.values() if (key := f"{_SKIP}_{effect}") in own])
    }
    patterns = tuple(
        _Pattern(
            effect,
            _line_pattern(said),
            tuple(sorted(needles(said))),
            regex.compile(language["skip"]),
            beside.get(effect, _NEVER),
        )
        for language in told.values()
        for effect, said in language.items()
        if not effect.startswith(_SKIP)
    )
    return _Known(patterns, stems)


def _line_pattern(said: str) -> "regex.Pattern[str]":
    return regex.compile(said.replace(r"\W", r"[^\w\n]"), regex.MULTILINE)
