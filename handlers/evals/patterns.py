"""Regular expressions that tenants write. One that takes long is ended, whatever it is: matching
looks at its time, and other threads run meanwhile. Pure."""

from dataclasses import dataclass
from functools import lru_cache

import regex

CHARS_MAX = 300
SECONDS = 0.2  # of CPU, of one text


class TooSlow(Exception):
    """It was ended."""


@dataclass(frozen=True, slots=True)
class Pattern:
    text: str

    def found_in(self, text: str) -> bool:
        """Raises TooSlow."""
        try:
            return _compiled(self.text).search(text, timeout=SECONDS, concurrent=True) is not None
        except TimeoutError:
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
