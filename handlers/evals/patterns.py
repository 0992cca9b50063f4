"""Regular expressions that tenants write. One that takes long is ended, whatever it is: matching
looks at its time, and other threads run meanwhile."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from math import prod

import regex

CHARS_MAX = 300
SECONDS = 0.2  # of CPU, of one text
# What has to be there n times is compiled as n copies, and of nested groups as their product: 300
# characters could take all memory. A copy takes up to 1.3 KB.
COPIES_MAX = 20_000
KEPT = 16  # compiled ones
_REPEAT = re.compile(r"(?P<group>\))?(?:\{\s*(?P<least>[0-9]+)|\+)")
_VERBOSE = re.compile(r"\(\?[A-Za-z0-9-]*x")


class TooSlow(Exception):
    """It was ended."""


@dataclass(slots=True)
class Pattern:
    """Of one suite. Once it took too long it is not tried again: a suite has thousands of turns."""

    text: str
    is_slow: bool = field(default=False, compare=False)

    def found_in(self, text: str) -> bool:
        """Raises TooSlow."""
        if self.is_slow:
            raise TooSlow
        try:
            return _compiled(self.text).search(text, timeout=SECONDS, concurrent=True) is not None
        except (TimeoutError, MemoryError):
            self.is_slow = True
            raise TooSlow from None


def problem(text: str) -> str | None:
    """What keeps it from being one."""
    if len(text) > CHARS_MAX:
        return f"has more than {CHARS_MAX} characters"
    if _VERBOSE.search(text):
        return "has the flag x, which is not taken: write it without spaces and remarks"
    if _copies(text) > COPIES_MAX:
        return "repeats too much: write it more simply"
    try:
        _compiled(text)
    except (regex.error, RecursionError, OverflowError, ValueError, MemoryError) as error:
        return f"is no regular expression: {error}"
    return None


def _copies(text: str) -> int:
    """Of its characters, at most: as if all groups that repeat stood within each other. What closes
    a group may be one that is meant as a character."""
    repeats = [(one["group"], int(one["least"] or 1)) for one in _REPEAT.finditer(text)]
    singles = sum(least for group, least in repeats if not group)
    return (len(text) + singles) * prod(least + 1 for group, least in repeats if group)


@lru_cache(maxsize=KEPT)
def _compiled(text: str) -> "regex.Pattern[str]":
    return regex.compile(text, cache_pattern=False)
