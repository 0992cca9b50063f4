"""What a tenant keeps of a contact: tags, fields of its own, and what a search looks for. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

TAGS_MAX, TAG_CHARS = 50, 50
FIELDS_MAX = 100  # names, within each other too
FIELD_NAME_CHARS = 100
FIELDS_DEPTH = 5
FIELDS_BYTES = 16 * 1024
# As contact_terms_of() has them: of a number's first or last digits by which it is found so many at
# most, of the last so many at least. What a query has more is looked at one by one.
NUMBER_CHARS, ENDS_CHARS = 8, 4
DIGITS_SOUGHT = (3, 15)

_NUMBER = re.compile(r"[0-9+ ()./-]+")


def tag_problems(tags: Sequence[str]) -> list[str]:
    found = []
    if len(tags) > TAGS_MAX:
        found.append(f"has {len(tags)} tags, {TAGS_MAX} at most")
    if any(not tag.strip() for tag in tags):
        found.append("has an empty tag")
    if any(len(tag) > TAG_CHARS for tag in tags):
        found.append(f"has a tag of more than {TAG_CHARS} characters")
    return found


def merged(old: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396: null takes a member away, objects are merged, anything else replaces."""
    new = dict(old)
    for name, value in patch.items():
        if value is None:
            new.pop(name, None)
        elif isinstance(value, dict):
            inner = new.get(name)
            new[name] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            new[name] = value
    return new


def fields_problem(fields: Mapping[str, Any]) -> str | None:
    depth, names, longest = _measured(fields)
    size = len(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())
    if size > FIELDS_BYTES:
        return f"has {size} bytes as JSON, {FIELDS_BYTES} at most"
    if depth > FIELDS_DEPTH:
        return f"nests {depth} levels deep, {FIELDS_DEPTH} at most"
    if names > FIELDS_MAX:
        return f"has {names} names, {FIELDS_MAX} at most"
    if longest > FIELD_NAME_CHARS:
        return f"has a name of {longest} characters, {FIELD_NAME_CHARS} at most"
    return None


def _measured(value: Any) -> tuple[int, int, int]:
    """How deep, how many names, the longest name."""
    if not isinstance(value, dict | list):
        return 0, 0, 0
    inner = value.values() if isinstance(value, dict) else value
    parts = [_measured(one) for one in inner]
    names = list(value) if isinstance(value, dict) else []
    return (
        1 + max((depth for depth, _, _ in parts), default=0),
        len(names) + sum(count for _, count, _ in parts),
        max([*map(len, names), *(longest for _, _, longest in parts)], default=0),
    )


def digits_sought(q: str) -> str | None:
    """Of a query that is a number or part of one, as people write it."""
    if not _NUMBER.fullmatch(q):
        return None
    digits = re.sub(r"[^0-9]", "", q)
    return digits if DIGITS_SOUGHT[0] <= len(digits.lstrip("0")) <= DIGITS_SOUGHT[1] else None
