"""What a webhook may want to hear: names of events, `family.*`, or `*`. Pure."""

import difflib
from collections.abc import Sequence

from handlers.deliveries.catalogue import CATALOGUE

EVENTS_MAX = 50  # of one webhook
NAME_CHARS = 50  # the column of what is kept


def names() -> list[str]:
    return sorted(CATALOGUE)


def wishes() -> list[str]:
    """All that a webhook may name."""
    known = names()
    return ["*", *sorted({f"{name.partition('.')[0]}.*" for name in known if "." in name}), *known]


def unknown(given: str, known: Sequence[str]) -> str | None:
    """What is wrong with one, in words."""
    if given in known:
        return None
    near = difflib.get_close_matches(given[:NAME_CHARS], known, n=3)
    meant = f"is it {' or '.join(near)}?" if near else "they are listed at /v1/events/catalogue"
    return f"no event has this name: {meant}"


def misfits(given: Sequence[str]) -> list[tuple[int | None, str]]:
    """All that is wrong with a list, each with its place; without one it is of the whole."""
    known = wishes()
    found: list[tuple[int | None, str]] = []
    if not given:
        found.append((None, 'empty: name events, or ["*"] for all'))
    if len(given) > EVENTS_MAX:
        found.append((None, f"has {len(given)} entries, {EVENTS_MAX} at most"))
    for place, one in enumerate(given[:EVENTS_MAX]):
        if one in given[:place]:
            found.append((place, "given more than once"))
        elif (detail := unknown(one, known)) is not None:
            found.append((place, detail))
    return found
