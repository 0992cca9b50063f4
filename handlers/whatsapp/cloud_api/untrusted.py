"""Reads what others sent: whatever it is, nothing raises. Pure."""

import re
from datetime import UTC, datetime
from typing import Any, TypeAlias

from db.ids import Wamid
from handlers.rules.texts import storable

Json: TypeAlias = Any
_TIMESTAMP = re.compile(r"\d{1,11}")


def get(value: Json, key: str) -> Json:
    return value.get(key) if isinstance(value, dict) else None


def wamid_of(value: Json) -> Wamid | None:
    """As a column takes it."""
    text = string(value)
    return Wamid(storable(text)) if text else None


def string(value: Json) -> str | None:
    return value if isinstance(value, str) and value else None


def moment(value: Json) -> datetime | None:
    """Seconds since 1970, as a string or (in old payloads) a number."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not text.isascii() or not _TIMESTAMP.fullmatch(text):
        return None
    return datetime.fromtimestamp(int(text), UTC)
