"""Texts as PostgreSQL takes them, and as they are compared. Pure."""

import re
import unicodedata

import regex

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # neither fits into PostgreSQL's text
# Halves of characters, and what is no character: C0 and C1 but tab and line ends.
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE = regex.compile(r"\p{Default_Ignorable_Code_Point}+")
_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.VERSION1)
_ASCII_WORD = re.compile(r"\w+")
_NO_WORD = regex.compile(r"\W+")  # unlike re's, \w has the marks of a word: its vowels, in Hindi


def storable(text: str) -> str:
    """NUL and lone surrogates are legal in JSON and in no text column."""
    if text.isascii() and "\x00" not in text:  # nearly all; a tenth of what the expression takes
        return text
    return _UNSTORABLE.sub("\ufffd", text)


def same(one: str, other: str) -> bool:
    """Whether two texts differ in nothing but case, spaces, and how Unicode spells a letter."""
    return _compared(one) == _compared(other)


def slug(text: str) -> str:
    """One spelling for the same few words: a name for people and for equality."""
    return _NO_WORD.sub("_", _folded(text, "NFC")).strip("_")


def searched(text: str) -> str:
    """As words are looked for, nowhere stored: wide letters, ligatures, digits of any script and
    invisible characters make no difference."""
    return text.casefold() if text.isascii() else _folded(text, "NFKC")


def words(text: str) -> list[str]:
    if text.isascii():  # most of the rows that are indexed, in half the time
        return _ASCII_WORD.findall(text)
    return [word for word in _NO_WORD.split(text) if word]


def _compared(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text.casefold()).split())


def _folded(text: str, form: "unicodedata._NormalizationForm") -> str:
    folded = unicodedata.normalize(form, unicodedata.normalize(form, text).casefold())
    folded = _INVISIBLE.sub("", folded).replace("i\u0307", "i")  # what becomes of a Turkish capital
    return _DIGIT.sub(lambda m: str(unicodedata.decimal(m[0], m[0])), folded)


def mended(text: str) -> str:
    """For people to read: two halves of a character that belong together become one, and what
    cannot be shown is left out instead of replaced."""
    if _BROKEN.search(text) is None:
        return text
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
    return _BROKEN.sub("", paired)
