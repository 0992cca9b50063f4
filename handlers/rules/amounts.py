"""Amounts of money in a text of any language: number and currency, as they are written. Pure.

A number may be read in more than one way ("1.234"), and so may a sign ("$"): an amount has all its
readings. Of numbers in words ("ten euros") the currency stands behind them.
"""

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import regex

from handlers.rules.number_words import numerals, spelt_before
from handlers.rules.seen import seen

ANY = "*"  # a sign of many currencies, or none at all
_FIRST = ("euro", "euros", "usd")  # also in small letters
_LONGEST = 40  # of a number, in characters
# Digits in groups, or one run of them.
DIGITS = r"(?:\d{1,3}(?:[ '\u2019]\d{3})+(?:[.,]\d{1,2})?|\d+(?:[.,'\u2019]\d+)*)(?!\d)"
NUMBER = rf"(?:(?<![\w.,:/'\u2019])|(?<=\d[xX])){DIGITS}"  # 2x19
_DIGIT = regex.compile(r"\d")
_BARE = regex.compile(r"\d[\d.,'\u2019]*(?: \d{3}(?!\d))*")
PLACES_MAX = 500  # where the same digits stand, that are looked at
_AROUND = 24  # characters: a sign, a scale and a word stand within them
# Of sources: times, dates and years are no amounts.
_TIMES = regex.compile(
    r"\d{1,2}[:\uff1a.h]\d{2}(?:[:.]\d{2})?\s?(?:[ap]\.?m\b\.?|uhr\b|h\b|hrs?\b)|\d{1,2}:\d{2}"
    r"|\d{4}-\d{2}-\d{2}|\d{1,2}[./]\d{1,2}[./]\d{2,4}",
    regex.IGNORECASE,
)
# Nor are numbers of phones and accounts, and what stands in links.
_NO_PRICES = regex.compile(
    r"(?<![\d.,])(?:\+\d|0\d)[\d ()/-]{6,}\d|\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,}|https?://[^\s\"<>]++"
)
_NO_SEPARATORS = str.maketrans("", "", " .,'\u2019")
# After a sign that no number stands before: "(EUR) 38.50", "EUR: 38.50".
_AFTER = r"(?:[)\]]?[ ]?[:=~\u2248][ ]?|[)\]][ ]?)"
BETWEEN_MAX = 4  # characters of it, or a space
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


def amounts_in(text: str) -> list[Amount]:
    """Numbers that a currency stands beside, in their order."""
    view = seen(text)
    return [
        replace(one, start=start, end=end)
        for one in seen_amounts(view.text)
        for start, end in (view.place(one.start, one.end),)
    ]


def seen_amounts(shown: str) -> list[Amount]:
    """Of a text as it is seen."""
    known = _known()
    found: dict[int, Amount] = {}
    for match in _matches(shown, known):
        if (amount := _amount(match, known)) is not None:
            found.setdefault(match.start("number"), amount)
    for one in _in_words(shown):
        found.setdefault(one.start, one)
    apart: list[Amount] = []
    for start in sorted(found):  # of a number nothing but the whole
        if not apart or start >= apart[-1].end:
            apart.append(found[start])
    return apart


@lru_cache(maxsize=1_024)
def _in_words(shown: str) -> tuple[Amount, ...]:
    """The last ones are kept, as of seen()."""
    return tuple(_worded(shown))


def _worded(shown: str) -> Iterator[Amount]:
    known = _known()
    is_signed = known.signed.search(shown) is not None
    for last in numerals(shown):
        match, end = known.alone.match(shown, last.end()), last.end()
        if match is None and not is_signed:
            continue
        longest: dict[int, set[Decimal]] = {}
        for spelt in spelt_before(shown, end):
            longest.setdefault(spelt.start, set()).add(Decimal(spelt.value))
        start = min(longest, default=0)
        if match is None:
            match = known.first.match(shown, start)
        else:
            end = match.end()
        if match is not None and (values := frozenset(longest.get(start, ()))):
            mark = match["mark"].casefold()
            if mark in known.parts:
                values |= {value / 100 for value in values}
            yield Amount(start, end, values, known.codes.get(mark, frozenset()))


class Numbers:
    """Those of some texts, by their digits: an answer may name hundreds, and a bot was told pages.
    A context is read when it is asked for, and once."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._places: dict[str, dict[_Place, None]] = {}
        self._read: dict[_Place, tuple[Sequence[Amount], bool]] = {}
        self._in_words: list[Amount] = []
        for text in texts:
            shown = seen(text).text
            self._in_words += _in_words(shown)
            shown = _NO_PRICES.sub(lambda match: " " * len(match[0]), shown)
            for match in _BARE.finditer(shown):
                near = max(0, match.start() - _AROUND), match.end() + _AROUND
                place = _Place(shown[slice(*near)], match.start() - near[0], match[0])
                same = self._places.setdefault(_only_digits(match[0]), {})
                if len(same) < PLACES_MAX:
                    same[place] = None

    def have(self, amount: Amount) -> bool:
        """Whether a text names it: as so much money, or as a number without a currency, which is no
        time and no date."""
        return next(self._named(amount), None) is not None

    def have_price(self, value: Decimal) -> bool:
        """Whether it stands there as money, or as a number with decimals."""
        amount = Amount(0, 0, frozenset([value]), frozenset())
        return any(is_marked or value % 1 for is_marked in self._named(amount))

    def _named(self, amount: Amount) -> Iterator[bool]:
        """Each time that a text names it: whether with a currency."""
        for digits in _digits_of(amount.values):
            for place in self._places.get(digits, ()):
                marked, timed = self._context(place)
                if any(amount.may_equal(one) for one in marked):
                    yield True
                elif not marked and not timed and amount.values & readings(place.bare):
                    yield False
        yield from (True for one in self._in_words if amount.may_equal(one))

    def _context(self, place: "_Place") -> tuple[Sequence[Amount], bool]:
        if (read := self._read.get(place)) is None:
            around, at = place.around, place.at
            marked = [one for one in seen_amounts(around) if one.start <= at < one.end]
            timed = any(one.start() <= at < one.end() for one in _TIMES.finditer(around))
            read = self._read[place] = (marked, timed)
        return read


@dataclass(frozen=True, slots=True)
class _Place:
    around: str
    at: int
    number: str

    @property
    def bare(self) -> str:
        return self.number.rstrip(".,'\u2019")


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


def _only_digits(number: str) -> str:
    return number.translate(_NO_SEPARATORS).strip("0")


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
    alone: "regex.Pattern[str]"  # what stands behind a number in words
    signed: "regex.Pattern[str]"  # a sign and a word
    first: "regex.Pattern[str]"  # what stands before one: it looks back
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


def words_of(words: Iterable[str], *, begins: bool = True) -> str:
    """One of letters begins and ends where they do, but in scripts without spaces. Those that begin
    and end alike stand together, the longest first, so that most places are passed in one step;
    before them "kr.", since "kr" is what it begins with. `begins`: False after a number, where
    whatever stands there begins."""
    kinds: dict[tuple[bool, bool], list[str]] = {}
    for word in sorted(set(words), key=len, reverse=True):
        kinds.setdefault((_spaced(word[0]), _spaced(word[-1])), []).append(word)
    return "|".join(
        (r"(?<![\p{L}\p{M}])" if begins and kind[0] else "")
        + f"(?:{'|'.join(map(regex.escape, kinds[kind]))})"
        + (r"(?![\p{L}\p{M}])" if kind[1] else "")
        for kind in sorted(kinds, key=lambda kind: (kind[1], not kind[0]))
    )


def _spaced(char: str) -> bool:
    return char.isalpha() and regex.match(r"[\p{Han}\p{Hiragana}\p{Katakana}]", char) is None


@cache
def _known() -> _Known:
    told: dict[str, Any] = tomllib.loads(
        (Path(__file__).parent / "currencies.toml").read_text(encoding="utf-8")
    )
    signs, first = told["signs"], told["before"]
    iso, ambiguous, small = (
        told["codes"][name].split() for name in ("codes", "behind_only", "small")
    )
    words = {word: of for of, text in told["words"].items() for word in text.split()}
    parts = told["parts"]["words"].split()
    scales = {word: int(of) for of, text in told["scales"].items() for word in text.split()}
    codes = {word.casefold(): _codes(of) for word, of in (first | signs | words).items()}
    codes |= {code.casefold(): frozenset([code]) for code in [*iso, *ambiguous]}
    codes["tl"] = frozenset(["TRY"])
    scale = rf"(?P<scale>(?i:{words_of(scales, begins=False)}))"
    # Codes are capitals; words are taken in any case.
    mark = (
        rf"(?P<mark>{words_of([*signs, *iso, *ambiguous, *small], begins=False)}"
        rf"|(?i:{words_of([*words, *parts], begins=False)}))"
    )
    capital = [*signs, *first, *iso, *small]
    sign = rf"(?P<mark>{words_of(capital)}|(?i:{words_of(_FIRST)}))"
    sign = rf"(?:{sign}[ ]?|(?<!\d[ ]?[(\[]?){sign}{_AFTER})"
    # 38,50 EUR; 38,- EUR; 38.50 (EUR); 38.50 in EUR
    behind = rf"(?:[.,]?[-\u2013]{{1,2}})?[ _/]?(?:{scale}[ ]?(?:de |di )?)?(?:in )?[(\[]?{mark}"
    return _Known(
        behind=regex.compile(rf"(?P<number>{NUMBER}){behind}", regex.VERSION1),
        before=regex.compile(rf"{sign}(?P<number>{DIGITS})(?:[ ]?{scale})?", regex.VERSION1),
        ranges=regex.compile(rf"(?P<number>{NUMBER}){_BETWEEN}{NUMBER}{behind}", regex.VERSION1),
        reach=max(map(len, [*capital, *_FIRST])) + BETWEEN_MAX,
        alone=regex.compile(rf"[ ]?{mark}", regex.VERSION1),
        first=regex.compile(rf"(?<=(?P<mark>{words_of(capital)})[ ]?)", regex.VERSION1),
        signed=regex.compile(rf"(?:{words_of(capital)})[ ]?(?=\p{{L}})", regex.VERSION1),
        codes=codes,
        parts=frozenset(word.casefold() for word in parts),
        scales={word.casefold(): of for word, of in scales.items()},
    )


def _codes(text: str) -> frozenset[str]:
    return frozenset() if text == ANY else frozenset(text.split())
