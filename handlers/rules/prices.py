"""What an answer says of prices: amounts of money, numbers that are prices though no currency
stands beside them ("it costs 19.25"), and parts of a price in per cent. Pure.
"""

import tomllib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, lru_cache
from itertools import chain
from pathlib import Path
from typing import Final, TypeAlias

import regex

from handlers.rules.amounts import DIGITS, Amount, readings, seen_amounts, words_of
from handlers.rules.number_words import numerals, spelt_before
from handlers.rules.seen import seen

PERCENT: Final = frozenset(["%"])  # in the place of a currency
_WHOLE = Decimal(100)
_NUMBERS = regex.compile(rf"(?<![\p{{Latin}}\p{{Cyrillic}}\d.,:/'\u2019]){DIGITS}")
_CENTS = regex.compile(r"[.,]\d\d\Z")
_GOES_ON = regex.compile(r"[.,:]\d|\s?%")
_SENTENCE = regex.compile(r"(?:[^.!?\u3002\uff01\uff1f\u0964\n]|\.(?=\S))*")


@lru_cache(maxsize=1_024)
def prices_in(text: str) -> Sequence[Amount]:
    """In their order; none overlap. The last ones are kept, as of seen(): an answer is looked at
    when it comes, and once more as it leaves."""
    view = seen(text)
    small = _small(view.text)
    taken = bytearray(len(small))
    found = []
    for one in chain(seen_amounts(view.text), _percents(small), _without_currency(small)):
        if not any(taken[one.start : one.end]):
            taken[one.start : one.end] = b"\x01" * (one.end - one.start)
            found.append(one)
    found.sort(key=lambda one: one.start)
    places = (view.place(one.start, one.end) for one in found)
    return tuple(
        replace(one, start=start, end=end) for one, (start, end) in zip(found, places, strict=True)
    )


def worded_in(text: str) -> list[Amount]:
    """Prices in words without a currency, in a text as it is seen."""
    return list(_without_digits(_small(seen(text).text)))


def percents_in(text: str) -> list[Amount]:
    """Where they stand in the text as it is seen, of a source: what is free there in any words may
    be called free in any other."""
    small = _small(seen(text).text)
    return [*_percents(small), *_said_parts(small, _known().also)]


def _percents(shown: str) -> Iterator[Amount]:
    """A whole is a part only where it is said to be taken off."""
    yield from _said_parts(shown, _known().parts)
    found = [*_in_digits(shown), *_in_words(shown)]
    taken_off = []
    if any(one.values == {_WHOLE} for one in found):
        taken_off = [
            match.span()
            for match in _SENTENCE.finditer(shown)
            if _known().discount.search(match[0])
        ]
    for one in found:
        if one.values != {_WHOLE} or _stands_in(taken_off, one):
            yield one


def _said_parts(shown: str, parts: "_Parts") -> Iterator[Amount]:
    """Half price, free of charge."""
    for value, pattern in parts:
        for match in pattern.finditer(shown):
            yield Amount(*match.span(), frozenset([value]), PERCENT)


def _small(text: str) -> str:
    """In small letters, and as long as the text."""
    return text.replace("\u0130", "I").lower()


def _in_digits(shown: str) -> Iterator[Amount]:
    known = _known()
    for number in _NUMBERS.finditer(shown):
        start, end = number.span()
        mark = known.percent_mark.match(shown, end)
        if mark is None and not known.percent_before.match(shown, start):
            continue
        if values := readings(number[0]):
            yield Amount(start, end if mark is None else mark.end(), values, PERCENT)


def _in_words(shown: str) -> Iterator[Amount]:
    for last in numerals(shown):
        match = _known().percent_mark.match(shown, last.end())
        spelt = spelt_before(shown, last.end()) if match is not None else []
        if match is not None and spelt:
            start = min(one.start for one in spelt)
            values = frozenset(Decimal(one.value) for one in spelt if one.start == start)
            yield Amount(start, match.end(), values, PERCENT)


def _stands_in(sentences: Sequence[tuple[int, int]], one: Amount) -> bool:
    n = bisect_right(sentences, one.start, key=lambda place: place[0])
    return n > 0 and one.start < sentences[n - 1][1]


def _without_currency(shown: str) -> Iterator[Amount]:
    known = _known()
    for number in _NUMBERS.finditer(shown):
        start, end = number.span()
        if not known.priced.match(shown, start):
            continue
        # With decimals whatever comes behind; a whole number may count something else.
        if not _CENTS.search(number[0]) and not known.behind.match(shown, end):
            continue
        if not _GOES_ON.match(shown, end) and (values := readings(number[0])):
            yield Amount(start, end, values, frozenset())
    yield from _without_digits(shown)


def _without_digits(shown: str) -> Iterator[Amount]:
    for last in numerals(shown):
        if _known().behind.match(shown, last.end()):
            yield from _priced_in_words(shown, last.end())


def _priced_in_words(shown: str, end: int) -> Iterator[Amount]:
    """ "It costs nineteen." One is also an article."""
    spelt = spelt_before(shown, end)
    start = min((one.start for one in spelt), default=end)
    values = frozenset(Decimal(one.value) for one in spelt if one.start == start and one.value > 1)
    if values and _known().priced.match(shown, start):
        yield Amount(start, end, values, frozenset())


_Parts: TypeAlias = Sequence[tuple[Decimal, "regex.Pattern[str]"]]


@dataclass(frozen=True, slots=True)
class _Known:
    percent_mark: "regex.Pattern[str]"  # behind a number
    percent_before: "regex.Pattern[str]"  # these two look back from where a number begins
    priced: "regex.Pattern[str]"
    behind: "regex.Pattern[str]"
    discount: "regex.Pattern[str]"
    parts: _Parts
    also: _Parts


@cache
def _known() -> _Known:
    told: dict[str, dict[str, str]] = tomllib.loads(
        (Path(__file__).parent / "prices.toml").read_text(encoding="utf-8")
    )

    def words(name: str, key: str = "words") -> str:
        listed = (word.replace("_", " ") for word in told[name][key].split())
        return words_of(listed)

    gap = r"[\s:=*_~\u2013\u2014-]{0,3}"
    return _Known(
        percent_mark=regex.compile(rf"\s?(?:{words('percent')})", regex.V1),
        percent_before=regex.compile(rf"(?<=(?:{words('percent', 'before')})\s?)", regex.V1),
        priced=regex.compile(
            rf"(?<=(?:{words('price')}){gap}(?:(?:{words('between')}){gap}){{0,4}})", regex.V1
        ),
        behind=regex.compile(
            rf"\s*(?:[.!?,;:)*_~\u3002\uff01\uff1f\u0964]|\Z|\n|{words('behind')})", regex.V1
        ),
        discount=regex.compile(words("discount"), regex.V1),
        parts=[
            (Decimal(value), regex.compile(words("parts", value), regex.V1))
            for value in told["parts"]
            if value.isdecimal()
        ],
        also=[(_WHOLE, regex.compile(words("parts", "also"), regex.V1))],
    )
