"""A template filled: what Meta's send takes, and the text that the customer sees. Pure.

For whoever sends one: `render(template, parameters, values)`, where `values` are what V's fields
stand for (`of_contact()` of parameters.py, and what else is known). Rendered is frozen: its
`components` and `text` are kept with the message, so that every try sends the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from handlers.rules.cutting import head, units
from handlers.templates.anatomy import (
    MEDIA,
    Json,
    Sendable,
    Slot,
    buttons,
    cards,
    filled,
    names_in,
    part,
    slots,
    text_of,
    word,
)
from handlers.templates.parameters import CODE_CHARS, PAYLOAD_CHARS, moment, normalised, value_at

BODY_UNITS, HEADER_UNITS = 1_024, 60  # of the text with its values
URL_SAFE: Final = "/?&=%#:@-._~+,;!$'()*"
SHOWN: Final = {"image": "photo", "video": "video", "document": "document"}
_CUT: Final = "…"
Place: TypeAlias = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    components: list[dict[str, Any]]
    text: str


@dataclass(frozen=True, slots=True)
class Missing:
    """What nothing is known for: nothing can be sent (`missing_parameter`)."""

    places: tuple[str, ...]


def render(template: Sendable, parameters: Json, values: Mapping[str, str]) -> Rendered | Missing:
    named = template.parameter_format == "NAMED"
    found: dict[Place, Json] = {}
    missing: list[str] = []
    for slot in slots(template.components):
        value = _value(slot, value_at(parameters, slot.place), values)
        if value is not None:
            found[slot.place] = value
        elif slot.needed:
            missing.append(slot.path)
    if missing:
        return Missing(tuple(missing))
    message = _Message(template.components, (), found, named)
    sent, shown = message.sent(), message.shown()
    if (ends := found.get(("expiry",))) is not None:
        offer = {"expiration_time_ms": round(ends.timestamp() * 1000)}
        inner = {"type": "limited_time_offer", "limited_time_offer": offer}
        sent.insert(0, {"type": "limited_time_offer", "parameters": [inner]})
    shown += _offer_shown(template.components, ends)
    of_cards = [
        _Message(card, ("cards", str(n)), found, named)
        for n, card in enumerate(cards(template.components))
    ]
    if of_cards:
        told = [{"card_index": n, "components": c.sent()} for n, c in enumerate(of_cards)]
        sent.append({"type": "carousel", "cards": told})
        for n, card in enumerate(of_cards, start=1):
            shown += [f"[card {n}]", *card.shown()]
    return Rendered(sent, "\n".join(shown))


def _value(slot: Slot, given: Mapping[str, Json] | None, values: Mapping[str, str]) -> Json:
    """None: there is none."""
    if given is None:
        return None
    match slot.kind:
        case "image" | "video" | "document":
            link = given.get("link")
            if not isinstance(link, str) or not link:
                return None
            name = given.get("filename")
            named = {"filename": name} if slot.kind == "document" and name else {}
            return {"link": link, **named}
        case "location":
            place = given.get("location")
            if not isinstance(place, dict):
                return None
            return {k: normalised(v) if isinstance(v, str) else v for k, v in place.items()}
        case "expiry":
            return moment(given.get("expires_at"))
        case _:
            text = _text(given, values)
            return text and _spelt(slot, text)


def _spelt(slot: Slot, text: str) -> str:
    match slot.kind:
        case "url":
            return quote(text, safe=URL_SAFE)
        case "code":
            return head(text, CODE_CHARS)
        case "payload":
            return head(text, PAYLOAD_CHARS)
        case _:
            return text


def _text(given: Mapping[str, Json], values: Mapping[str, str]) -> str | None:
    for text in (
        given.get("text"),
        values.get(str(given.get("field"))) if "field" in given else None,
        given.get("else"),
    ):
        if isinstance(text, str) and (clean := normalised(text)):
            return clean
    return None


@dataclass(frozen=True, slots=True)
class _Message:
    """Header, body and buttons: of the template, or of one of its cards."""

    components: Json
    of: Place
    found: Mapping[Place, Json]
    named: bool

    def sent(self) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        for kind, given in (("header", self._header()), ("body", self._body())):
            if given:
                told.append({"type": kind, "parameters": given})
        for n, button in enumerate(buttons(self.components)):
            value = self.found.get((*self.of, "buttons", str(n)))
            if value is not None:
                told.append(_button(n, word(button.get("type")), value))
        return told

    def _header(self) -> list[dict[str, Any]]:
        value = self.found.get((*self.of, "header"))
        if value is None:
            return []
        header = part(self.components, "HEADER")
        format_ = word(header.get("format"))
        if format_ == "TEXT":
            names = names_in(text_of(header))
            texts = self._header_values(header, value)
            return [self._parameter(name, texts[name]) for name in names]
        kind = MEDIA.get(format_, "location")
        return [{"type": kind, kind: value}]

    def _header_values(self, header: Mapping[str, Json], value: str) -> dict[str, str]:
        return _within(
            text_of(header), dict.fromkeys(names_in(text_of(header)), value), HEADER_UNITS
        )

    def _body_values(self) -> dict[str, str]:
        text = text_of(part(self.components, "BODY"))
        values = {name: self.found[(*self.of, "body", name)] for name in names_in(text)}
        return _within(text, values, BODY_UNITS)

    def _body(self) -> list[dict[str, Any]]:
        values = self._body_values()
        names = list(values) if self.named else sorted(values, key=_number)
        return [self._parameter(name, values[name]) for name in names]

    def _parameter(self, name: str, text: str) -> dict[str, Any]:
        named = {"parameter_name": name} if self.named else {}
        return {"type": "text", **named, "text": text}

    def shown(self) -> list[str]:
        header, value = part(self.components, "HEADER"), self.found.get((*self.of, "header"))
        lines: list[str] = []
        match word(header.get("format")):
            case "TEXT":
                text = text_of(header)
                lines.append(filled(text, self._header_values(header, value)) if value else text)
            case "LOCATION" if value is not None:
                lines.append(f"[location: {value.get('name')}, {value.get('address')}]")
            case format_ if value is not None and format_ in MEDIA:
                name = f' "{value["filename"]}"' if "filename" in value else ""
                lines.append(f"[{SHOWN[MEDIA[format_]]}{name}]")
        lines.append(filled(text_of(part(self.components, "BODY")), self._body_values()))
        lines.append(text_of(part(self.components, "FOOTER")))
        for n, button in enumerate(buttons(self.components)):
            lines.append(_shown(button, self.found.get((*self.of, "buttons", str(n)))))
        return [line for line in lines if line]


def _number(name: str) -> tuple[int, str]:
    return (int(name), name) if name.isdecimal() and len(name) < 6 else (0, name)


def _within(text: str, values: Mapping[str, str], room: int) -> dict[str, str]:
    """Cut, the longest first, until the filled text is as long as Meta takes it."""
    found = dict(values)
    for _ in range(len(found)):
        over = units(filled(text, found)) - room
        if over <= 0:
            break
        name = max(found, key=lambda one: units(found[one]))
        times = max(1, sum(1 for _ in _uses(text, name)))
        keep = units(found[name]) - -(-over // times) - units(_CUT)
        found[name] = head(found[name], max(1, keep)) + _CUT
    return found


def _uses(text: str, name: str) -> Sequence[str]:
    return [one for one in text.split("{{")[1:] if one.partition("}}")[0].strip() == name]


def _button(n: int, kind: str, value: str) -> dict[str, Any]:
    inner: dict[str, Any]
    match kind:
        case "QUICK_REPLY":
            inner = {"type": "payload", "payload": value}
        case "COPY_CODE":
            inner = {"type": "coupon_code", "coupon_code": value}
        case _:
            inner = {"type": "text", "text": value}
    return {"type": "button", "sub_type": kind.lower(), "index": str(n), "parameters": [inner]}


def _shown(button: Mapping[str, Json], value: str | None) -> str:
    label = f'[button "{text_of(button)}"'
    match word(button.get("type")):
        case "URL":
            url = text_of(button, "url")
            url = filled(url, dict.fromkeys(names_in(url), value or ""))
            return f"{label}: {url}]"
        case "PHONE_NUMBER":
            return f"{label}: {text_of(button, 'phone_number')}]"
        case "COPY_CODE" if value:
            return f'[button "Copy code": {value}]'
        case _:
            return f"{label}]"


def _offer_shown(components: Json, ends: Any) -> list[str]:
    offer = part(components, "LIMITED_TIME_OFFER").get("limited_time_offer")
    if not isinstance(offer, dict):
        return []
    until = f", until {ends.isoformat()}" if ends is not None else ""
    return [f"[offer: {text_of(offer)}{until}]"]
