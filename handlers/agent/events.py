"""What happened besides messages, as the model gets it. Pure.

An event is a call of a tool and its result, both made by us: no customer can write a tool's result,
every server that knows tools takes it, and it needs no system message in mid-conversation, which
some refuse.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage

from db.conversation_events import DECIDED, HANDED_BACK, NOBODY_CAME, Event
from handlers.checks.answer import bare
from handlers.fixed.texts import DETAILS_UNITS, Kind
from handlers.fixed.voice import Voice
from handlers.rules.cutting import both_ends

EVENT = "system_event"

_TODO = {
    DECIDED: "Tell the customer now what was decided. Promise nothing beyond it.",
    NOBODY_CAME: "You handed this conversation over, and nobody took it up in time. The customer is"
    " told so behind your answer: say nothing of that. Answer what they wrote meanwhile.",
    HANDED_BACK: "A person had this conversation and has handed it back to you. Answer what the"
    " customer wrote and the person did not answer.",
}


NOT_CERTAINLY = (
    "A person approved this, and the tool that does it did not do it, or it is not certain that it"
    " did (status `unknown`). Tell the customer exactly that, and that the business will see to it."
)


def was_done(data: Mapping[str, Any]) -> bool:
    """What was decided: it takes nothing more, or the tool that it took has done it."""
    tool = data.get("tool")
    return not isinstance(tool, Mapping) or tool.get("status") == "done"


def as_messages(events: Sequence[Event]) -> list[AnyMessage]:
    """Ids are stable, so nothing is taken in twice."""
    messages: list[AnyMessage] = []
    for event in events:
        call = f"event_{event.id}"
        content: dict[str, Any] = {"event": event.kind, **event.data}
        if event.kind in _TODO:
            content["to_do"] = _TODO[event.kind] if was_done(event.data) else NOT_CERTAINLY
        messages += [
            AIMessage(
                "",
                id=f"event-call-{event.id}",
                tool_calls=[ToolCall(name=EVENT, args={}, id=call)],
            ),
            ToolMessage(
                json.dumps(content, ensure_ascii=False),
                id=f"event-{event.id}",
                tool_call_id=call,
                name=EVENT,
            ),
        ]
    return messages


def event_text(content: str, voice: Voice) -> str | None:
    """Of an event's message, what a customer is told without a model; None: nothing."""
    event: dict[str, Any] = json.loads(content)
    return decided_text(event, voice) if event.get("event") == DECIDED else None


def decided_text(data: dict[str, Any], voice: Voice) -> str:
    kinds = {"approved": Kind.APPROVED, "denied": Kind.DENIED}
    kind = kinds.get(str(data.get("status")), Kind.EXPIRED)
    details = str(data.get("details", ""))
    if kind is not Kind.APPROVED:  # then they are a model's words that no person granted
        details = bare(details)
    text = voice.says(kind, details=both_ends(details, DETAILS_UNITS))
    if not was_done(data):
        text = f"{text} {voice.says(Kind.NOT_DONE)}"
    return f"{text} {data['response']}" if data.get("response") else text
