"""What a customer is offered to choose from, as WhatsApp can show it: reply buttons, a list, or one
link; else as numbered lines of the text. Pure.

A choice has an id of ours, which nobody can guess. What a press brings back is looked up among what
was offered in the conversation; what is not found there is a text like any other.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from handlers.rules.cutting import head, units

# As WhatsApp takes them; in UTF-16 units, which are never fewer than its characters.
BUTTONS_MAX, BUTTON_UNITS = 3, 20
ROWS_MAX, ROW_UNITS, DESCRIPTION_UNITS = 10, 24, 72
BODY_UNITS: Final[Mapping[str, int]] = {"buttons": 1024, "list": 4096, "link": 1024}
CHOICES_MAX = 20  # as numbered lines
TITLE_UNITS = 200  # of one of those
URL_CHARS = 2_000

Kind = Literal["buttons", "list", "link"]


@dataclass(frozen=True, slots=True)
class Choice:
    title: str
    description: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Offer:
    """What stands under a text: choices or a link, never both."""

    choices: tuple[Choice, ...] = ()
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    kind: Kind
    choices: tuple[Choice, ...] = ()
    link: Link | None = None
    opens: str = ""  # what the button says that opens a list

    def with_ids(self, ids: Sequence[str]) -> dict[str, Any]:
        """As messages.metadata keeps it: an id a choice."""
        if self.link is not None:
            return {"type": self.kind, "title": self.link.title, "url": self.link.url}
        shown = [
            {"id": id_, "title": one.title}
            | ({"description": one.description} if one.description else {})
            for id_, one in zip(ids, self.choices, strict=True)
        ]
        opens = {"button": self.opens} if self.kind == "list" else {}
        return {"type": self.kind, "choices": shown, **opens}


def laid_out(text: str, offer: Offer, opens: str) -> Layout | None:
    """None: WhatsApp cannot show it under this text."""
    if not text.strip():
        return None
    for layout in _layouts(offer, opens):
        if units(text) <= BODY_UNITS[layout.kind]:
            return layout
    return None


def _layouts(offer: Offer, opens: str) -> Iterable[Layout]:
    titles = [one.title for one in offer.choices]
    if offer.link is not None:
        if units(offer.link.title) <= BUTTON_UNITS:
            yield Layout("link", link=offer.link)
        return
    if len({title.casefold() for title in titles}) < len(titles):
        return
    plain = not any(one.description for one in offer.choices)
    if plain and len(titles) <= BUTTONS_MAX and _fit(titles, BUTTON_UNITS):
        yield Layout("buttons", offer.choices)
    descriptions = [one.description for one in offer.choices]
    if (
        len(titles) <= ROWS_MAX
        and _fit(titles, ROW_UNITS)
        and _fit(descriptions, DESCRIPTION_UNITS)
    ):
        yield Layout("list", offer.choices, opens=head(opens, BUTTON_UNITS))


def _fit(texts: Iterable[str], longest: int) -> bool:
    return all(units(text) <= longest for text in texts)


def in_words(text: str, offer: Offer) -> str:
    """The text with what is offered as lines of it."""
    if offer.link is not None:
        lines = [f"{offer.link.title}: {offer.link.url}"]
    else:
        lines = [
            f"{n}. {one.title}" + (f" ({one.description})" if one.description else "")
            for n, one in enumerate(offer.choices, start=1)
        ]
    return "\n\n".join(part for part in (text, "\n".join(lines)) if part)


def offered(interactive: object) -> dict[str, Choice]:
    """By id, what a message offered, as it is kept."""
    choices = interactive.get("choices") if isinstance(interactive, dict) else None
    return {
        str(one.get("id")): Choice(str(one.get("title", "")), str(one.get("description", "")))
        for one in (choices if isinstance(choices, list) else ())
        if isinstance(one, dict)
    }


def titles_of(interactive: object) -> list[str]:
    """What stood under a message, to be read."""
    if isinstance(interactive, dict) and interactive.get("type") == "link":
        return [f"{interactive.get('title')}: {interactive.get('url')}"]
    return [one.title for one in offered(interactive).values()]
