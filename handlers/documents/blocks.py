"""What a document is read as: headings and paragraphs, in order, and what it may have of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Form: TypeAlias = Literal["pdf", "docx", "html"]
FORMS: Final[tuple[Form, ...]] = ("pdf", "docx", "html")

FILE_BYTES = 20 * 1024 * 1024
TEXT_CHARS = 2_000_000  # of a document; more is refused
PAGES = 500  # of a PDF
BEGINNING_PAGES = 30  # of one that a customer sends
BEGINNING_CHARS = 20_000
UNPACKED_BYTES = 64 * 1024 * 1024  # of a DOCX's text
PARTS = 5_000  # files in a DOCX


class Refused(Exception):
    """What is wrong with the document, for who sent it."""


@dataclass(frozen=True, slots=True)
class Block:
    text: str
    level: int = 0  # of a heading, 1 is the outermost; 0: a paragraph


def bounded(blocks: Iterator[Block]) -> Iterator[Block]:
    """Raises Refused."""
    room = TEXT_CHARS
    for block in blocks:
        room -= len(block.text)
        if room < 0:
            raise Refused(f"it has more than {TEXT_CHARS:,} characters: import it in parts")
        yield block
