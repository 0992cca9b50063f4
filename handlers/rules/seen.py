"""A text as its reader sees it, for what looks for something in it. Pure.

What is invisible is not there, nor are the marks of WhatsApp's formatting, spaces are one space,
digits and wide letters are plain, and a letter among Latin ones that only looks like one of them is
that one. So a price in bold is a price, and a link with a mark inside it is a link.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import regex

_SPACES = "\u00a0\u2007\u2009\u202f"
_SEPARATORS = {"\u066b": ".", "\u066c": ",", "\u3000": " ", **dict.fromkeys(_SPACES, " ")}
# A mark between two letters or digits, or between two spaces, formats nothing: a_b, 2 * 3.
_GONE = regex.compile(
    r"(?:\p{Default_Ignorable_Code_Point}|\u20e3)++"
    r"|(?<![\p{L}\p{N}*_~`])[*_~`]++(?=\S)|(?<=[^\s*_~`])[*_~`]++(?![\p{L}\p{N}])"
)
INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}|\u20e3")
_LETTERS = regex.compile(r"[\p{L}\p{M}]++")
_LATIN = regex.compile(r"[A-Za-z]")
_LIKE = str.maketrans(  # Cyrillic and Greek ones
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u04bb\u0501\u051b\u051d\u043a"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u03b1\u03bf\u03bd\u03c1\u03b9\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f"
    "\u03a1\u03a4\u03a5\u03a7",
    "aeopcyxijshdqwkABEKMHOPCTYXIJSaovpiABEZHIKMNOPTYX",
)


@dataclass(frozen=True, slots=True)
class Seen:
    text: str
    at: Sequence[int] | None = None  # where each of its characters stands; None: where it does here

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Of a part that is not empty, in the text as it is written."""
        return (start, end) if self.at is None else (self.at[start], self.at[end - 1] + 1)


@lru_cache(maxsize=1_024)
def seen(text: str) -> Seen:
    """The last ones are kept: what a bot was told is read again for each thing that it says."""
    shown = plain(text)
    gone = bytearray(len(shown))
    for match in _GONE.finditer(shown):
        gone[match.start() : match.end()] = b"\x01" * (match.end() - match.start())
    if not any(gone) and "  " not in shown:
        return Seen(latin(shown))
    at: list[int] = []
    before = ""
    for n, char in enumerate(shown):
        if not gone[n] and not (char == before == " "):
            at.append(n)
            before = char
    return Seen(latin("".join(shown[n] for n in at)), at)


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


def latin(text: str) -> str:
    """With Latin letters for those that look like them, in words that have some."""
    if text.isascii():
        return text
    return _LETTERS.sub(
        lambda word: word[0].translate(_LIKE) if _LATIN.search(word[0]) else word[0], text
    )
