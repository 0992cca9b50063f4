"""What a customer pressed, looked up among what the bot offered in this conversation. Pure.

What comes back from WhatsApp is a title and an id, and whoever sends a message can choose both. A
press counts when one of the messages that the turn reads offered this id; its title is then ours.
An id that is made up, another conversation's or older is only the text that came with it.

A template's quick replies are kept as buttons are, as `interactive` of the message's metadata, with
their payloads as ids. What is pressed there is a text like any other, and is read as one: "Stop"
ends advertising as the word does.
"""

import re
from collections.abc import Sequence
from dataclasses import replace

from db.messages import TurnMessage
from handlers.rules.choices import Choice, offered

_CHOSE = re.compile(r"\[chose ([^\]]*)\]")  # handlers/whatsapp/cloud_api/notes.py
_QUOTE = re.compile(r"\A\[in reply to [^\]]*\]\n")  # handlers/ingest/messages.py
_ROUND = str.maketrans('[]"', "()'")


def looked_up(rows: Sequence[TurnMessage]) -> Sequence[TurnMessage]:
    if not any(row.pressed for row in rows):
        return rows
    known: dict[str, Choice] = {}
    for row in rows:
        if row.direction == "outbound":
            known |= offered(row.metadata.get("interactive"))
    return [_read(row, known.get(row.pressed)) if row.pressed else row for row in rows]


def _read(row: TurnMessage, choice: Choice | None) -> TurnMessage:
    text = row.content_text or ""
    if _CHOSE.search(text) is None:  # of a template
        if choice is None:
            return row
        quote = _QUOTE.match(text)
        return replace(row, content_text=(quote[0] if quote else "") + choice.title)
    if choice is None:
        return replace(row, content_text=_CHOSE.sub(lambda m: m[1], text, count=1))
    said = f'[chose "{choice.title.translate(_ROUND)}"]'
    return replace(row, content_text=_CHOSE.sub(lambda _: said, text, count=1))
