"""What customers write besides questions: hello, thanks, goodbye, yes and no. Pure; courtesy.toml
has the words."""

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import regex

from handlers.agent.phrases import Phrases
from handlers.fixed.texts import Kind, is_text

GREETING: Final = "greeting"
THANKS: Final = "thanks"
GOODBYE: Final = "goodbye"
AGREED: Final = "agreed"
YES: Final = "yes"
NO: Final = "no"
PARTS_MAX = 12  # of a text that are looked at
QUOTE = regex.compile(r"\A\[in reply to [^\]]*\]\n")  # ours, before what answers a message
_SPOKEN = regex.compile(r"(\A(?:\[in reply to [^\]]*\]\n)?)\[(?:voice message|audio file)\] ")
_PARTS = regex.compile(
    r"[^.!?,;:\n()\u2026\u2013\u2014\u00a1\u00bf\u3001\u3002\uff01\uff0c\uff1f\u060c\u061f\u0964]+"
)


@dataclass(frozen=True, slots=True)
class Heard:
    kinds: frozenset[str]  # of its courtesy
    rest: str  # what else it says, as it is written; empty: nothing


def heard(text: str, name: str = "") -> Heard:
    """`name`: the bot's, by which it may be greeted."""
    text = _SPOKEN.sub(r"\1", text)
    said = QUOTE.sub("", text)
    parts = [part for part in _PARTS.finditer(said) if part[0].strip()]
    if len(parts) > PARTS_MAX:
        return Heard(frozenset(), text)
    read = [_known().read(part[0], name) for part in parts]
    if all(kinds is None for kinds in read):
        return Heard(frozenset(), text)
    begins = [*(part.start() for part in parts), len(said)]
    # What stands between two parts belongs to the one before.
    left = "".join(said[begins[n] : begins[n + 1]] for n, of in enumerate(read) if of is None)
    return Heard(frozenset(kind for of in read if of is not None for kind in of), left.strip())


def accepts(said: Heard, offered: str | None, own_texts: object) -> bool:
    """Whether it says yes to the last answer, which offered a colleague."""
    if offered is None or not is_text(Kind.NO_INFORMATION, offered, own_texts):
        return False
    return YES in said.kinds and not said.kinds & {NO, GOODBYE}


def returned(kinds: frozenset[str]) -> Kind | None:
    """What is said to nothing but courtesy."""
    if GOODBYE in kinds:
        return Kind.GOODBYE
    if NO in kinds:
        return Kind.AGREED
    if THANKS in kinds:
        return Kind.THANKED
    if GREETING in kinds:
        return Kind.GREETING
    return Kind.AGREED if kinds else None


@cache
def _known() -> Phrases:
    told = Path(__file__).parent / "courtesy.toml"
    return Phrases(tomllib.loads(told.read_text(encoding="utf-8")))
