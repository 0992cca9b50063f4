"""Whether a text consists of known phrases and of nothing else. Pure.

Letters without case, punctuation and the accents of Latin; "hellooo" is "hello". Scripts that put
no spaces between words are read without them.
"""

from collections.abc import Iterator, Mapping

import regex

from handlers.fixed.choices import spelling

_DRAWN_OUT = regex.compile(r"(\p{L})\1{2,}")
_UNSPACED = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}]")
_SIGN = regex.compile(
    r"[\p{Emoji_Presentation}\p{Extended_Pictographic}--\p{Emoji_Modifier}]", regex.VERSION1
)
READ_CHARS = 200  # of a text that could be nothing but phrases


def spelt(text: str) -> str:
    return _DRAWN_OUT.sub(r"\1", spelling(text))


def divided(phrases: str) -> Iterator[str]:
    """As the data files have them."""
    return (one.strip() for line in phrases.splitlines() for one in line.split("|") if one.strip())


class Phrases:
    """By kind; a phrase may be of several."""

    def __init__(self, kinds: Mapping[str, str]) -> None:
        self._kinds: dict[str, set[str]] = {}
        for kind, phrases in kinds.items():
            for phrase in divided(phrases):
                self._kinds.setdefault(spelt(phrase) or phrase, set()).add(kind)
        self._longest = max(map(len, self._kinds))

    def read(self, text: str, name: str = "") -> set[str] | None:
        """The kinds of all it consists of; None: there is something else. A `name` is nothing."""
        if len(text) > READ_CHARS:
            return None
        said = f" {spelt(text)} "
        if name:
            said = said.replace(f" {spelt(name)} ", " ")
        said = said.strip()
        if not said:
            return self._signs(text)
        kinds: set[str] = set()
        at = 0
        while at < len(said):
            end = self._end(said, at)
            if end is None:
                return None
            kinds |= self._kinds[said[at:end]]
            at = end + (said[end : end + 1] == " ")
        return kinds

    def begins(self, text: str) -> bool:
        return self._end(spelt(text[:READ_CHARS]), 0) is not None

    def is_in(self, text: str) -> bool:
        said = spelt(text[:READ_CHARS])
        starts = (n for n in range(len(said)) if _is_border(said, n))
        return any(self._end(said, start) is not None for start in starts)

    def without(self, text: str) -> str:
        """The words that are none of them, as they are written."""
        kept = [word for word in text.split() if not self._is_known(word)]
        return " ".join(self._cut(word) if _UNSPACED.search(word) else word for word in kept)

    def _end(self, said: str, at: int) -> int | None:
        """Of the longest phrase that begins there."""
        for end in range(min(len(said), at + self._longest), at, -1):
            if said[at:end] in self._kinds and _is_border(said, end):
                return end
        return None

    def _is_known(self, word: str) -> bool:
        return all(part in self._kinds for part in spelt(word).split())

    def _cut(self, word: str) -> str:
        left, at = "", 0
        while at < len(word):
            end = self._end(word, at)
            left += word[at] if end is None else " "
            at = at + 1 if end is None else end
        return left

    def _signs(self, text: str) -> set[str] | None:
        signs = _SIGN.findall(text)
        known = [self._kinds.get(sign) for sign in signs]
        if not known or None in known:
            return None
        return {kind for kinds in known if kinds for kind in kinds}


def _is_border(said: str, at: int) -> bool:
    """Whether a word may end or begin there."""
    if at in (0, len(said)) or " " in said[at - 1 : at + 1]:
        return True
    return all(_UNSPACED.match(letter) for letter in said[at - 1 : at + 1])
