"""A message's readable text, once what it brought is known. Pure."""

from handlers.rules.cutting import both_ends
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.notes import customers

TRANSCRIPT_UNITS = 16_000  # of a voice message; an hour of speech is more
NAMES = ("voice message", "audio file")
NOT_OPENED = "[{name}: cannot be opened]"
NOTHING = "[{name}: could not be understood]"
AWAITED = "[{name}: not heard yet]"


def heard(content_text: str, transcript: str) -> str:
    """What the customer said stands behind the note as what they write does: nothing in it looks
    like a note of ours."""
    said = customers(both_ends(storable(" ".join(transcript.split())), TRANSCRIPT_UNITS))
    return _instead(content_text, "[{name}] ", said)


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
