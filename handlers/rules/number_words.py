"""Numbers that are written in words: their value, and digits that are spelt. Pure.

In the languages of the fixed texts; a number is read in one of them, as far as it goes backwards
from where it ends.
"""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

import regex

WORDS_MAX: Final = 12  # of one number
LETTERS_MAX: Final = 80  # of one word, compounds too
DIGITS_MIN: Final = 7  # that are spelt one after the other: a phone's, not a count
_WORD = regex.compile(
    r"[\p{Han}]|(?:(?![\p{Han}])[\p{L}\p{M}])+(?:[-\u2010\u2011'](?:(?!\p{Han})[\p{L}\p{M}])+)*"
)
_ONE_WORD = regex.compile(r"\p{Han}|(?:(?!\p{Han})[\p{L}\p{M}])+")  # of a compound
_JOINTS = regex.compile(r"[-\u2010\u2011']")
_BETWEEN = regex.compile(r"[\s,.;:/\u00b7\u2010-\u2015-]{0,3}")
_OTHERS = ("on",)  # by themselves words of other languages: Turkish for ten
ADD, TIMES, THOUSANDS, AND = "add", "times", "thousands", "and"


@dataclass(frozen=True, slots=True)
class Spelt:
    start: int
    end: int
    value: int


@dataclass(frozen=True, slots=True)
class _Part:
    kind: str
    value: int


def spelt_before(text: str, end: int) -> list[Spelt]:
    """Numbers in words that end there, but for spaces: in each language the longest."""
    words = list(_words_before(text, end))
    found = []
    for n in range(len(_known())):
        parts: list[_Part] = []
        start = end
        for word in words:
            read = _read(n, word[0].casefold())
            if read is None:
                break
            parts[:0] = read
            if any(part.kind != AND for part in read):
                start = word.start()
        while parts and parts[0].kind == AND:
            parts.pop(0)
        if parts and not (len(parts) == 1 and text[start:end].strip().casefold() in _OTHERS):
            found.append(Spelt(start, end, _value(parts)))
    return found


def numerals(text: str) -> Iterator["regex.Match[str]"]:
    """Words that are numbers, or end one."""
    return (match for match in _WORD.finditer(text) if _is_numeral(match[0].casefold()))


@lru_cache(maxsize=8192)
def _is_numeral(word: str) -> bool:
    read = (_read(n, word) for n in range(len(_known())))
    return any(parts is not None and parts[-1].kind != AND for parts in read)


def spelt_digits(text: str) -> Iterator[tuple[int, int, str]]:
    """Runs of digits of which each is a word: where they are, and the digits."""
    digits = [word for word in _ONE_WORD.findall(text) if _digit(word.casefold()) is not None]
    if len(digits) < DIGITS_MIN:
        return
    run: list[tuple[int, int, str]] = []
    for match in _ONE_WORD.finditer(text):
        digit = _digit(match[0].casefold())
        near = not run or _BETWEEN.fullmatch(text, run[-1][1], match.start())
        if digit is None or not near:
            yield from _whole(run)
            run = []
        if digit is not None:
            run.append((match.start(), match.end(), digit))
    yield from _whole(run)


def _whole(run: Sequence[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    if len(run) >= DIGITS_MIN:
        yield run[0][0], run[-1][1], "".join(digit for _, _, digit in run)


def _words_before(text: str, end: int) -> Iterator["regex.Match[str]"]:
    """The nearest first, as long as nothing stands between them."""
    found = list(_WORD.finditer(text, max(0, end - 30 * WORDS_MAX), end))
    for match in reversed(found[-WORDS_MAX:]):
        if not _BETWEEN.fullmatch(text, match.end(), end):
            return
        yield match
        end = match.start()


@lru_cache(maxsize=4096)
def _digit(word: str) -> str | None:
    for language in _known():
        part = language.get(word)
        if part is not None and part.kind == ADD and part.value < 10:
            return str(part.value)
    return None


@lru_cache(maxsize=32_768)
def _read(language: int, word: str) -> tuple[_Part, ...] | None:
    """A word, or a compound of words."""
    if len(word) > LETTERS_MAX:
        return None
    read = _taken_apart(_known()[language], _JOINTS.sub("", word), 6)
    return None if read is None else tuple(read)


def _taken_apart(language: Mapping[str, _Part], word: str, most: int) -> list[_Part] | None:
    if (whole := language.get(word)) is not None:
        return [whole]
    if most == 0:
        return None
    for cut in range(len(word) - 1, 0, -1):
        first = language.get(word[:cut])
        if first is not None and (rest := _taken_apart(language, word[cut:], most - 1)):
            return [first, *rest]
    return None


def _value(parts: Sequence[_Part]) -> int:
    total = group = digit = 0
    for part in parts:
        match part.kind:
            case "add" if part.value < 10:
                digit += part.value
            case "add":
                group, digit = group + digit + part.value, 0
            case "times":
                if digit:
                    group += digit * part.value
                elif 0 < group < part.value:
                    group *= part.value
                else:
                    group += part.value
                digit = 0
            case "and":
                pass
            case _:
                total, group, digit = total + (group + digit or 1) * part.value, 0, 0
    return total + group + digit


@cache
def _known() -> tuple[Mapping[str, _Part], ...]:
    told: dict[str, dict[str, str]] = tomllib.loads(
        (Path(__file__).parent / "number_words.toml").read_text(encoding="utf-8")
    )
    return tuple(_language(kinds) for kinds in told.values())


def _language(kinds: Mapping[str, str]) -> Mapping[str, _Part]:
    words = {word: _Part(AND, 0) for word in kinds[AND].split()}
    for kind in (ADD, TIMES, THOUSANDS):
        for line in filter(None, kinds[kind].split(",")):
            value, *spellings = line.split()
            words |= {word.replace("-", ""): _Part(kind, int(value)) for word in spellings}
    return words
