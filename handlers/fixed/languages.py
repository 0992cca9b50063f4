"""Which language a customer writes, told from what they wrote last. Pure.

Chats are short, so models for whole texts fail on them: "sim por favor", "wat kost dat". What
speaks are the small words, the greetings and the letters; words.toml has them. Where nothing is
clear nothing is said: then somebody else's choice counts, the chatbot's or the tenant's.
docs/decisions.md has the figures.
"""

import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import regex

# Scripts, and what is written in them when nothing else speaks. Latin is everybody's.
_SCRIPTS: Mapping[str, str | None] = {
    "Latin": None,
    "Cyrillic": "ru",
    "Arabic": "ar",
    "Devanagari": "hi",
    "Han": "zh",
    "Hiragana": "ja",
    "Katakana": "ja",
    "Hangul": "ko",
    "Thai": "th",
    "Hebrew": "he",
    "Greek": "el",
    "Bengali": "bn",
    "Tamil": "ta",
    "Telugu": "te",
    "Gujarati": "gu",
    "Gurmukhi": "pa",
    "Kannada": "kn",
    "Malayalam": "ml",
    "Sinhala": "si",
    "Khmer": "km",
    "Lao": "lo",
    "Myanmar": "my",
    "Ethiopic": "am",
    "Georgian": "ka",
    "Armenian": "hy",
}
_LETTER = regex.compile(
    "|".join(rf"(?P<{script}>\p{{Script={script}}})" for script in _SCRIPTS), regex.VERSION1
)
_WORD = regex.compile(r"\p{L}[\p{L}\p{M}]*(?:['\u2019]\p{L}[\p{L}\p{M}]*)*")
_NOT_WRITTEN = regex.compile(r"\[[^\]]*\]|https?://\S+|\S+@\S+")  # our notes, addresses
TEXTS_MAX = 5  # of a customer's last ones
TEXT_CHARS = 500  # of each
ENOUGH = 0.3  # a score: one word of ours that two other languages have
LEAD = 0.15  # before the next language
NO_LETTER = 0.4  # for a letter that the language does not have


def recognised(texts: Iterable[str]) -> str | None:
    """Of a customer's texts, the last one first: as many as it takes. None: nothing is clear."""
    read = ""
    for _, text in zip(range(TEXTS_MAX), texts, strict=False):
        read = f"{_NOT_WRITTEN.sub(' ', text[:TEXT_CHARS])}\n{read}"
        if (language := language_of(read)) is not None:
            return language
    return None


def language_of(text: str) -> str | None:
    script = _script(text)
    if script is None:
        return None
    scores = _scores(text)
    score, best = max(((score, language) for language, score in scores.items()), default=(0.0, ""))
    second = max((score for language, score in scores.items() if language != best), default=0.0)
    return best if score >= ENOUGH and score - second >= LEAD else _SCRIPTS[script]


def _script(text: str) -> str | None:
    """That of most letters; Latin ones count less, since names of things are written in them."""
    count = Counter(match.lastgroup for match in _LETTER.finditer(text))
    if count["Hiragana"] or count["Katakana"]:
        return "Hiragana"
    if not count:
        return None
    return max(count, key=lambda script: count[script] * (1 if script == "Latin" else 3))


def _scores(text: str) -> dict[str, float]:
    known = _known()
    lower = text.replace("\u0130", "i").lower()
    scores: defaultdict[str, float] = defaultdict(float)
    for word in _WORD.findall(lower):
        for part in {word, *regex.split("['\u2019]", word)}:
            # As it is written before as it may be meant: "qué" is Spanish, "que" three languages'.
            languages = known.words.get(part) or known.bare.get(_bare(part), ())
            for language in languages:
                scores[language] += (1.0 if len(part) > 2 else 0.5) / len(languages)
    telling = [known.letters[letter] for letter in set(lower) if letter in known.letters]
    for languages in telling:
        for language in languages:
            scores[language] += 1 / len(languages)
    for languages in telling:
        for language in scores.keys() - languages:
            scores[language] -= NO_LETTER
    return scores


@dataclass(frozen=True, slots=True)
class _Known:
    """Which languages have it: a word, a word without accents, a letter."""

    words: Mapping[str, tuple[str, ...]]
    bare: Mapping[str, tuple[str, ...]]
    letters: Mapping[str, tuple[str, ...]]


@cache
def _known() -> _Known:
    told = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
    words, bare, letters = (defaultdict[str, set[str]](set) for _ in range(3))
    for language, text in told["words"].items():
        for word in text.split():
            words[word].add(language)
            bare[_bare(word)].add(language)
    for language, text in told["letters"].items():
        for letter in text:
            letters[letter].add(language)
    return _Known(*({k: tuple(sorted(v)) for k, v in d.items()} for d in (words, bare, letters)))


def _bare(word: str) -> str:
    """Without accents, as people type."""
    plain = word.replace("\u0131", "i").replace("\u00df", "ss")
    return "".join(c for c in unicodedata.normalize("NFD", plain) if not unicodedata.combining(c))
