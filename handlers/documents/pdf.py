"""A PDF's text, page by page. What is only a picture of text is not there."""

import logging
import re
from collections.abc import Iterator
from io import BytesIO
from itertools import islice

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from handlers.documents.blocks import BEGINNING_CHARS, BEGINNING_PAGES, PAGES, Block, Refused

_PARAGRAPH = re.compile(r"\n[ \t]*\n")
_HYPHEN = re.compile(r"(\w)[-\u00ad]\n(?=[a-z\u00df-\u00ff])")


def beginning(data: bytes) -> Iterator[Block]:
    """Of a PDF of any length its first pages, as far as a turn reads. Raises Refused."""
    room = BEGINNING_CHARS
    for block in _blocks(data, BEGINNING_PAGES):
        yield block
        room -= len(block.text)
        if room <= 0:
            return


def blocks(data: bytes) -> Iterator[Block]:
    """Raises Refused."""
    return _blocks(data, None)


def _blocks(data: bytes, first: int | None) -> Iterator[Block]:
    """`first`: so many pages, of however many; None: all, and not too many."""
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it tells what the file says
    try:
        reader = PdfReader(BytesIO(data), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Refused("it is locked by a password")
        count = len(reader.pages)
        if first is None and count > PAGES:
            raise Refused(f"it has {count} pages, {PAGES} at most: import it in parts")
        found = False
        for page in islice(reader.pages, first):
            text = _HYPHEN.sub(r"\1", page.extract_text() or "")
            for paragraph in _PARAGRAPH.split(text):
                if paragraph.strip():
                    found = True
                    yield Block(paragraph)
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise Refused("it is no PDF, or is damaged") from error
    except (RecursionError, AssertionError, ZeroDivisionError, OverflowError) as error:
        raise Refused("it is no PDF, or is damaged") from error
    if not found:
        raise Refused("it has no text: a scan has to be read by a program for that first")
