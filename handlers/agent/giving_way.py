"""What is left out of a prompt that is longer than a model can read, when its history is gone
already."""

from collections.abc import Sequence
from dataclasses import replace

from langchain_core.messages import AnyMessage, HumanMessage, ToolMessage

from handlers.agent.knowledge import Known
from handlers.agent.prompt import Briefing
from handlers.agent.tools import SEARCH, SEARCH_ROWS

RESULT_CHARS = 2_000  # of what a search found, and of the rows in the prompt
SHORTENED = " ... (shortened)"


async def few_rows(
    briefing: Briefing, knowledge: Known, messages: Sequence[AnyMessage]
) -> Briefing:
    """With the rows that the customer's last messages ask for, instead of all."""
    if sum(len(row.question) + len(row.answer) for row in briefing.knowledge) <= RESULT_CHARS:
        return briefing
    asked = [message.text for message in messages if isinstance(message, HumanMessage)]
    room, rows = RESULT_CHARS, []
    for row, _ in await knowledge.search("\n".join(reversed(asked)), SEARCH_ROWS):
        room -= len(row.question) + len(row.answer)
        if room >= 0:
            rows.append(row)
    return replace(briefing, knowledge=tuple(rows))


def short_results(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    return [
        message.model_copy(update={"content": message.text[:RESULT_CHARS] + SHORTENED})
        if isinstance(message, ToolMessage)
        and message.name == SEARCH
        and len(message.text) > RESULT_CHARS
        else message
        for message in messages
    ]
