"""What a tenant names is a claim until it is proven: what it becomes, and what follows from what
Graph says of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from handlers.rules.backoff import backoff
from handlers.rules.numbers import normalised

PATIENCE = timedelta(days=1)  # for which Graph is asked again while it is away
AGAIN_S, AGAIN_MOST_S = 2.0, 60.0

# Member of the API -> column of its claim. What is proven is in the column of the member's name.
CLAIMED: Final[Mapping[str, str]] = {
    "whatsapp_phone_number": "claimed_number",
    "phone_number_id": "claimed_phone_number_id",
    "waba_id": "claimed_waba_id",
}
TAKEN: Final[Mapping[str, str]] = {
    "number": "another chatbot has proven that whatsapp_phone_number is its own: ask the operator"
    " if it is yours",
    "phone_number_id": "another chatbot has proven that phone_number_id is its own: ask the"
    " operator if it is yours",
}
UNREADABLE = "the access_token cannot be read any more: give it anew"
AWAY = "WhatsApp's Graph API gave no answer for a day: name the number anew to have it asked again"


def named(has: Mapping[str, str | None], given: Mapping[str, Any]) -> dict[str, str | None]:
    """What changes of the six columns. null is taken away at once, and so is a claim to what is
    proven; whatever else is named is claimed, beside what is proven."""
    columns: dict[str, str | None] = {}
    for member, claim in CLAIMED.items():
        if member not in given:
            continue
        value = given[member]
        columns[claim] = None if value is None or value == has[member] else value
        if value is None:
            columns[member] = None
    return columns


def obstacle(has: Mapping[str, str | None]) -> str | None:
    """Why nobody can be asked whether the claims are true."""
    if has["access_token"] is None:
        return "give the chatbot's own access_token: only what that can read is proven"
    target = has["claimed_phone_number_id"] or has["phone_number_id"]
    if has["claimed_number"] is not None and target is None:
        return "give phone_number_id as well: that is what the access_token is tried with"
    return None


# ---- what Graph says -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Told:
    """An object that the token reads."""

    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Denied:
    """Graph does not let the token read it."""

    why: str


@dataclass(frozen=True, slots=True)
class Away:
    """No answer that says anything."""


Look: TypeAlias = Told | Denied | Away


def number_problem(look: Told, wanted_id: str, wanted_number: str | None) -> str | None:
    """With the number that was read under an id."""
    if look.fields.get("id") != wanted_id:
        return "Graph knows another object under phone_number_id"
    number = told_number(look)
    if number is None:
        return "phone_number_id is of no phone number: it is none of WhatsApp's ids of a number"
    if wanted_number is not None and number != wanted_number:
        return "phone_number_id is of another number than whatsapp_phone_number: mend one of them"
    return None


def account_problem(look: Told, wanted_id: str) -> str | None:
    if look.fields.get("id") != wanted_id:
        return "Graph knows another object under waba_id"
    return None


def told_number(look: Told) -> str | None:
    spelt = look.fields.get("display_phone_number")
    return normalised(spelt) if isinstance(spelt, str) else None


def again(tries: int, dice: float) -> timedelta:
    return backoff(tries, base_s=AGAIN_S, cap_s=AGAIN_MOST_S, dice=dice)
