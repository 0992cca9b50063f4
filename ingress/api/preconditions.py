"""ETag and If-Match (RFC 9110): who changes what they read changes that and nothing later. Pure."""

import re
from dataclasses import dataclass

from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem

IF_MATCH = "If-Match"
TAGS_MAX = 50

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,[ \t,]*{_TAG})*[ \t,]*")


def etag(version: int) -> str:
    """Of one address; strong."""
    return f'"{version}"'


@dataclass(frozen=True, slots=True)
class IfMatch:
    tags: frozenset[str] | None  # None: whatever there is

    def admits(self, version: int) -> bool:
        return self.tags is None or etag(version) in self.tags  # W/"1" is another text than "1"


def read_if_match(given: str) -> IfMatch | list[Mistake]:
    if given.strip() == "*":
        return IfMatch(None)
    if not _TAGS.fullmatch(given):
        return [Mistake(IF_MATCH, 'neither * nor a list of ETags, like "7"')]
    tags = re.findall(_TAG, given)
    if len(tags) > TAGS_MAX:
        return [Mistake(IF_MATCH, f"has {len(tags)} ETags, {TAGS_MAX} at most")]
    return IfMatch(frozenset(tags))


def precondition_failed(version: int) -> Problem:
    return Problem(
        "precondition_failed",
        "It was changed since you read it. Read it again, and decide anew.",
        headers={"ETag": etag(version)},
    )
