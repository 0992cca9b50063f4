"""What code says to a customer where no model speaks, in the customer's language. Pure.

The sentences are in texts.toml; a tenant may have their own for a chatbot (chatbots.texts:
{kind: {language: text}}). A language is a BCP 47 tag, and may be one that we have no text in: then
the next one in the conversation's order is spoken.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Any, Final

from handlers.rules.cutting import units
from handlers.rules.reply import MAX_CHARS
from handlers.rules.texts import storable

ENGLISH = "en"


class Kind(StrEnum):
    APOLOGY = "apology"
    MEDIA = "media"
    MEDIA_LATER = "media_later"
    LIMIT = "limit"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"
    SHORTENED = "shortened"
    NO_INFORMATION = "no_information"
    REQUEST_KEPT = "request_kept"
    REQUEST_REFUSED = "request_refused"
    SLOW = "slow"
    HANDOVER = "handover"
    HANDBACK = "handback"
    OFF_TOPIC = "off_topic"
    LOOP = "loop"
    NO_ANSWER = "no_answer"
    NOBODY = "nobody"
    NO_AMOUNT = "no_amount"
    NOT_DONE = "not_done"
    OPEN_NOW = "open_now"
    CLOSED_NOW = "closed_now"
    OPEN_ON = "open_on"
    CLOSED_ON = "closed_on"
    OPENING_HOURS = "opening_hours"
    GREETING = "greeting"
    THANKED = "thanked"
    GOODBYE = "goodbye"
    AGREED = "agreed"
    REFUSED = "refused"
    OPTED_OUT = "opted_out"
    OPTED_IN = "opted_in"
    CHOOSE = "choose"
    ORDER_BUTTON = "order_button"
    QUOTE = "quote"
    ORDERED = "ordered"
    REQUOTED = "requoted"
    NEW_PRICES = "new_prices"
    UNAVAILABLE = "unavailable"
    GLADLY = "gladly"
    PRODUCTS = "products"
    QUOTE_OVER = "quote_over"
    ORDER_CONFIRMED = "order_confirmed"
    ORDER_PREPARING = "order_preparing"
    ORDER_SHIPPED = "order_shipped"
    ORDER_DELIVERED = "order_delivered"
    ORDER_CANCELLED = "order_cancelled"


DETAILS_UNITS = 200  # of a request, when it is named to the customer
HOURS_UNITS = 40
DAY_UNITS = 40  # a day's name, and its date
SPANS_UNITS = 100  # of a day
WEEK_UNITS = 1_000  # of all days of a week
ITEMS_UNITS = 700  # lines of an order: a message with a button has 1,024
MONEY_UNITS = 30
SHORTENED_UNITS = 200  # it takes its room from the answer
BUTTON_UNITS = 20  # WhatsApp shows no longer ones
# What may stand in braces in a text, and how long it gets.
PARAMETERS: Final[Mapping[Kind, Mapping[str, int]]] = {
    **{one: {"details": DETAILS_UNITS} for one in (Kind.APPROVED, Kind.DENIED, Kind.EXPIRED)},
    **{one: {"hours": HOURS_UNITS} for one in (Kind.OPEN_NOW, Kind.CLOSED_NOW)},
    Kind.OPEN_ON: {"day": DAY_UNITS, "hours": SPANS_UNITS},
    Kind.CLOSED_ON: {"day": DAY_UNITS},
    Kind.OPENING_HOURS: {"hours": WEEK_UNITS},
    Kind.QUOTE: {"items": ITEMS_UNITS, "total": MONEY_UNITS},
    Kind.ORDERED: {"number": HOURS_UNITS, "total": MONEY_UNITS},
    **{
        one: {"number": HOURS_UNITS}
        for one in Kind
        if one.startswith("order_") and one is not Kind.ORDER_BUTTON
    },
    **{one: {"items": ITEMS_UNITS} for one in (Kind.NEW_PRICES, Kind.UNAVAILABLE, Kind.PRODUCTS)},
}
LONGEST: Final[Mapping[Kind, int]] = {
    Kind.SHORTENED: SHORTENED_UNITS,
    Kind.CHOOSE: BUTTON_UNITS,
    Kind.ORDER_BUTTON: BUTTON_UNITS,
    # Under 1,024 together with what else stands above the button.
    Kind.QUOTE: ITEMS_UNITS + MONEY_UNITS + 150,
}
_PARAMETER = re.compile(r"\{([^{}]*)\}")
_TAG = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
MAX_TAG_CHARS = 35


def fixed_text(
    kind: Kind, languages: str | Sequence[str], own_texts: object = None, **parameters: str
) -> str:
    """In the first of the languages that has a text, the tenant's own one if they have it in that
    language; else in English."""
    own, ours = _of_kind(own_texts, kind), _texts()[kind]
    asked = (languages,) if isinstance(languages, str) else languages
    for language in (*asked, ENGLISH):
        text = _closest(own, language) or _closest(ours, language)
        if text is not None:
            return _PARAMETER.sub(lambda m: parameters.get(m[1], m[0]), text)
    raise LookupError(f"{kind} is not in English")


def own_text(kind: Kind, languages: Sequence[str], own_texts: object) -> str | None:
    """Only what the tenant wrote."""
    own = _of_kind(own_texts, kind)
    return next((text for tag in languages if (text := _closest(own, tag))), None)


def is_text(kind: Kind, text: str, own_texts: object) -> bool:
    """Whether a text without parameters ends as this one does, in whatever language."""
    known = (*_of_kind(own_texts, kind).values(), *_texts()[kind].values())
    return any(text.rstrip().endswith(one.strip()) for one in known)


def languages_spoken() -> frozenset[str]:
    return frozenset(_texts()[Kind.APOLOGY])


def is_language(tag: str) -> bool:
    """A BCP 47 tag, as the columns take it."""
    return len(tag) <= MAX_TAG_CHARS and _TAG.fullmatch(tag) is not None


def problems(own_texts: object) -> list[str]:
    """All that keeps a tenant's texts from being stored."""
    if not isinstance(own_texts, dict):
        return ["the texts are not a JSON object"]
    return [problem for kind, texts in own_texts.items() for problem in _of_texts(kind, texts)]


def _of_texts(kind: str, texts: object) -> Iterator[str]:
    if kind not in [*Kind]:
        yield f"{kind} is no text of ours: there are {', '.join(Kind)}"
    elif not isinstance(texts, dict):
        yield f"{kind} is not an object of languages and texts"
    else:
        for tag, text in texts.items():
            place = f"{kind}.{tag}"
            if not is_language(tag):
                yield f"{place}: {tag!r} is no language, like es or pt-BR"
            elif not isinstance(text, str) or not text.strip() or storable(text) != text:
                yield f"{place} is not a text"
            else:
                yield from _of_text(Kind(kind), place, text)


def _of_text(kind: Kind, place: str, text: str) -> Iterator[str]:
    known = PARAMETERS.get(kind, {})
    for name in _PARAMETER.findall(text):
        if name not in known:
            yield f"{place} names {{{name}}}: it may name {', '.join(known) or 'nothing'}"
    longest = _PARAMETER.sub(lambda m: "x" * known.get(m[1], 0), text)
    most = LONGEST.get(kind, MAX_CHARS)
    if units(longest) > most:
        yield f"{place} has {units(longest)} characters, and may have {most}"


def _of_kind(own_texts: object, kind: Kind) -> Mapping[str, str]:
    """As far as they are as they should be: what is stored may be older than these rules."""
    texts: Any = own_texts.get(kind) if isinstance(own_texts, dict) else None
    if not isinstance(texts, dict):
        return {}
    return {tag: text for tag, text in texts.items() if isinstance(text, str) and text.strip()}


def _closest(texts: Mapping[str, str], language: str) -> str | None:
    """For pt-BR: pt-BR, else pt, else another Portuguese."""
    by_tag = {tag.casefold(): text for tag, text in texts.items()}
    parts = language.casefold().split("-")
    for n in range(len(parts), 0, -1):
        if (text := by_tag.get("-".join(parts[:n]))) is not None:
            return text
    return next((text for tag, text in by_tag.items() if tag.split("-")[0] == parts[0]), None)


@cache
def _texts() -> Mapping[Kind, Mapping[str, str]]:
    texts = tomllib.loads((Path(__file__).parent / "texts.toml").read_text(encoding="utf-8"))
    return {kind: texts[kind] for kind in Kind}
