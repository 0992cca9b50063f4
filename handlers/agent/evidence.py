"""What a run was told, as its answer is checked against it. Pure.

A model's own words are no source: neither what it wrote in this run, nor what tools give back of
it, nor what it requested and nobody approved, nor what the customer is called.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from db.conversation_events import DECIDED, Event
from db.messages import TurnMessage
from handlers.agent.events import EVENT, was_done
from handlers.agent.offering import OFFER
from handlers.agent.own_tools import TOOL_CALLED
from handlers.agent.past import ECHOED
from handlers.agent.powers import HAND_OVER
from handlers.agent.prompt import Briefing
from handlers.agent.tools import REQUEST, SEARCH
from handlers.checks.claims import APPROVED, effects_in, named_in
from handlers.checks.told import Told
from handlers.rules.echoes import without_echoes
from handlers.rules.orders import numbers_in
from handlers.rules.tools import PREFIX

# Tools whose results may hold what the model gave them.
ECHOES = frozenset({REQUEST, HAND_OVER, OFFER, "remember_fact"})
_ROW_ID = re.compile(r'"id": \d+')  # a number, and no amount


Orders = Mapping[str, frozenset[str]]  # by their numbers, what is known to have become of them


def told(
    briefing: Briefing,
    messages: Sequence[AnyMessage],
    begun: int,
    did: frozenset[str],
    orders: Orders,
) -> Told:
    """`begun`: so many of the messages were there before the model said a word; `did`: effects."""
    wrote = tuple(message.text for message in messages if isinstance(message, HumanMessage))
    return Told((*_instructed(briefing), *_said(messages, begun)), did, wrote, orders)


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
    given: dict[str | None, dict[str, Any]] = {}  # what the model gave its calls
    for n, message in enumerate(messages):
        if isinstance(message, AIMessage):
            given |= {call["id"]: call["args"] for call in message.tool_calls}
            if n < begun and not _is_call(message):
                yield _own_words(message)
        elif isinstance(message, ToolMessage):
            yield from _found(message, given.get(message.tool_call_id, {}))


def _own_words(message: AIMessage) -> str:
    """Without what it repeats of what a customer sent."""
    text = str(message.text)
    for one in message.additional_kwargs.get(ECHOED, ()):
        text = text.replace(one, " ")
    return text


def _is_call(message: AIMessage) -> bool:
    """What stands beside a call nobody has heard, in whatever turn it was."""
    return bool(message.tool_calls or message.invalid_tool_calls)


def _found(result: ToolMessage, given: dict[str, Any]) -> Iterator[str]:
    """What a tool tells that the model did not give it: nothing of an error, which quotes, and of
    an event of a request only what a person said to it."""
    if result.name in ECHOES or result.text.startswith("error:"):
        return
    if result.name == EVENT:
        yield from _happened(result.text)
    elif result.name == SEARCH:
        yield _ROW_ID.sub("", result.text)
    elif str(result.name).startswith(PREFIX):  # a tenant's own may say again what it was given
        yield without_echoes(result.text, given)
    else:
        yield result.text


def _happened(content: str) -> Iterator[str]:
    event: Any = json.loads(content)
    tool = event.get("tool")
    if event.get("status") == "approved":
        yield str(event.get("details") or "")
        if isinstance(tool, dict) and tool.get("status") == "done":
            yield str(tool.get("result") or "")
    if event.get("event") == TOOL_CALLED and event.get("status") == "done":
        yield without_echoes(str(event.get("result") or ""), event.get("arguments") or {})
    yield str(event.get("response") or "")


def effects_told(
    briefing: Briefing, history: Sequence[TurnMessage], events: Sequence[Event]
) -> frozenset[str]:
    """What the business's own people say was done: by a decision, an instruction, a message."""
    people = [row.content_text or "" for row in history if row.is_from_human]
    said = (*briefing.conversation_instructions, *people)
    found = {effect for text in said for effect in effects_in(text)}
    for event in events:
        is_approved = event.data.get("status") == "approved" and was_done(event.data)
        if event.kind == DECIDED and is_approved:
            request = f"{event.data.get('request_type', '')} {event.data.get('details', '')}"
            found |= {APPROVED, *named_in(request)}
    return frozenset(found)


def orders_told(history: Sequence[TurnMessage]) -> Orders:
    """By code, with their numbers, of what a row said then."""
    found: dict[str, frozenset[str]] = {}
    for row in history:
        if row.direction == "outbound" and "effect" in row.metadata:
            for number in numbers_in(row.content_text or ""):
                found[number] = found.get(number, frozenset()) | {str(row.metadata["effect"])}
    return found
