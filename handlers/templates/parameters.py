"""What fills a template: {"header": V, "body": {"1" or name: V}, "buttons": {"0": V}}; a carousel
also {"cards": [the same]}, an offer that ends {"expiry": V}. Pure.

V is {"text"}, or {"field", "else"} of what is known when it is sent; for what is no text {"link"}
or {"media_id"} (of a media header), {"location"}, {"expires_at"}.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from handlers.rules.contact_fields import FIELD_NAME_CHARS
from handlers.rules.texts import storable
from handlers.templates.anatomy import Json, Slot, slots

V: TypeAlias = Mapping[str, Json]
TEXT_CHARS = 1_024
PAYLOAD_CHARS = 256
CODE_CHARS = 15
LINK_CHARS = 2_000
CARDS_MAX = 10

CUSTOM: Final = "custom_fields."
OF_CONTACT: Final = ("name", "phone_number")
OF_REPLY: Final = ("reply",)
OF_ORDER: Final = ("order.order_number", "order.status", "order.total_amount")
OF_DECISION: Final = ("action.request_type", "action.user_response")
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Wrong:
    place: str  # "body.1"
    detail: str


def normalised(text: str) -> str:
    """As Meta takes a parameter: without line breaks, tabs and rows of spaces."""
    return _SPACES.sub(" ", storable(text)).strip()


def value_at(parameters: Json, place: Sequence[str]) -> V | None:
    here: Json = parameters
    for step in place:
        if isinstance(here, list) and step.isdigit() and int(step) < len(here):
            here = here[int(step)]
        elif isinstance(here, dict):
            here = here.get(step)
        else:
            return None
    return here if isinstance(here, dict) else None


def mistakes(components: Json, parameters: Json, fields: Sequence[str]) -> list[Wrong]:
    """All that is wrong with parameters for a template; `fields`: what may be named beside the
    contact's."""
    wanted = {slot.place: slot for slot in slots(components)}
    given = dict(_given(parameters))
    found = [
        Wrong(".".join(place), "the template has no such place")
        for place in given
        if place not in wanted
    ]
    for place, slot in wanted.items():
        value = given.get(place)
        if value is None:
            if slot.needed:
                found.append(Wrong(slot.path, f"missing: {_NEEDS[slot.kind]}"))
        elif (detail := _mistake(slot, value, fields)) is not None:
            found.append(Wrong(slot.path, detail))
    return found


def _given(parameters: Json, of: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    if not isinstance(parameters, dict):
        yield of or ("parameters",), parameters
        return
    for name, value in parameters.items():
        if name in ("body", "buttons") and isinstance(value, dict):
            yield from (((*of, name, str(key)), one) for key, one in value.items())
        elif name == "cards" and isinstance(value, list) and not of:
            for n, card in enumerate(value[: CARDS_MAX + 1]):
                yield from _given(card, ("cards", str(n)))
        else:
            yield (*of, str(name)), value


_NEEDS: Final[Mapping[str, str]] = {
    "text": 'give {"text"} or {"field", "else"}',
    "url": 'the end of the address: give {"text"} or {"field", "else"}',
    "payload": 'give {"text"} or {"field", "else"}',
    "code": 'the code to copy: give {"text"} or {"field", "else"}',
    "image": 'give {"link"} of the picture',
    "video": 'give {"link"} of the video',
    "document": 'give {"link"} of the document',
    "location": 'give {"location": {"latitude", "longitude", "name", "address"}}',
    "expiry": 'when the offer ends: give {"expires_at"}',
}
_LONGEST: Final[Mapping[str, int]] = {
    "text": TEXT_CHARS,
    "url": LINK_CHARS,
    "payload": PAYLOAD_CHARS,
    "code": CODE_CHARS,
}


def _mistake(slot: Slot, value: Json, fields: Sequence[str]) -> str | None:
    if not isinstance(value, dict):
        return f"not an object: {_NEEDS[slot.kind]}"
    names = frozenset(value)
    if slot.kind in _LONGEST:
        if names == {"text"}:
            return _text_mistake(value["text"], _LONGEST[slot.kind])
        if names in ({"field"}, {"field", "else"}):
            return _field_mistake(value, fields, _LONGEST[slot.kind])
    elif slot.kind == "location" and names == {"location"}:
        return _location_mistake(value["location"])
    elif slot.kind == "expiry" and names == {"expires_at"}:
        return None if moment(value["expires_at"]) else "not a date and time with its zone"
    elif slot.kind in ("image", "video", "document"):
        if names in ({"link"}, {"link", "filename"}):
            return _link_mistake(value)
        if names == {"media_id"}:
            return "media_id cannot be sent in a header yet: give a link"
    return f"not understood: {_NEEDS[slot.kind]}"


def _text_mistake(text: Json, longest: int) -> str | None:
    if not isinstance(text, str):
        return "text: not a text"
    if not normalised(text):
        return "text: empty"
    return f"text: longer than {longest} characters" if len(text) > longest else None


def _field_mistake(value: V, fields: Sequence[str], longest: int) -> str | None:
    name = value["field"]
    known = (*OF_CONTACT, f"{CUSTOM}KEY", *fields)
    key = name.removeprefix(CUSTOM) if isinstance(name, str) else ""
    custom = isinstance(name, str) and name.startswith(CUSTOM) and 0 < len(key) <= FIELD_NAME_CHARS
    if name not in (*OF_CONTACT, *fields) and not custom:
        return f"field: none of {', '.join(known)}"
    if "else" in value and (problem := _text_mistake(value["else"], longest)) is not None:
        return problem.replace("text:", "else:")
    return None


def _link_mistake(value: V) -> str | None:
    link, name = value["link"], value.get("filename", "")
    if not isinstance(link, str) or len(link) > LINK_CHARS:
        return f"link: not an address of at most {LINK_CHARS} characters"
    try:
        parts = urlsplit(link)
        fits = parts.scheme == "https" and bool(parts.hostname) and not _SPACES.search(link)
    except ValueError:
        fits = False
    if not fits or storable(link) != link:
        return "link: not an https address: WhatsApp fetches it at every send"
    if not isinstance(name, str) or len(name) > 240 or storable(name) != name:
        return "filename: not a text of at most 240 characters"
    return None


def _location_mistake(given: Json) -> str | None:
    if not isinstance(given, dict) or given.keys() - {"latitude", "longitude", "name", "address"}:
        return "location: takes latitude, longitude, name and address"
    for name, most in (("latitude", 90), ("longitude", 180)):
        value = given.get(name)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not -most <= value <= most
        ):
            return f"location: {name} is no number from -{most} to {most}"
    for name in ("name", "address"):
        text = given.get(name)
        if not isinstance(text, str) or not normalised(text) or len(text) > TEXT_CHARS:
            return f"location: {name} is no text of at most {TEXT_CHARS} characters"
    return None


def moment(text: Json) -> datetime | None:
    """None: no date and time with its zone."""
    if not isinstance(text, str) or "T" not in text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return at if at.tzinfo is not None and at.timestamp() > 0 else None
    except (ValueError, OverflowError):
        return None


def of_contact(
    name: str | None, phone_number: str | None, custom_fields: Mapping[str, Any]
) -> dict[str, str]:
    """What V's fields stand for, as far as it is known: no list, no object, nothing empty."""
    found = {"name": name, "phone_number": phone_number}
    for key, value in custom_fields.items():
        if isinstance(value, bool):
            found[CUSTOM + key] = "yes" if value else "no"
        elif isinstance(value, str | int | float):
            found[CUSTOM + key] = str(value)
    return {name: text for name, value in found.items() if value and (text := normalised(value))}
