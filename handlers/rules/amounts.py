"""Amounts of money in a text of any language: number and currency, as they are written. Pure.

A number may be read in more than one way ("1.234"), and so may a sign ("$"): an amount has all its
readings. Numbers in words ("ten euros") are not read.
"""

import tomllib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import regex

ANY = "*"  # a sign of many currencies, or none at all
_LONGEST = 40  # of a number, in characters
_SPACES = "\u00a0\u2007\u2009\u202f"
_SEPARATORS = {"\u066b": ".", "\u066c": ",", "\u3000": " ", **dict.fromkeys(_SPACES, " ")}
# Digits in groups, or one run of them.
_DIGITS = r"(?:\d{1,3}(?:[ '\u2019]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,'\u2019]\d+)*)(?!\d)"
_NUMBER = rf"(?<![\w.,:/'\u2019]){_DIGITS}"
_BARE = regex.compile(r"\d[\d.,'\u2019]*(?: \d{3}(?!\d))*")
_DIGIT = regex.compile(r"\d")
_AROUND = 24  # characters: a sign, a scale and a word stand within them
# Of sources: times, dates and years are no amounts.
_TIMES = regex.compile(
    r"\d{1,2}[:\uff1a.h]\d{2}(?:[:.]\d{2})?\s?(?:[ap]\.?m\b\.?|uhr\b|h\b|hrs?\b)|\d{1,2}:\d{2}"
    r"|\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}",
    regex.IGNORECASE,
)
_NO_SEPARATORS = str.maketrans("", "", " .,'\u2019")
_BETWEEN = (
    r"\s?(?:[-\u2010-\u2015~\u301c\uff5e]|to|or|and|bis|und|oder|a|o|y|e|\u00e0|et|ou|tot|en|ile"
    r"|\u0434\u043e|\u0438\u043b\u0438|\u0438|se|\u0623\u0648|\u0625\u0644\u0649|sampai)\s?"
)


@dataclass(frozen=True, slots=True)
class Amount:
    start: int
    end: int
    values: frozenset[Decimal]  # as which it may be read
    codes: frozenset[str]  # of ISO 4217; empty: any

    def may_be(self, code: str) -> bool:
        return not self.codes or code in self.codes

    def may_equal(self, other: "Amount") -> bool:
        of_one_currency = not self.codes or not other.codes or bool(self.codes & other.codes)
        return of_one_currency and bool(self.values & other.values)


def plain(text: str) -> str:
    """With ASCII's digits and separators; as long as the text."""
    if text.isascii():
        return text
    return "".join(c if c.isascii() else _plain(c) for c in text)


@cache
def _plain(char: str) -> str:
    if (separator := _SEPARATORS.get(char)) is not None:
        return separator
    if (digit := unicodedata.decimal(char, None)) is not None:
        return str(digit)
    folded = unicodedata.normalize("NFKC", char)
    return folded if len(folded) == 1 else char


def amounts_in(text: str) -> list[Amount]:
    """Numbers that a currency stands beside, in their order."""
    shown, known = plain(text), _known()
    found: dict[int, Amount] = {}
    for match in _matches(shown, known):
        if (amount := _amount(match, known)) is not None:
            found.setdefault(match.start("number"), amount)
    apart: list[Amount] = []
    for start in sorted(found):  # of a number nothing but the whole
        if not apart or start >= apart[-1].end:
            apart.append(found[start])
    return apart


def _matches(shown: str, known: "_Known") -> "Iterator[regex.Match[str]]":
    """Overlapping. A sign before a number is looked for only where a digit follows soon: to try all
    signs at every letter of an answer took 1 ms."""
    digits = [match.start() for match in _DIGIT.finditer(shown)]
    if not digits:
        return
    yield from known.behind.finditer(shown, overlapped=True)
    near = {at for digit in digits for at in range(max(0, digit - known.reach), digit)}
    for at in sorted(near):
        if (match := known.before.match(shown, at)) is not None:
            yield match
    yield from known.ranges.finditer(shown, overlapped=True)


def stands_in(amount: Amount, text: str) -> bool:
    """Whether a text names it: as so much money, or as a number without a currency, which is no
    time and no date."""
    return next(_named(amount, text), None) is not None


def is_price_in(value: Decimal, text: str) -> bool:
    """Whether it stands there as money, or as a number with decimals."""
    amount = Amount(0, 0, frozenset([value]), frozenset())
    return any(is_marked or value % 1 for is_marked in _named(amount, text))


def _named(amount: Amount, text: str) -> Iterator[bool]:
    """Each time that a text names it: whether with a currency."""
    shown = plain(text)
    for match in _BARE.finditer(shown):
        if _far_from(amount, match[0]):
            continue
        near = max(0, match.start() - _AROUND), match.end() + _AROUND
        around = shown[slice(*near)]
        place = match.start() - near[0]
        marked = [one for one in amounts_in(around) if one.start <= place < one.end]
        if any(amount.may_equal(one) for one in marked):
            yield True
            continue
        timed = any(one.start() <= place < one.end() for one in _TIMES.finditer(around))
        if not marked and not timed and amount.values & readings(match[0].rstrip(".,'\u2019")):
            yield False


def _far_from(amount: Amount, number: str) -> bool:
    """Cheap: whether the number is in no way it."""
    digits = number.translate(_NO_SEPARATORS).strip("0")
    return all(digits != one for one in _digits_of(amount.values))


@lru_cache(maxsize=64)
def _digits_of(values: frozenset[Decimal]) -> tuple[str, ...]:
    return tuple({f"{value:f}".replace(".", "").strip("0") for value in values})


def readings(number: str) -> frozenset[Decimal]:
    """Of digits with separators; none: it is no number."""
    if len(number) > _LONGEST:
        return frozenset()
    digits = number.replace(" ", "").replace("'", "").replace("\u2019", "")
    points, commas = digits.count("."), digits.count(",")
    if points and commas:
        decimal = max(".,", key=digits.rfind)
        thousands = "," if decimal == "." else "."
        if digits.count(decimal) > 1 or thousands in digits[digits.rfind(decimal) :]:
            return frozenset()
        return frozenset([Decimal(digits.replace(thousands, "").replace(decimal, "."))])
    separator = "." if points else ","
    count = points + commas
    parts = digits.split(separator)
    whole = Decimal("".join(parts))
    if count == 0:
        return frozenset([whole])
    grouped = len(parts[-1]) == 3 and all(len(part) in (2, 3) for part in parts[1:-1])
    grouped = grouped and 1 <= len(parts[0]) <= 3
    if count > 1:
        return frozenset([whole] if grouped else [])
    point = Decimal(".".join(parts))
    return frozenset([point, whole] if grouped else [point])


# ---- what marks money ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    behind: "regex.Pattern[str]"  # 38,50 EUR
    before: "regex.Pattern[str]"  # EUR 38.50
    reach: int  # characters of the longest sign there, and a space
    ranges: "regex.Pattern[str]"  # the first of 38-45 EUR
    codes: Mapping[str, frozenset[str]]
    parts: frozenset[str]
    scales: Mapping[str, int]


def _amount(match: "regex.Match[str]", known: _Known) -> Amount | None:
    mark, scale = match["mark"].casefold(), (match["scale"] or "").casefold()
    if mark in ("euro", "euros") and match.start("mark") < match.start() + 1 and _is_year(match):
        return None
    values = readings(match["number"])
    if scale:
        values = frozenset(value * known.scales[scale] for value in values)
    if mark in known.parts:
        values |= {value / 100 for value in values}
    codes = known.codes.get(mark, frozenset())
    end = match.end("number") if match.re is known.ranges else match.end()
    return Amount(match.start(), end, values, codes) if values else None


def _is_year(match: "regex.Match[str]") -> bool:
    """Of "Euro 2024"."""
    number = match["number"]
    return len(number) == 4 and number.isdigit() and number[:2] in ("19", "20")


def _any_of(words: Iterable[str]) -> str:
    """The longest first. One of letters begins and ends where they do, but in scripts without
    spaces."""
    return "|".join(
        (r"(?<![\p{L}\p{M}])" if _spaced(word[0]) else "")
        + regex.escape(word)
        + (r"(?![\p{L}\p{M}])" if _spaced(word[-1]) else "")
        for word in sorted(set(words), key=len, reverse=True)
    )


def _spaced(char: str) -> bool:
    return char.isalpha() and regex.match(r"[\p{Han}\p{Hiragana}\p{Katakana}]", char) is None


def _behind(words: Iterable[str]) -> str:
    """As _any_of(), after a number: whatever stands there begins."""
    return _any_of(words).replace(r"(?<![\p{L}\p{M}])", "")


@cache
def _known() -> _Known:
    told: dict[str, Any] = tomllib.loads(
        (Path(__file__).parent / "currencies.toml").read_text(encoding="utf-8")
    )
    signs: dict[str, str] = told["signs"]
    iso, ambiguous, small = (
        told["codes"][name].split() for name in ("codes", "behind_only", "small")
    )
    words = {word: of for of, text in told["words"].items() for word in text.split()}
    parts = told["parts"]["words"].split()
    scales = {word: int(of) for of, text in told["scales"].items() for word in text.split()}
    codes = {word.casefold(): _codes(of) for word, of in (signs | words).items()}
    codes |= {code.casefold(): frozenset([code]) for code in [*iso, *ambiguous]}
    codes["tl"] = frozenset(["TRY"])
    scale = rf"(?P<scale>(?i:{_behind(scales)}))"
    # Codes are capitals; words are taken in any case.
    mark = (
        rf"(?P<mark>{_behind([*signs, *iso, *ambiguous, *small])}"
        rf"|(?i:{_behind([*words, *parts])}))"
    )
    first = ["euro", "euros", "usd"]
    sign = rf"(?P<mark>{_any_of([*signs, *iso, *small])}|(?i:{_any_of(first)}))"
    behind = rf"(?:[.,]?[-\u2013]{{1,2}})?[ ]?(?:{scale}[ ]?(?:de |di )?)?{mark}"
    return _Known(
        behind=regex.compile(rf"(?P<number>{_NUMBER}){behind}", regex.VERSION1),
        before=regex.compile(rf"{sign}[ ]?(?P<number>{_DIGITS})(?:[ ]?{scale})?", regex.VERSION1),
        reach=max(map(len, [*signs, *iso, *small, *first])) + 1,
        ranges=regex.compile(rf"(?P<number>{_NUMBER}){_BETWEEN}{_NUMBER}{behind}", regex.VERSION1),
        codes=codes,
        parts=frozenset(word.casefold() for word in parts),
        scales={word.casefold(): of for word, of in scales.items()},
    )


def _codes(text: str) -> frozenset[str]:
    return frozenset() if text == ANY else frozenset(text.split())
