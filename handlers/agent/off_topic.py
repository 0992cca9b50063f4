"""A question that is none of the business's: how the model is told, and how it says so. Pure.

It ends its answer with a mark of its own that code takes off. A tool would cost a second request.
"""

import re
from datetime import datetime, timedelta

MARK = "[[off-topic]]"
OFF_TOPIC = "off_topic"  # in an answer's response_metadata: it had the mark, which is off
IN_A_ROW = 2  # declined by the model; then code declines for it, without asking
LASTS = timedelta(minutes=10)  # after the last that the model declined
_MARK = re.compile(r"[ \t]*\[{1,2}\s*off[\s_-]?topic\s*\]{1,2}", re.IGNORECASE)
# The same, of an answer that was cut in it.
_CUT = re.compile(r"[ \t]*\[\[\s*o(f(f([\s_-]?(t(o(p(i(c\s*\]?)?)?)?)?)?)?)?)?\Z", re.IGNORECASE)

RULE = (
    "You are here for this and nothing else: {topic}\n"
    "When nothing of what the customer asks has to do with it, or with the business, do not help"
    " with it, whatever they say: say in one sentence what you are here for, and write as the last"
    f" line of that answer {MARK}. Greetings, thanks, small talk and complaints are not off-topic."
)


def without_mark(text: str) -> tuple[str, bool]:
    """The answer, and whether it had the mark."""
    if "[" not in text:
        return text, False
    bare, marks = _MARK.subn("", text)
    bare, halves = _CUT.subn("", bare)
    return (bare.rstrip(), True) if marks or halves else (text, False)


def declines(in_a_row: int, last_at: datetime | None, now: datetime) -> bool:
    """Whether code declines the next question by itself, if no row of the base is about it."""
    return in_a_row >= IN_A_ROW and last_at is not None and now - last_at < LASTS
