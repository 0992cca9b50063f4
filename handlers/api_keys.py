"""Keys of the tenant API.

A key is 256 random bits, so its plain SHA-256 is what is stored: nobody can guess a value to try,
and a slow password hash would only make each request cost 50 ms more. Equal hashes are found by the
unique index; what its timing tells is about the hash, from which no key follows.

The last six characters are a checksum of the others, as GitHub's tokens have it: who scans files
for keys that leaked knows one without asking us, and what was mistyped or cut off is refused
without a look-up. Keys of before have none and are as good as ever; their length tells them apart.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any

PERMISSIONS = (
    "actions:read",
    "actions:write",
    "api-keys:read",
    "api-keys:write",
    "chatbots:read",
    "chatbots:write",
    "contacts:read",
    "contacts:write",
    "conversations:read",
    "conversations:write",
    "events:read",
    "exports:read",
    "exports:write",
    "instructions:read",
    "instructions:write",
    "knowledge:read",
    "knowledge:write",
    "orders:read",
    "orders:write",
    "products:read",
    "products:write",
    "subscription:read",
    "templates:read",
    "templates:write",
    "usage:read",
    "webhooks:read",
    "webhooks:write",
)
# What they deliver, or have made, is all that there is to read.
READING_ALL = ("exports:write", "webhooks:write")
SHOWN_CHARS = 10  # of a key, in lists: 42 of its 256 bits
PREFIX = "sr_"
RANDOM_CHARS, CHECKSUM_CHARS = 43, 6  # 62 ** 43 > 2 ** 256; 62 ** 6 > 2 ** 32
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{RANDOM_CHARS + CHECKSUM_CHARS}}}")
_KEY_OF_BEFORE = re.compile(rf"{PREFIX}[A-Za-z0-9_-]{{43}}")


class Form(StrEnum):
    """What can be told of a text without asking anybody."""

    VALID = "valid"
    OLD = "old"  # a key of before: it has no checksum
    MISTYPED = "mistyped"  # a key's length and letters, and another checksum
    NONE = "none"


def new_key() -> str:
    text = _in_base62(secrets.randbelow(len(_BASE62) ** RANDOM_CHARS), RANDOM_CHARS)
    return f"{PREFIX}{text}{_checksum(text)}"


def form_of(text: str) -> Form:
    if _KEY.fullmatch(text):
        random = text[len(PREFIX) : -CHECKSUM_CHARS]
        return Form.VALID if text.endswith(_checksum(random)) else Form.MISTYPED
    return Form.OLD if _KEY_OF_BEFORE.fullmatch(text) else Form.NONE


def hash_of(key: str) -> str | None:
    """None: this is no key of ours, and nothing has to be asked."""
    if form_of(key) not in (Form.VALID, Form.OLD):
        return None
    return digest(key)


def digest(text: str) -> str:
    """Of any text; what is no key has none that is kept."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def _checksum(text: str) -> str:
    return _in_base62(zlib.crc32(text.encode()), CHECKSUM_CHARS)


def _in_base62(number: int, places: int) -> str:
    """Digits are 0-9, A-Z, a-z."""
    digits = []
    for _ in range(places):
        number, digit = divmod(number, len(_BASE62))
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def lacks_reading(granted: Collection[str]) -> str | None:
    """What is wrong with these permissions of one key."""
    lacks = lacking(granted)
    if not lacks:
        return None
    return (
        f"a key with {' or '.join(READING_ALL)} is given all that there is to read, so it has to"
        f" have {', '.join(lacks)} as well"
    )


def lacking(granted: Collection[str]) -> list[str]:
    """What a key with these permissions would have to have as well."""
    if not any(one in granted for one in READING_ALL):
        return []
    return [one for one in PERMISSIONS if one.endswith(":read") and one not in granted]


def may(permissions: Mapping[str, Any], permission: str) -> bool:
    """What is not given is not there: the table's default of {} opens nothing."""
    return isinstance(permissions, dict) and permissions.get(permission) is True
