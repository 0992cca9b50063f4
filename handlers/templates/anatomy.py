"""What a template is made of, by Meta's components. Whatever they are, nothing raises. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, TypeAlias

Json: TypeAlias = Any
Kind: TypeAlias = Literal[
    "text", "image", "video", "document", "location", "url", "payload", "code", "expiry"
]

VARIABLE: Final = re.compile(r"\{\{([^{}]*)\}\}")
MEDIA: Final[Mapping[str, Kind]] = {"IMAGE": "image", "VIDEO": "video", "DOCUMENT": "document"}
SENDABLE: Final = "APPROVED"
MARKETING: Final = "MARKETING"


class Sendable(Protocol):
    """Of a template, what its messages are made of. A row of message_templates is one."""

    @property
    def parameter_format(self) -> str: ...
    @property
    def components(self) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Slot:
    """A place that takes a value: ("header",), ("body", "1"), ("buttons", "0"), ("expiry",); of a
    card ("cards", "0", "body", "1")."""

    place: tuple[str, ...]
    kind: Kind
    needed: bool = True

    @property
    def path(self) -> str:
        return ".".join(self.place)


def part(components: Json, kind: str) -> Mapping[str, Json]:
    """The component of this type; an empty one where there is none."""
    for one in items(components):
        if word(one.get("type")) == kind:
            return one
    return {}


def items(value: Json) -> list[Mapping[str, Json]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def word(value: Json) -> str:
    """As Meta spells what it has a list of."""
    return value.upper() if isinstance(value, str) else ""


def text_of(component: Mapping[str, Json], name: str = "text") -> str:
    text = component.get(name)
    return text if isinstance(text, str) else ""


def names_in(text: str) -> list[str]:
    """Of its variables, each once, in their order."""
    return list(dict.fromkeys(found.strip() for found in VARIABLE.findall(text)))


def filled(text: str, values: Mapping[str, str]) -> str:
    return VARIABLE.sub(lambda m: values.get(m[1].strip(), m[0]), text)


def slots(components: Json) -> list[Slot]:
    """All that a send of it may fill, in the order in which a reader meets them."""
    found = [*_of_message(components, ())]
    offer = part(components, "LIMITED_TIME_OFFER").get("limited_time_offer")
    if isinstance(offer, dict) and offer.get("has_expiration") is True:
        found.append(Slot(("expiry",), "expiry"))
    for n, card in enumerate(cards(components)):
        found += _of_message(card, ("cards", str(n)))
    return found


def cards(components: Json) -> list[Sequence[Mapping[str, Json]]]:
    """The components of each card of a carousel."""
    return [items(c.get("components")) for c in items(part(components, "CAROUSEL").get("cards"))]


def buttons(components: Json) -> list[Mapping[str, Json]]:
    return items(part(components, "BUTTONS").get("buttons"))


def _of_message(components: Json, of: tuple[str, ...]) -> Iterator[Slot]:
    header = part(components, "HEADER")
    match word(header.get("format")):
        case "TEXT" if VARIABLE.search(text_of(header)):
            yield Slot((*of, "header"), "text")
        case "LOCATION":
            yield Slot((*of, "header"), "location")
        case format_ if format_ in MEDIA:  # at every send: the sample is not sent along
            yield Slot((*of, "header"), MEDIA[format_])
        case _:
            pass
    for name in names_in(text_of(part(components, "BODY"))):
        yield Slot((*of, "body", name), "text")
    for n, button in enumerate(buttons(components)):
        at = (*of, "buttons", str(n))
        match word(button.get("type")):
            case "URL" if VARIABLE.search(text_of(button, "url")):
                yield Slot(at, "url")
            case "QUICK_REPLY":
                yield Slot(at, "payload", needed=False)
            case "COPY_CODE":
                yield Slot(at, "code")
            case _:
                pass
