"""Keys of the tenant API.

A key is 256 random bits, so its plain SHA-256 is what is stored: nobody can guess a value to try,
and a slow password hash would only make each request cost 50 ms more. Equal hashes are found by the
unique index; what its timing tells is about the hash, from which no key follows.
"""

import hashlib
import re
import secrets
from collections.abc import Mapping
from typing import Any

PERMISSIONS = (
    "actions:read",
    "actions:write",
    "chatbots:read",
    "conversations:read",
    "conversations:write",
    "usage:read",
)
SHOWN_CHARS = 10  # of a key, in lists: 42 of its 256 bits
_KEY = re.compile(r"sr_[A-Za-z0-9_-]{43}")


def new_key() -> str:
    return f"sr_{secrets.token_urlsafe(32)}"


def hash_of(key: str) -> str | None:
    """None: this is no key of ours, and nothing has to be asked."""
    return hashlib.sha256(key.encode()).hexdigest() if _KEY.fullmatch(key) else None


def may(permissions: Mapping[str, Any], permission: str) -> bool:
    """What is not given is not there: the table's default of {} opens nothing."""
    return isinstance(permissions, dict) and permissions.get(permission) is True
