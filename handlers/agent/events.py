"""What happened besides messages, as the model gets it. Pure.

An event is a call of a tool and its result, both made by us: no customer can write a tool's result,
every server that knows tools takes it, and it needs no system message in mid-conversation, which
some refuse.
"""

import json
from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage

from db.conversation_events import DECIDED, HANDED_BACK, Event

EVENT = "system_event"

QUOTED_CHARS = 200  # of a request, when it is named to the customer

_TODO = {
    DECIDED: "Tell the customer now what was decided. Promise nothing beyond it.",
    HANDED_BACK: "A person had this conversation and has handed it back to you. Answer what the"
    " customer wrote and the person did not answer.",
}


def as_messages(events: Sequence[Event]) -> list[AnyMessage]:
    """Ids are stable, so nothing is taken in twice."""
    messages: list[AnyMessage] = []
    for event in events:
        call = f"event_{event.id}"
        content: dict[str, Any] = {"event": event.kind, **event.data}
        if event.kind in _TODO:
            content["to_do"] = _TODO[event.kind]
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


def event_text(content: str) -> str | None:
    """Of an event's message, what a customer is told without a model; None: nothing."""
    event: dict[str, Any] = json.loads(content)
    return decided_text(event) if event.get("event") == DECIDED else None


def decided_text(data: dict[str, Any]) -> str:
    details = str(data.get("details", ""))
    if len(details) > QUOTED_CHARS:
        details = details[:QUOTED_CHARS].rstrip() + "..."
    text = {
        "approved": f'Your request "{details}" has been approved.',
        "denied": f'Your request "{details}" has been declined.',
    }.get(
        str(data.get("status")),
        f'Nobody has decided about your request "{details}" in time. Please ask again if you'
        " still need it.",
    )
    return f"{text} {data['response']}" if data.get("response") else text
