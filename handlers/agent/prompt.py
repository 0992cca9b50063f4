"""The system prompt. Pure.

What stays the same for a chatbot comes first and in a fixed order (providers cache a prompt's
beginning); what changes with the conversation or the day comes last.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from handlers.fixed.voice import Voice
from handlers.rules.cutting import both_ends

# Of one message, as the model and those who decide a request see it; the record has it whole. As
# long as WhatsApp lets a text be.
SHOWN_UNITS = 4_096
LEFT_OUT = "\n[\u2026 the middle of this message is left out here \u2026]\n"
# Before what a customer wrote so long ago that nobody answers it any more.
LATE = "(arrived too late to be answered) "


@dataclass(frozen=True, slots=True)
class Row:
    """Of the knowledge base."""

    id: int
    category: str | None
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Beyond:
    """A knowledge base that is too big for the prompt."""

    rows: int
    samples: tuple[str, ...]  # questions of it: they show its language and subject


@dataclass(frozen=True, slots=True)
class OpenAction:
    """A request that nobody has decided yet."""

    id: int
    request_type: str
    details: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What one run of the agent is told."""

    chatbot_name: str
    general_instructions: str | None
    knowledge: tuple[Row, ...]  # all of it, or nothing and `beyond`
    conversation_instructions: tuple[str, ...]  # active ones only
    customer_name: str | None
    now: datetime
    timezone: str
    beyond: Beyond | None = None
    actions: bool = False  # the plan lets the bot ask a person
    open_actions: tuple[OpenAction, ...] = ()
    voice: Voice = field(default_factory=Voice)  # of what is said without a model


@cache
def _base() -> str:
    return (Path(__file__).parent / "prompt.md").read_text().strip()


ACTIONS = (
    "What you may not decide yourself (money back, discounts, exceptions, what the instructions"
    " reserve for a person), request with the tool request_human_action, and tell the customer"
    " that a person will decide. Never say or hint that it is granted before a system event says"
    " so. What is requested already is not requested again."
)
BEYOND = (
    "The knowledge base has {rows} rows, too many to show here. Before you answer a question about"
    " the business, search it with the tool search_knowledge_base, in its language. Some of its"
    " questions:"
)


def shown(text: str) -> str:
    """With both its ends: the question of a long message stands in one of them."""
    return both_ends(text, SHOWN_UNITS, LEFT_OUT)


def system_prompt(briefing: Briefing) -> str:
    local = briefing.now.astimezone(ZoneInfo(briefing.timezone))
    parts = [_base(), f"You are: {_quoted(briefing.chatbot_name)}"]
    if briefing.general_instructions:
        parts.append(f"<instructions>\n{briefing.general_instructions.strip()}\n</instructions>")
    if briefing.actions:
        parts.append(ACTIONS)
    if briefing.beyond is None:
        parts.append(f"<knowledge_base>\n{_rows(briefing.knowledge)}\n</knowledge_base>")
    else:
        samples = "\n".join(f"- {_quoted(text)}" for text in briefing.beyond.samples)
        parts.append(f"{BEYOND.format(rows=briefing.beyond.rows)}\n{samples}")
    if briefing.conversation_instructions:
        lines = "\n".join(f"- {text.strip()}" for text in briefing.conversation_instructions)
        parts.append(f"<for_this_conversation>\n{lines}\n</for_this_conversation>")
    if briefing.open_actions:
        lines = "\n".join(
            _json({"action": a.id, "type": a.request_type, "details": a.details})
            for a in briefing.open_actions
        )
        parts.append(
            "Requested for this customer, and not decided yet:\n"
            f"<open_requests>\n{lines}\n</open_requests>"
        )
    if briefing.customer_name:
        parts.append(f"The customer calls themselves {_quoted(briefing.customer_name)}.")
    parts.append(f"It is {local:%A, %Y-%m-%d %H:%M} ({briefing.timezone}).")
    return "\n\n".join(parts)


def _rows(rows: Sequence[Row]) -> str:
    """A JSON object a line; nothing in a row can close the tag around it."""
    return "\n".join(
        _json({"id": r.id, "category": r.category, "question": r.question, "answer": r.answer})
        for r in rows
    )


def _quoted(text: str) -> str:
    return _json(text)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
