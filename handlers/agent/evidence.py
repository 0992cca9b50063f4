"""What a run was told, as its answer is checked against it. Pure.

A model's own words are no source: neither what it wrote in this run, nor what tools give back of
it, nor what it requested and nobody approved, nor what the customer is called.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from db.conversation_events import DECIDED, Event
from db.messages import TurnMessage
from handlers.agent.events import EVENT
from handlers.agent.offering import OFFER
from handlers.agent.past import ECHOED
from handlers.agent.powers import HAND_OVER
from handlers.agent.prompt import Briefing
from handlers.agent.tools import REQUEST, SEARCH
from handlers.checks.claims import APPROVED, effects_in, named_in
from handlers.checks.told import Told

# Tools whose results may hold what the model gave them.
ECHOES = frozenset({REQUEST, HAND_OVER, OFFER, "remember_fact"})
_ROW_ID = re.compile(r'"id": \d+')  # a number, and no amount


def told(
    briefing: Briefing, messages: Sequence[AnyMessage], begun: int, did: frozenset[str]
) -> Told:
    """`begun`: so many of the messages were there before the model said a word; `did`: effects."""
    wrote = tuple(message.text for message in messages if isinstance(message, HumanMessage))
    return Told((*_instructed(briefing), *_said(messages, begun)), did, wrote)


def _instructed(briefing: Briefing) -> Iterator[str]:
    for row in briefing.knowledge:
        yield row.question
        yield row.answer
        yield from row.alternatives
    if briefing.beyond is not None:
        yield from briefing.beyond.samples
    for file in briefing.files:
        yield file.title
    yield briefing.chatbot_name
    yield briefing.general_instructions or ""
    yield from briefing.conversation_instructions


def _said(messages: Sequence[AnyMessage], begun: int) -> Iterator[str]:
    for n, message in enumerate(messages):
        if isinstance(message, AIMessage):
            if n < begun and not _is_call(message):
                yield _own_words(message)
        elif isinstance(message, ToolMessage):
            yield from _found(message)


def _own_words(message: AIMessage) -> str:
    """Without what it repeats of what a customer sent."""
    text = str(message.text)
    for one in message.additional_kwargs.get(ECHOED, ()):
        text = text.replace(one, " ")
    return text


def _is_call(message: AIMessage) -> bool:
    """What stands beside a call nobody has heard, in whatever turn it was."""
    return bool(message.tool_calls or message.invalid_tool_calls)


def _found(result: ToolMessage) -> Iterator[str]:
    """What a tool tells that the model did not give it: nothing of an error, which quotes, and of
    an event of a request only what a person said to it."""
    if result.name in ECHOES or result.text.startswith("error:"):
        return
    if result.name == EVENT:
        yield from _happened(result.text)
    elif result.name == SEARCH:
        yield _ROW_ID.sub("", result.text)
    else:
        yield result.text


def _happened(content: str) -> Iterator[str]:
    event: Any = json.loads(content)
    if event.get("status") == "approved":
        yield str(event.get("details") or "")
    yield str(event.get("response") or "")


def effects_told(
    briefing: Briefing, history: Sequence[TurnMessage], events: Sequence[Event]
) -> frozenset[str]:
    """What the business's own people say was done: by a decision, an instruction, a message."""
    people = [row.content_text or "" for row in history if row.is_from_human]
    said = (*briefing.conversation_instructions, *people)
    found = {effect for text in said for effect in effects_in(text)}
    found |= {str(row.metadata["effect"]) for row in history if _tells_of_effect(row)}
    for event in events:
        if event.kind == DECIDED and event.data.get("status") == "approved":
            request = f"{event.data.get('request_type', '')} {event.data.get('details', '')}"
            found |= {APPROVED, *named_in(request)}
    return frozenset(found)


def _tells_of_effect(row: TurnMessage) -> bool:
    """By code, of what a row says."""
    return row.direction == "outbound" and "effect" in row.metadata
