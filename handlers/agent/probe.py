"""One tiny question that has everything in it that a server may be unable to take."""

from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)

from handlers.agent.answerer import NoAnswer
from handlers.agent.model import UNSAID, Model

MAX_TOKENS = 16

_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "parameters": {"type": "object", "properties": {}}},
}
_CONVERSATION: list[BaseMessage] = [
    SystemMessage("Answer with one word."),
    AIMessage("Hello."),
    HumanMessage("Hi."),
    HumanMessage("Are you open?"),
    AIMessage("", tool_calls=[ToolCall(name="look", args={}, id=f"event_{n}") for n in (1, 2)]),
    *(ToolMessage("open", tool_call_id=f"event_{n}", name="look") for n in (1, 2)),
    HumanMessage("Yes or no?"),
]


async def probe(model: Model) -> NoAnswer | None:
    """What was found out is in `model.concessions`. A model that says nothing within so few tokens
    (it thinks first) answers all the same."""
    body = model.client.body(_CONVERSATION, tools=[_TOOL], max_completion_tokens=MAX_TOKENS)
    try:
        await model.ask(body, may_call=True)
    except NoAnswer as none:
        return None if none.word in UNSAID else none
    return None
