"""A message's readable text, once what it brought is known. Pure."""

import re

from handlers.rules.cutting import both_ends, head
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.notes import customers

TRANSCRIPT_UNITS = 16_000  # of a voice message; an hour of speech is more
NAMES = ("voice message", "audio file")
NOT_OPENED = "[{name}: cannot be opened]"
NOTHING = "[{name}: could not be understood]"
AWAITED = "[{name}: not heard yet]"
SAYS = "[the document says:]"
BEGINNING_UNITS = 2_000
_DOCUMENT = re.compile(r'\[(document(?: "[^"\[\]]*")?): cannot be opened\]')
_PICTURE = re.compile(r"\[(photo|sticker): cannot be opened\]")


def heard(content_text: str, transcript: str) -> str:
    """What the customer said stands behind the note as what they write does: nothing in it looks
    like a note of ours."""
    said = customers(both_ends(storable(" ".join(transcript.split())), TRANSCRIPT_UNITS))
    return _instead(content_text, "[{name}] ", said)


def document_read(content_text: str, text: str) -> str:
    """With its beginning: the turn that it came in reads more."""
    opened = _DOCUMENT.sub(r"[\1]", content_text)
    return f"{opened}\n{SAYS}\n{customers(head(storable(text), BEGINNING_UNITS))}"


def whole_document(content_text: str, text: str) -> str:
    """As the turn reads it."""
    before, note, _ = content_text.partition(SAYS)
    return f"{before}{note}\n{customers(storable(text))}" if note else content_text


def seen(content_text: str) -> str:
    """Of a picture that a model sees."""
    return _PICTURE.sub(r"[\1]", content_text)


def not_understood(content_text: str) -> str:
    return _instead(content_text, NOTHING)


def awaited(content_text: str) -> str:
    return _instead(content_text, AWAITED)


def _instead(content_text: str, of: str, said: str = "") -> str:
    for name in NAMES:
        note = NOT_OPENED.format(name=name)
        if note in content_text:
            before, _, after = content_text.rpartition(note)
            return before + of.format(name=name) + said + after
    return content_text
