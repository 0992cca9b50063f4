"""Letters of one script that stand for those of another within a word. Pure.

A word that mixes Latin with Cyrillic or Greek letters is of no language: it is written so that
people read it and programs do not. It is read as people do.
"""

from typing import Final

import regex

_LOOK: Final = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u04bb\u051d"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0423\u0425\u0406\u0408\u0405"
    "\u03b1\u03bf\u03bd\u03c1\u03b9\u03ba\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d"
    "\u039f\u03a1\u03a4\u03a5\u03a7",
    "aeopcyxijsdqhwABEKMHOPCTYXIJSaovpikABEZHIKMNOPTYX",
)
_WORD = regex.compile(r"[\p{L}\p{M}]+")
_LATIN = regex.compile(r"\p{Latin}")
_OTHER = regex.compile(r"[\p{Cyrillic}\p{Greek}]")


def unmixed(text: str) -> str:
    """As long as the text."""
    if text.isascii() or not (_OTHER.search(text) and _LATIN.search(text)):
        return text
    return _WORD.sub(lambda match: _as_read(match[0]), text)


def _as_read(word: str) -> str:
    return word.translate(_LOOK) if _LATIN.search(word) and _OTHER.search(word) else word
