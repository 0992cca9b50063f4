"""The system prompt. Pure.

What stays the same for a chatbot comes first and in a fixed order (providers cache a prompt's
beginning); what changes with the conversation or the day comes last.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo


@dataclass(frozen=True, slots=True)
class Row:
    """Of the knowledge base."""

    id: int
    category: str | None
    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """What one run of the agent is told."""

    chatbot_name: str
    general_instructions: str | None
    knowledge: tuple[Row, ...]
    conversation_instructions: tuple[str, ...]  # active ones only
    customer_name: str | None
    now: datetime
    timezone: str


@cache
def _base() -> str:
    return (Path(__file__).parent / "prompt.md").read_text().strip()


def system_prompt(briefing: Briefing) -> str:
    local = briefing.now.astimezone(ZoneInfo(briefing.timezone))
    parts = [_base(), f"You are: {_quoted(briefing.chatbot_name)}"]
    if briefing.general_instructions:
        parts.append(f"<instructions>\n{briefing.general_instructions.strip()}\n</instructions>")
    parts.append(f"<knowledge_base>\n{_rows(briefing.knowledge)}\n</knowledge_base>")
    if briefing.conversation_instructions:
        lines = "\n".join(f"- {text.strip()}" for text in briefing.conversation_instructions)
        parts.append(f"<for_this_conversation>\n{lines}\n</for_this_conversation>")
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
