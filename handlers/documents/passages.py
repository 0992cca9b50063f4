"""Blocks become rows of knowledge: passages of some sentences, each under its heading. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex

from handlers.documents.blocks import Block
from handlers.rules.texts import mended

PASSAGE_CHARS = 1_500  # about; no paragraph is cut that is no longer
QUESTION_CHARS = 300
WORDS_OF_QUESTION = 12  # of the text, where there is no heading
PASSAGES_MAX = 5_000
LEVELS = 6
_SENTENCE = regex.compile(r"(?<=[.!?\u3002\uff01\uff1f\u061f\u0964])\s+")


@dataclass(frozen=True, slots=True)
class Passage:
    question: str
    answer: str


def passages(blocks: Iterable[Block]) -> Iterator[Passage]:
    """Of two with one question the second has a number: a row is known by its question."""
    seen: dict[str, int] = {}
    for count, (headings, text) in enumerate(_texts(blocks)):
        if count == PASSAGES_MAX:
            return
        question = _question(headings, text)
        seen[question] = seen.get(question, 0) + 1
        number = f" ({seen[question]})" if seen[question] > 1 else ""
        yield Passage(question + number, text)


def _texts(blocks: Iterable[Block]) -> Iterator[tuple[tuple[str, ...], str]]:
    headings: list[str] = []
    held: list[str] = []
    size = 0
    for block in blocks:
        text = " ".join(mended(block.text).split())
        if not text:
            continue
        if block.level:
            if held:
                yield tuple(headings), "\n".join(held)
            held, size = [], 0
            del headings[min(block.level, LEVELS) - 1 :]
            headings.append(text[:QUESTION_CHARS])
            continue
        for piece in _pieces(text):
            if held and size + len(piece) > PASSAGE_CHARS:
                yield tuple(headings), "\n".join(held)
                held, size = [], 0
            held.append(piece)
            size += len(piece)
    if held:
        yield tuple(headings), "\n".join(held)


def _pieces(text: str) -> Iterator[str]:
    """A paragraph, or of a long one some sentences at a time; a sentence that is too long is cut
    between words."""
    piece = ""
    sentences = _SENTENCE.split(text) if len(text) > PASSAGE_CHARS else (text,)
    for part in (part for sentence in sentences for part in _cut(sentence)):
        if piece and len(piece) + len(part) > PASSAGE_CHARS:
            yield piece
            piece = ""
        piece = f"{piece} {part}".strip()
    if piece:
        yield piece


def _cut(sentence: str) -> Iterator[str]:
    at = 0
    while len(sentence) - at > PASSAGE_CHARS:
        space = sentence.rfind(" ", at + 1, at + PASSAGE_CHARS)
        end = space if space > 0 else at + PASSAGE_CHARS
        yield sentence[at:end]
        at = end
    yield sentence[at:]


def _question(headings: tuple[str, ...], text: str) -> str:
    if headings:
        return " \u203a ".join(headings)[-QUESTION_CHARS:]
    words = text.split()
    start = " ".join(words[:WORDS_OF_QUESTION])[:QUESTION_CHARS]
    return start if len(words) <= WORDS_OF_QUESTION else f"{start} \u2026"
