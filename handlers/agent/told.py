"""What a model is told, within its budget: system prompt, history, how things are now, this turn.
Pure.

Whatever changes from one minute to the next stands behind the history, so that the beginning of a
prompt is the one of the turn before.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import (
    AnyMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from handlers.agent.answerer import CONTEXT_LENGTH, Kind, NoAnswer
from handlers.agent.prompt import Briefing, situation
from handlers.agent.timeline import timed
from handlers.agent.tokens import of_message, of_messages, of_schemas
from handlers.agent.tools import SEARCH
from handlers.agent.window import cut, suffix, valid_start

LEAST_TOKENS = 30  # of a message that is cut: less of it says nothing
NOTE_TOKENS = 20  # of the time in front of a history


@dataclass(frozen=True, slots=True)
class Told:
    messages: list[BaseMessage]
    tokens: int  # with the tools, as far as we can know


def tell(
    briefing: Briefing,
    messages: Sequence[AnyMessage],
    schemas: Sequence[dict[str, Any]],
    scale: float,
) -> Told:
    """`scale`: tokens that the model's server counts for one of ours. Raises NoAnswer when even
    without a history it is too much."""
    around: list[AnyMessage] = [
        SystemMessage(briefing.system_prompt),
        HumanMessage(situation(briefing)),
    ]
    tools = of_schemas(schemas)
    room = int(briefing.budget.input_tokens / scale) - of_messages(around) - tools
    history, zone = briefing.history, briefing.timezone
    read = list(timed(messages, history, zone))
    fresh = fitted(read[history:], room)
    start = suffix(
        [of_message(message) for message in read[:history]],
        room - of_messages(fresh) - NOTE_TOKENS,
    )
    if start:
        start = valid_start(read[:history], start, history)
        read[start : start + 1] = timed(messages[start : start + 1], 1, zone)
    told = [around[0], *read[start:history], around[1], *fresh]
    return Told([*told], of_messages(told) + tools)


def fitted(fresh: Sequence[AnyMessage], room: int) -> Sequence[AnyMessage]:
    """This turn's messages, all of them: the longest are cut, as far as it takes."""
    sizes = [of_message(message) for message in fresh]
    if sum(sizes) <= room:
        return fresh
    cap = _level(
        [n for n, m in zip(sizes, fresh, strict=True) if _can_be_cut(m)],
        room - sum(n for n, m in zip(sizes, fresh, strict=True) if not _can_be_cut(m)),
    )
    while cap >= LEAST_TOKENS:
        shorter = [_cut(message, cap) if _can_be_cut(message) else message for message in fresh]
        if of_messages(shorter) <= room:
            return shorter
        cap = cap * 9 // 10
    raise NoAnswer(CONTEXT_LENGTH, Kind.NEVER)


def _can_be_cut(message: AnyMessage) -> bool:
    if isinstance(message, ToolMessage):
        return message.name == SEARCH
    return isinstance(message, HumanMessage)


def _cut(message: AnyMessage, room: int) -> AnyMessage:
    size = of_message(message)
    if size <= room:
        return message
    around = of_message(HumanMessage(""))
    return message.model_copy(update={"content": cut(message.text, room - around)})


def _level(sizes: Sequence[int], room: int) -> int:
    """How much each may have at most, so that all together have so much."""
    left = len(sizes)
    for size in sorted(sizes):
        if size * left > room:
            return max(0, room) // left
        room -= size
        left -= 1
    return max(sizes, default=0)
