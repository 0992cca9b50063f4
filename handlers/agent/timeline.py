"""When what stands in the history was said, and by whom. Pure.

A message of the record keeps its time beside its text; where time passed since the one before, the
model reads a note in front of it. Square brackets are ours: a customer's are round ones.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

AT = "at"  # in a message's additional_kwargs: seconds since 1970
GAP = timedelta(hours=1)  # from which on the model is told of it; or when it is another day
COLLEAGUE = "[a colleague wrote] "
# Notes of ours that a model wrote itself, as it read them.
_COPIED = re.compile(
    r"^(\s*\[(a colleague wrote|[^\[\]\n]{0,40}\d{4}-\d\d-\d\d \d\d:\d\d)\]\s*)+"
    r"|\s*\[to be pressed under it: [^\[\]\n]*\]\s*$",
    re.IGNORECASE,
)
_UNITS = (
    (timedelta(days=730), timedelta(days=365.25), "year"),
    (timedelta(days=63), timedelta(days=30.44), "month"),
    (timedelta(days=14), timedelta(days=7), "week"),
    (timedelta(hours=36), timedelta(days=1), "day"),
    (timedelta(minutes=90), timedelta(hours=1), "hour"),
    (timedelta(0), timedelta(minutes=1), "minute"),
)


def noted_at(moment: datetime) -> dict[str, int]:
    """For a message's additional_kwargs."""
    return {AT: int(moment.timestamp())}


def timed(messages: Sequence[AnyMessage], history: int, zone: str) -> Iterator[AnyMessage]:
    """With notes. The first of a history says when it was; `history`: how many messages it has."""
    local, before = ZoneInfo(zone), None
    for place, message in enumerate(messages):
        at = message.additional_kwargs.get(AT)
        if not isinstance(at, int):
            yield message
            continue
        moment = datetime.fromtimestamp(at, UTC).astimezone(local)
        note = _note(before, moment, first=place < history)
        before = moment
        yield _with(note, message) if note else message


def _with(note: str, message: AnyMessage) -> AnyMessage:
    text = f"{note}\n{message.text}"
    return AIMessage(text) if isinstance(message, AIMessage) else HumanMessage(text)


def _note(before: datetime | None, moment: datetime, *, first: bool) -> str | None:
    if before is None:
        return f"[{moment:%A %Y-%m-%d %H:%M}]" if first else None
    passed = moment - before
    if passed < -GAP:
        return f"[earlier, {moment:%A %Y-%m-%d %H:%M}]"
    if passed < GAP and moment.date() <= before.date():
        return None
    return f"[{later(passed)}, {moment:%A %Y-%m-%d %H:%M}]"


def later(passed: timedelta) -> str:
    unit, word = next((u, w) for least, u, w in _UNITS if passed >= least)
    count = max(1, round(passed / unit))
    return f"{count} {word}{'s' if count > 1 else ''} later"


def without_copied_notes(text: str) -> str:
    """What a model writes is sent, and is no note of ours."""
    return _COPIED.sub("", text)
