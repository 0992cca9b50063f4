"""How many tokens a text has, as far as that can be said without a model's own vocabulary. Pure.

By script, since vocabularies are made of mostly English text: four letters of Latin script are a
token, two of the alphabets beside it, and one of what is written without an alphabet. What a
model's server counts corrects it (gauge.py).
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage

LATIN = 4  # letters of a token
OTHER_ALPHABETS = 2  # Greek, Cyrillic, Hebrew, Arabic, Devanagari and its kin
AROUND = 6  # tokens of a message besides its text
_ALPHABETS = re.compile("[\u0370-\u0dff]")
_WIDE = re.compile("[\u0e00-\u1dff\u2e80-\U0010ffff]")


def tokens(text: str) -> int:
    if text.isascii():
        return -(-len(text) // LATIN)
    halves, wholes = len(_ALPHABETS.findall(text)), len(_WIDE.findall(text))
    latin = len(text) - halves - wholes
    return -(-latin // LATIN) - (-halves // OTHER_ALPHABETS) + wholes


def of_message(message: AnyMessage) -> int:
    found = AROUND + tokens(message.text)
    if isinstance(message, AIMessage):
        for call in message.tool_calls:
            found += AROUND + tokens(call["name"] + json.dumps(call["args"], ensure_ascii=False))
    return found


def of_messages(messages: Iterable[AnyMessage]) -> int:
    return sum(of_message(message) for message in messages)


def of_schemas(schemas: Iterable[dict[str, Any]]) -> int:
    return sum(tokens(json.dumps(schema, ensure_ascii=False)) for schema in schemas)


def letters(text: str, room: int) -> int:
    """About how many UTF-16 units of a text like this one are so many tokens."""
    has = tokens(text)
    units = len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
    return units if has <= room else max(1, units * room // max(1, has))
