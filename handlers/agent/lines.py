"""What the lines that a customer wrote want, each after what was asked before. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from handlers.agent.courtesy import Heard, accepts, heard
from handlers.agent.follow_ups import follows, refers
from handlers.agent.prompt import Briefing
from handlers.agent.when_open import Asked, asked_open
from handlers.agent.wishes import wants_human

FORMER_MAX = 10  # lines before, among which is what a follow-up is about


@dataclass(frozen=True, slots=True)
class Line:
    text: str  # as it was written
    said: Heard
    wants_person: bool = False
    opening: Asked | None = None  # of the hours, which are known
    question: str = ""  # for the knowledge base; empty: none
    former: str | None = None  # the question before, where this one follows it


def lines_of(
    texts: Sequence[str], before: Sequence[str], offered: str | None, briefing: Briefing
) -> list[Line]:
    """`before`: what was written in earlier turns; `offered`: our last answer."""
    asked = [heard(text, briefing.chatbot_name).rest for text in before[-FORMER_MAX:]]
    lines = []
    for text in texts:
        line = _line(text, asked, offered, briefing)
        lines.append(line)
        asked.append(line.said.rest)
    return lines


def _line(text: str, asked: Sequence[str], offered: str | None, briefing: Briefing) -> Line:
    said = heard(text, briefing.chatbot_name)
    accepted = accepts(said, offered, briefing.voice.own)
    if not said.rest or wants_human(text):
        return Line(text, said, wants_person=accepted or wants_human(text))
    former = next((one for one in reversed(asked) if one and not refers(one)), None)
    opening = asked_open(said.rest, former) if briefing.opening is not None else None
    return Line(
        text,
        said,
        wants_person=accepted,
        opening=opening,
        question=said.rest,
        former=former if follows(said.rest) else None,
    )
