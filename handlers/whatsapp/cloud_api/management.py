"""Calls that manage an account, and what the Graph API answered. Pure.

They bring nothing to a customer, so what matters is another thing than of a send: may it be tried
again, with another token, or is it refused, and in which words.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from handlers.rules.cutting import head
from handlers.rules.texts import storable
from handlers.whatsapp.cloud_api.errors import class_of
from handlers.whatsapp.cloud_api.untrusted import Json, get

TOO_MANY = 80008  # calls to this account, within an hour
WORDS_CHARS = 1_000
# Of a thing that is not there, or is there already; the code is 100 for both.
NOT_FOUND, EXISTS = frozenset({2593002, 2388044}), frozenset({2388023, 2388024})


@dataclass(frozen=True, slots=True)
class Done:
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Declined:
    why: Literal["limit", "token", "refused"]
    code: int | None
    subcode: int | None
    words: str  # Meta's own


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """That says anything: perhaps it was done."""

    reason: str


Called: TypeAlias = Done | Declined | NoAnswer


def called(status: int, raw: bytes) -> Called:
    try:
        answer: Any = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    error = get(answer, "error")
    if isinstance(error, dict):
        return _declined(status, error)
    if 200 <= status < 300 and isinstance(answer, dict):
        return Done(answer)
    return NoAnswer(f"http_{status}")


def _declined(status: int, error: Mapping[str, Json]) -> Called:
    code, subcode = _number(error.get("code")), _number(error.get("error_subcode"))
    kind = class_of(code, status)
    words = _words(error)
    if code == TOO_MANY or status == 429 or kind in ("app", "number"):
        return Declined("limit", code, subcode, words)
    if kind in (None, "transient"):
        return NoAnswer(f"http_{status}:{code}")
    why: Literal["token", "refused"] = "token" if kind == "account" else "refused"
    return Declined(why, code, subcode, words)


def _words(error: Mapping[str, Json]) -> str:
    parts = [error.get("error_user_title"), error.get("error_user_msg")]
    told = [storable(one) for one in parts if isinstance(one, str) and one]
    if not told:
        details = get(error.get("error_data"), "details")
        told = [storable(o) for o in (error.get("message"), details) if isinstance(o, str) and o]
    return head(": ".join(told), WORDS_CHARS) or "without a word"


def _number(value: Json) -> int | None:
    fits = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
    return value if fits else None
