"""Regular expressions that tenants write. One that takes long is ended, whatever it is: matching
looks at its time, and other threads run meanwhile."""

from dataclasses import dataclass, field
from functools import lru_cache

import regex

CHARS_MAX = 300
SECONDS = 0.2  # of CPU, of one text


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
        except TimeoutError:
            self.is_slow = True
            raise TooSlow from None


def problem(text: str) -> str | None:
    """What keeps it from being one."""
    if len(text) > CHARS_MAX:
        return f"has more than {CHARS_MAX} characters"
    try:
        _compiled(text)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        return f"is no regular expression: {error}"
    return None


@lru_cache(maxsize=256)
def _compiled(text: str) -> "regex.Pattern[str]":
    return regex.compile(text, cache_pattern=False)
