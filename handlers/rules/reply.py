"""What a reply may look like on WhatsApp. Pure."""

import re

from handlers.rules.texts import storable

MAX_CHARS = 4096
SHORTENED = "\n\n(I had to shorten this - ask me for the rest.)"
_SENTENCE_END = re.compile("[.!?\u2026](?=\\s|$)|[\u3002\uff01\uff1f]|\n")  # CJK has no spaces


def fitted(text: str, *, cut: bool = False) -> str:
    """One message, storable: over 4,096 characters, or if it was `cut` where it stops, it ends
    with the last whole sentence and says so.

    WhatsApp counts UTF-16 units, of which an emoji has two.
    """
    text = storable(text)
    if cut:
        text = _whole_words(text)
    elif _units(text) <= MAX_CHARS:
        return text
    room = MAX_CHARS - _units(SHORTENED)
    head = text.encode("utf-16-le")[: room * 2].decode("utf-16-le", "ignore")
    ends = [m.end() for m in _SENTENCE_END.finditer(head)]
    return (head[: ends[-1]] if ends else head).rstrip() + SHORTENED


def _whole_words(text: str) -> str:
    """Without its last word, unless a sentence ends there: it may be half a word, or half a number
    ("38." of 38.50)."""
    head, *last = text.rsplit(maxsplit=1)
    if not last or (_SENTENCE_END.search(last[0][-1:]) and not re.search(r"\d\.$", last[0])):
        return text
    return head


def _units(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2
