"""What Meta would refuse mechanically of a template, said before it is asked: review takes hours to
days. What needs a reader (tone, category, too many variables for the text) is Meta's. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from handlers.rules.texts import storable
from handlers.templates.anatomy import VARIABLE, Json, items, names_in, part, text_of, word
from handlers.templates.check_buttons import button_mistakes
from handlers.templates.parameters import Wrong

NAME: Final = re.compile(r"[a-z0-9_]{1,512}")
LANGUAGE: Final = re.compile(r"[a-z]{2,3}(_[A-Z]{2,3})?")
CATEGORIES: Final = ("MARKETING", "UTILITY")
FORMATS: Final = ("POSITIONAL", "NAMED")
HEADERS: Final = ("TEXT", "IMAGE", "VIDEO", "DOCUMENT", "LOCATION", "GIF")
TYPES: Final = ("HEADER", "BODY", "FOOTER", "BUTTONS", "CAROUSEL", "LIMITED_TIME_OFFER")
OF_CARD: Final = ("HEADER", "BODY", "BUTTONS")
HEADER_CHARS, BODY_CHARS, FOOTER_CHARS = 60, 1_024, 60
OFFER_BODY_CHARS, OFFER_CHARS = 600, 16
CARD_BODY_CHARS = 160
CARDS_MAX = 10
COMPONENTS_MAX = 6
_NAMED = re.compile(r"[a-z][a-z0-9_]*")
_NEIGHBOURS = re.compile(r"\}\}\s*\{\{")
_STRAY = re.compile(r"\{\{|\}\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """As a tenant gives it."""

    name: str
    language: str
    category: str
    parameter_format: str
    components: Json


def mistakes(given: Definition) -> list[Wrong]:
    """All of them at once."""
    found: list[Wrong] = []
    if not NAME.fullmatch(given.name):
        found.append(Wrong("name", "not 1 to 512 of a-z, 0-9 and _"))
    if not LANGUAGE.fullmatch(given.language):
        found.append(Wrong("language", "none of Meta's codes, like en, en_US or pt_BR"))
    if given.category == "AUTHENTICATION":
        detail = "AUTHENTICATION templates are made in WhatsApp Manager: their text is Meta's"
        found.append(Wrong("category", detail))
    elif given.category not in CATEGORIES:
        found.append(Wrong("category", f"none of {', '.join(CATEGORIES)}"))
    if given.parameter_format not in FORMATS:
        found.append(Wrong("parameter_format", f"none of {', '.join(FORMATS)}"))
    return found + component_mistakes(given.category, given.parameter_format, given.components)


def component_mistakes(category: str, parameter_format: str, components: Json) -> list[Wrong]:
    if not isinstance(components, list) or not components:
        return [Wrong("components", "not a list of components, of which BODY is needed")]
    if len(components) > COMPONENTS_MAX:
        return [Wrong("components", f"has {len(components)}, {COMPONENTS_MAX} at most")]
    found = [*_structure(components, TYPES, "components")]
    named = parameter_format == "NAMED"
    offer = bool(part(components, "LIMITED_TIME_OFFER"))
    if not part(components, "BODY"):
        found.append(Wrong("components", "has no BODY"))
    for n, one in enumerate(components):
        if isinstance(one, dict):
            found += _component(one, f"components[{n}]", named, offer)
    if offer:
        if category != "MARKETING":
            found.append(Wrong("category", "an offer that ends is MARKETING only"))
        if part(components, "FOOTER"):
            found.append(Wrong("components", "an offer that ends has no FOOTER"))
    return found


def _structure(components: Sequence[Json], known: Sequence[str], where: str) -> Iterator[Wrong]:
    seen: set[str] = set()
    for n, one in enumerate(components):
        kind = word(one.get("type")) if isinstance(one, dict) else ""
        if kind not in known:
            yield Wrong(f"{where}[{n}].type", f"none of {', '.join(known)}")
        elif kind in seen:
            yield Wrong(f"{where}[{n}].type", f"there is a {kind} already")
        seen.add(kind)


def _component(one: Mapping[str, Json], at: str, named: bool, offer: bool) -> Iterator[Wrong]:
    match word(one.get("type")):
        case "HEADER":
            yield from _header(one, at, named)
        case "BODY":
            yield from _body(one, at, named, OFFER_BODY_CHARS if offer else BODY_CHARS)
        case "FOOTER":
            yield from _footer(one, at)
        case "BUTTONS":
            yield from button_mistakes(one.get("buttons"), f"{at}.buttons")
        case "LIMITED_TIME_OFFER":
            yield from _offer(one.get("limited_time_offer"), f"{at}.limited_time_offer")
        case "CAROUSEL":
            yield from _carousel(one.get("cards"), f"{at}.cards", named)
        case _:
            pass


def _header(one: Mapping[str, Json], at: str, named: bool) -> Iterator[Wrong]:
    format_ = word(one.get("format"))
    if format_ not in HEADERS:
        yield Wrong(f"{at}.format", f"none of {', '.join(HEADERS)}")
    elif format_ == "TEXT":
        yield from text_mistakes(one.get("text"), f"{at}.text", HEADER_CHARS)
        text = text_of(one)
        names = names_in(text)
        if len(names) > 1 or len(VARIABLE.findall(text)) > 1:
            yield Wrong(f"{at}.text", "a header has one variable at most")
        yield from _names(names, f"{at}.text", named)
        if "\n" in text or "*" in text:
            yield Wrong(f"{at}.text", "a header has no line breaks and no formatting")
        yield from _examples(one.get("example"), f"{at}.example", names, named, "header_text")
    elif format_ != "LOCATION":
        handles = _get(one.get("example"), "header_handle")
        if not (isinstance(handles, list) and len(handles) == 1 and _filled(handles[0])):
            yield Wrong(
                f"{at}.example.header_handle",
                'not a list of one handle, as Meta\'s Resumable Upload gives it ("4::…"): that of a'
                " sample; a media id is none",
            )


def _body(one: Mapping[str, Json], at: str, named: bool, longest: int) -> Iterator[Wrong]:
    yield from text_mistakes(one.get("text"), f"{at}.text", longest)
    text = text_of(one).strip()
    names = names_in(text)
    yield from _names(names, f"{at}.text", named)
    if names and (text.startswith("{{") or text.endswith("}}")):
        yield Wrong(f"{at}.text", "a variable stands at the beginning or the end (Meta: 2388299)")
    if _NEIGHBOURS.search(text):
        yield Wrong(f"{at}.text", "two variables stand side by side: put words between them")
    yield from _examples(one.get("example"), f"{at}.example", names, named, "body_text")


def _footer(one: Mapping[str, Json], at: str) -> Iterator[Wrong]:
    yield from text_mistakes(one.get("text"), f"{at}.text", FOOTER_CHARS)
    if VARIABLE.search(text_of(one)):
        yield Wrong(f"{at}.text", "a footer has no variables (Meta: 2388073)")


def _offer(offer: Json, at: str) -> Iterator[Wrong]:
    yield from text_mistakes(_get(offer, "text"), f"{at}.text", OFFER_CHARS)
    if not isinstance(_get(offer, "has_expiration"), bool | None):
        yield Wrong(f"{at}.has_expiration", "neither true nor false")


def _carousel(given: Json, at: str, named: bool) -> Iterator[Wrong]:
    if not isinstance(given, list) or not 1 <= len(given) <= CARDS_MAX:
        yield Wrong(at, f"not a list of 1 to {CARDS_MAX} cards")
        return
    shapes = set()
    for n, card in enumerate(given):
        of, inner = _get(card, "components"), f"{at}[{n}].components"
        if not isinstance(of, list) or not of:
            yield Wrong(inner, f"not a list of {', '.join(OF_CARD)}")
            continue
        if len(of) > COMPONENTS_MAX:
            yield Wrong(inner, f"has {len(of)}, {len(OF_CARD)} at most")
            continue
        yield from _structure(of, OF_CARD, inner)
        if word(part(of, "HEADER").get("format")) not in ("IMAGE", "VIDEO"):
            yield Wrong(inner, "a card has a HEADER that is IMAGE or VIDEO")
        for m, one in enumerate(of):
            if isinstance(one, dict) and word(one.get("type")) == "BODY":
                yield from _body(one, f"{inner}[{m}]", named, CARD_BODY_CHARS)
            elif isinstance(one, dict):
                yield from _component(one, f"{inner}[{m}]", named, False)
        shapes.add(_shape(of))
    if len(shapes) > 1:
        yield Wrong(at, "the cards differ: all have the same components, formats and buttons")


def _shape(components: Json) -> tuple[object, ...]:
    kinds = tuple(
        word(one.get("type")) for one in items(part(components, "BUTTONS").get("buttons"))
    )
    format_ = word(part(components, "HEADER").get("format"))
    return (frozenset(word(one.get("type")) for one in items(components)), format_, kinds)


def text_mistakes(text: Json, at: str, longest: int) -> Iterator[Wrong]:
    if not isinstance(text, str):
        yield Wrong(at, "not a text")
    elif not text.strip():
        yield Wrong(at, "empty")
    elif storable(text) != text:
        yield Wrong(at, "has characters that cannot be stored")
    else:
        if len(text) > longest:
            yield Wrong(at, f"has {len(text)} characters, {longest} at most")
        if _STRAY.search(VARIABLE.sub("", text)):
            yield Wrong(at, "has {{ or }} that belong to no variable (Meta: 2388047)")


def _names(names: Sequence[str], at: str, named: bool) -> Iterator[Wrong]:
    if named:
        for name in names:
            if not _NAMED.fullmatch(name):
                yield Wrong(at, f"{{{{{name[:40]}}}}}: NAMED variables are a-z, 0-9 and _")
    elif sorted(names) != sorted(str(n) for n in range(1, len(names) + 1)):
        yield Wrong(at, "POSITIONAL variables are {{1}}, {{2}} and so on, without gaps")


def _examples(
    example: Json, at: str, names: Sequence[str], named: bool, key: str
) -> Iterator[Wrong]:
    if not names:
        return
    if named:
        member = f"{key}_named_params"
        given = {
            one.get("param_name"): one.get("example")
            for one in items(_get(example, member))
            if isinstance(one.get("param_name"), str)
        }
        lacking = [name for name in names if not _filled(given.get(name))]
        if lacking:
            yield Wrong(f"{at}.{member}", f"has no example of {', '.join(lacking)[:200]}")
        return
    found = _get(example, key)
    if key == "body_text":
        found = found[0] if isinstance(found, list) and found else None
    if not (isinstance(found, list) and len(found) == len(names) and all(map(_filled, found))):
        shape = "a list of one list" if key == "body_text" else "a list"
        yield Wrong(f"{at}.{key}", f"not {shape} with an example of each variable: {len(names)}")


def _filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and storable(value) == value


def _get(value: Json, key: str) -> Json:
    return value.get(key) if isinstance(value, dict) else None
