"""Whom an update speaks of, and when it is of, whatever kind it is. Pure.

What is understood says so itself; this is for the rest, and for whatever is kept as it came: every
text in it that has the form of a number or a BSUID may be a person's.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from handlers.rules.numbers import normalised
from handlers.whatsapp.cloud_api.untrusted import Json, moment
from handlers.whatsapp.cloud_api.wire import Update
from handlers.whatsapp.values import Customer

LOOKED_AT_MAX = 20_000  # texts of one update; a webhook's 4 MiB hold more only of spite
_NUMBER = re.compile(r"\+?[1-9][0-9]{6,14}")
_BSUID = re.compile(r"[A-Z]{2}(?:\.[A-Za-z0-9]+)+")


def people_in(update: Update) -> list[Customer]:
    business = normalised(update.display_number)
    numbers: dict[str, str] = {}
    bsuids: set[str] = set()
    for _, text in _texts([update.raw, update.contact]):
        if _BSUID.fullmatch(text):
            bsuids.add(text)
        elif _NUMBER.fullmatch(text) and (number := normalised(text)) not in (None, business):
            numbers[number or ""] = text
    return [
        *(Customer(number, wa_id, None) for number, wa_id in sorted(numbers.items())),
        *(Customer(None, None, bsuid) for bsuid in sorted(bsuids)),
    ]


def moment_of(update: Update) -> datetime | None:
    """The latest that it names; None: it names none."""
    told = [moment(text) for key, text in _texts([update.raw]) if key == "timestamp"]
    if update.entry_time is not None:
        told.append(_from_seconds(update.entry_time))
    return max((at for at in told if at is not None), default=None)


def _from_seconds(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if 0 <= seconds < 10**11 else None


def _texts(value: Json) -> Iterator[tuple[str, str]]:
    """Each with the name that it stands under. Numbers too, as texts. Not by recursion: whatever
    came may be nested deeper than Python calls."""
    waiting: list[tuple[str, Json]] = [("", value)]
    for _ in range(LOOKED_AT_MAX):
        if not waiting:
            return
        key, one = waiting.pop()
        if isinstance(one, dict):
            waiting.extend((str(k), v) for k, v in one.items())
        elif isinstance(one, list):
            waiting.extend((key, v) for v in one)
        elif isinstance(one, str):
            yield key, one
        elif isinstance(one, int) and not isinstance(one, bool):
            yield key, str(one)
