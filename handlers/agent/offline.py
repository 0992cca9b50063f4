"""The built-in answerer: the knowledge base word for word. No model, no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
)

from handlers.agent.events import EVENT, event_text
from handlers.agent.knowledge import Known, NotReady
from handlers.agent.prompt import LATE, Briefing, Row
from handlers.agent.tools import PENDING, REQUEST, Toolbox
from handlers.fixed.texts import Kind
from handlers.rules.cutting import units
from handlers.rules.reply import sentences

OFFLINE = "offline"  # the value of OPENAI_MODEL
# Tuned on the phrasings in tests/agent/test_offline.py: below the bar an answer is a guess, and
# within the margin two rows answer different questions about equally well.
OFFLINE_BAR = 0.22
OFFLINE_MARGIN = 0.03
LONG_UNITS = 200
LAST_SENTENCES = 3  # of a long message, each asked by itself
NEEDS_HUMAN = "needs_human"  # category of rows whose subject a person decides


@dataclass(frozen=True, slots=True)
class Offline:
    """Copies the stored answer, or says that there is none. No model, no network."""

    name: str = OFFLINE

    async def answer(
        self,
        briefing: Briefing,
        messages: Sequence[AnyMessage],
        tools: Toolbox,
        may_call: bool,
    ) -> AIMessage:
        turn, voice = of_this_turn(messages), briefing.voice
        asked = [
            m.text for m in turn if isinstance(m, HumanMessage) and not m.text.startswith(LATE)
        ]
        results = [m.text for m in turn if isinstance(m, ToolMessage) and m.name == REQUEST]
        happened = [m.text for m in turn if isinstance(m, ToolMessage) and m.name == EVENT]
        told = [text for event in happened if (text := event_text(event, voice))]
        rows = await offline_rows(asked, tools.knowledge)
        if asked and not rows and not tools.knowledge.complete:
            raise NotReady  # what nobody could look for may be there
        delegated = [row for row in rows if (row.category or "").casefold() == NEEDS_HUMAN]
        if delegated and tools.requests_actions and may_call and not results:
            wanted = " / ".join(asked)
            return AIMessage(
                "",
                tool_calls=[
                    ToolCall(
                        name=REQUEST,
                        args={
                            "type": row.question,
                            "details": wanted,
                            "context": {"kb_id": row.id},
                        },
                        id=f"call_{uuid4().hex}",
                    )
                    for row in delegated
                ],
            )
        said = [*told, *(row.answer for row in rows)]
        if results:
            kept = PENDING in results
            said.append(voice.says(Kind.REQUEST_KEPT if kept else Kind.REQUEST_REFUSED))
        text = "\n\n".join(dict.fromkeys(said)) or voice.says(Kind.NO_INFORMATION)
        return AIMessage(text, response_metadata={"kb_ids": [row.id for row in rows]})


def of_this_turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """What came after the last answer; events and calls of tools are no answers."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage) and not message.tool_calls:
            return messages[place + 1 :]
    return messages


async def offline_rows(asked: Sequence[str], knowledge: Known) -> list[Row]:
    """The rows that answer: for each line of the burst by itself, else for the burst as a whole."""
    found: list[Row] = []
    for line in asked:
        row = await _of_message(line, knowledge)
        if row is not None and row not in found:
            found.append(row)
    if not found and len(asked) > 1:
        row = await _best(" ".join(asked), knowledge)
        found = [row] if row is not None else []
    return found


async def _of_message(text: str, knowledge: Known) -> Row | None:
    """Of a long one that as a whole finds nothing: by its last sentences, or else its first."""
    row = await _best(text, knowledge)
    if row is not None or units(text) <= LONG_UNITS:
        return row
    said = sentences(text)
    for sentence in (*said[: -LAST_SENTENCES - 1 : -1], said[0]):
        if (row := await _best(sentence, knowledge)) is not None:
            return row
    return None


async def _best(question: str, knowledge: Known) -> Row | None:
    hits = await knowledge.search(question, 2)
    if not hits or hits[0][1].share < OFFLINE_BAR:
        return None
    best = hits[0][0]
    if len(hits) > 1 and hits[0][1].share - hits[1][1].share < OFFLINE_MARGIN:
        rival = hits[1][0]
        if best.category is None or best.category != rival.category:
            return None
    return best
