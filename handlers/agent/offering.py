"""The tool by which an answer gets buttons, a list or a link. It ends the run: its text is the
answer."""

from collections.abc import Iterator
from typing import Any, Final

from handlers.checks.answer import checked, foreign_amounts
from handlers.checks.contacts import ways_in
from handlers.checks.told import Told
from handlers.rules.choices import CHOICES_MAX, TITLE_UNITS, URL_CHARS, Choice, Link, Offer
from handlers.rules.cutting import head
from handlers.rules.texts import storable

OFFER: Final = "offer_choices"
OFFERED = "done: this is your answer"
_ROUND = str.maketrans("[]", "()")  # what is in square brackets is the system's

OFFER_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": OFFER,
        "description": (
            "Answers with a text and choices that the customer can press (up to 3 short ones become"
            " buttons, up to 10 a list), or with one link. The text is your whole answer."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "description": "The answer above the choices."},
                "choices": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "At most 20 characters each, no two alike.",
                },
                "link": {
                    "type": "object",
                    "properties": {"title": {"type": "string"}, "url": {"type": "string"}},
                    "description": "Instead of choices: a link that you were told.",
                },
            },
            "required": ["text"],
        },
    },
}


class NotOffered(ValueError):
    """What is wrong, for the model."""


def offer_of(arguments: dict[str, Any], told: Told, *, blocks: bool) -> tuple[str, Offer]:
    """The text, and what stands under it. Raises NotOffered. `blocks`: an answer that names what
    stands nowhere is not sent, so neither is it offered."""
    text = _text(arguments.get("text"))
    if not text.strip():
        raise NotOffered("text is missing")
    link = _link(arguments.get("link"), told) if arguments.get("link") else None
    choices = () if link is not None else tuple(_choices(arguments.get("choices")))
    if link is None and not choices:
        raise NotOffered("choices are missing")
    if len(choices) > CHOICES_MAX:
        raise NotOffered(f"{CHOICES_MAX} choices are the most")
    if blocks:
        titles = [link.title] if link else [f"{c.title}\n{c.description}" for c in choices]
        foreign = [one for part in (text, *titles) for one in foreign_amounts(part, told)]
        foreign += [one.text for title in titles for one in checked(title, told, "").findings]
        if foreign:
            raise NotOffered(f"this stands nowhere: {', '.join(dict.fromkeys(foreign))}")
    return text, Offer(choices, link)


def _text(given: Any) -> str:
    return storable(given).translate(_ROUND) if isinstance(given, str) else ""


def _line(given: Any) -> str:
    return head(" ".join(_text(given).split()), TITLE_UNITS)


def _choices(given: Any) -> Iterator[Choice]:
    for one in given if isinstance(given, list) else ():
        if isinstance(one, dict):
            choice = Choice(_line(one.get("title")), _line(one.get("description")))
        else:
            choice = Choice(_line(str(one) if isinstance(one, int) else one))
        if choice.title:
            yield choice


def _link(given: Any, told: Told) -> Link:
    if not isinstance(given, dict):
        raise NotOffered("link is an object with title and url")
    title, url = _line(given.get("title")), str(given.get("url") or "").strip()
    if not title or len(url) > URL_CHARS or not url.startswith(("https://", "http://")):
        raise NotOffered("a link has a title, and a url with https://")
    ways = ways_in(url)
    if len(ways) != 1 or (ways[0].start, ways[0].end) != (0, len(url)) or not told.leads(ways[0]):
        raise NotOffered("this link stands nowhere: take one that you were told, as it is")
    return Link(title, url)
