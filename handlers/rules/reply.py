"""What a reply may look like on WhatsApp. Pure."""

import re

from handlers.rules.texts import storable

MAX_CHARS = 4096
SHORTENED = "\n\n(I had to shorten this - ask me for the rest.)"
_SENTENCE_END = re.compile("[.!?\u2026](?=\\s|$)|[\u3002\uff01\uff1f]|\n")  # CJK has no spaces


def fitted(text: str) -> str:
    """One message, storable: over 4,096 characters it ends with the last whole sentence and says
    so.

    WhatsApp counts UTF-16 units, of which an emoji has two.
    """
    text = storable(text)
    if _units(text) <= MAX_CHARS:
        return text
    room = MAX_CHARS - _units(SHORTENED)
    cut = text.encode("utf-16-le")[: room * 2].decode("utf-16-le", "ignore")
    ends = [m.end() for m in _SENTENCE_END.finditer(cut)]
    return (cut[: ends[-1]] if ends else cut).rstrip() + SHORTENED


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
