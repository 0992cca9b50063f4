"""Which of a thread's messages are kept, and what of them. Pure.

A thread grows until it is over its budget and then loses its oldest third at once, so that from one
turn to the next the beginning of a prompt stays the same.
"""

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from handlers.agent.prompt import LEFT_OUT
from handlers.agent.tokens import letters, of_message, tokens
from handlers.agent.tools import SEARCH
from handlers.rules.cutting import both_ends

# Beside the budget in tokens: CPU and the checkpoint's size follow the number of messages.
HISTORY_MESSAGES = 60
KEPT_MESSAGES = 40  # once there are more
NOT_KEPT = "(found in an earlier turn, not kept: search again)"
LONG_SHARE = 4  # no message of the history has more than a fourth of it


def windowed(messages: Sequence[AnyMessage], fresh: int, room: int) -> list[AnyMessage]:
    """The last messages, with so many tokens at most before those of this turn, which are kept in
    any case. What earlier searches found is left out: it may have changed, and it is long."""
    first_fresh = len(messages) - fresh
    past = [_shortened(message, room // LONG_SHARE) for message in messages[:first_fresh]]
    sizes = [of_message(message) for message in past]
    both = [*past, *messages[first_fresh:]]
    if sum(sizes) <= room and len(past) <= HISTORY_MESSAGES:
        return both
    start = max(suffix(sizes, room * 2 // 3), len(past) - KEPT_MESSAGES)
    return both[valid_start(both, start, first_fresh) :]


def suffix(sizes: Sequence[int], room: int) -> int:
    """Where the longest end begins that fits."""
    start = len(sizes)
    while start and sizes[start - 1] <= room:
        start -= 1
        room -= sizes[start]
    return start


def valid_start(messages: Sequence[AnyMessage], start: int, first_fresh: int) -> int:
    """From there on, with one of the customer's, or else with no tool's result: a result without
    its call makes a thread invalid."""
    places = range(start, min(first_fresh + 1, len(messages)))
    begin = next((n for n in places if isinstance(messages[n], HumanMessage)), None)
    if begin is None:
        begin = next((n for n in places if not isinstance(messages[n], ToolMessage)), first_fresh)
    return begin


def cut(text: str, room: int) -> str:
    """To so many tokens, with both its ends."""
    if tokens(text) <= room:
        return text
    return both_ends(text, letters(text, room), LEFT_OUT)


def _shortened(message: AnyMessage, room: int) -> AnyMessage:
    if isinstance(message, ToolMessage):
        return (
            message.model_copy(update={"content": NOT_KEPT}) if message.name == SEARCH else message
        )
    if isinstance(message, AIMessage) and message.tool_calls:
        return message
    text = message.text
    # A token is a letter at least, so most need not be looked at closely.
    if len(text) <= room or (short := cut(text, room)) == text:
        return message
    return message.model_copy(update={"content": short})
