"""Which questions are the same one, asked by others in other words. Pure.

The same but for case, accents, punctuation and the order of words always are; else short ones that
share nearly all of their letters: typos, a plural, a "please". Others stay apart: what is told
twice is seen, and what was thrown together is not. A story of 1,000 letters is nobody else's with a
typo, and to compare it with 300 others takes 0.3 s.
"""

from collections.abc import Mapping
from hashlib import blake2b

from handlers.rules.cutting import both_ends
from handlers.rules.texts import searched, storable, words

QUESTION_UNITS = 1_000
WORDS_MIN = 2  # or one long word: less is no question
LONG_WORD = 5
ALIKE = 0.8  # Dice's coefficient of their grams
ALIKE_CHARS = 200  # of a question; longer ones are compared by their own key only
GRAM = 3


def question_of(texts: list[str]) -> str | None:
    """Of a burst; None: there is nothing that could be answered by a row."""
    text = both_ends(storable(" ".join(" ".join(texts).split())), QUESTION_UNITS, " ")
    said = words(searched(text))
    if len(said) < WORDS_MIN and not any(len(word) >= LONG_WORD for word in said):
        return None
    return text.strip() or None


def key_of(question: str, before: Mapping[bytes, str]) -> bytes:
    """Its own, or that of the one before which is asked most alike."""
    said = sorted(words(searched(question)))
    own = blake2b(" ".join(said).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    if own in before:
        return own
    if len(question) > ALIKE_CHARS:
        return own
    grams = _grams(question)
    short = ((key, text) for key, text in before.items() if len(text) <= ALIKE_CHARS)
    scored = [(_alike(grams, _grams(text)), key) for key, text in short]
    score, key = max(scored, default=(0.0, own))
    return key if score >= ALIKE else own


def _grams(text: str) -> frozenset[str]:
    padded = f" {' '.join(words(searched(text)))} "
    return frozenset(padded[i : i + GRAM] for i in range(len(padded) - GRAM + 1))


def _alike(one: frozenset[str], other: frozenset[str]) -> float:
    if not one or not other:
        return 0.0
    return 2 * len(one & other) / (len(one) + len(other))
