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

from handlers.agent.citing import KB_CITED, SAYS_NOTHING
from handlers.agent.events import EVENT, event_text
from handlers.agent.knowledge import NotReady, Searched
from handlers.agent.needs_human import needs_human, request_for
from handlers.agent.powers import HAND_OVER
from handlers.agent.prompt import LATE, Briefing, Row
from handlers.agent.tools import ALREADY, PENDING, REQUEST, Toolbox
from handlers.agent.wishes import accepts, asks_open_now, wants_human
from handlers.fixed.texts import Kind
from handlers.rules.cutting import units
from handlers.rules.reply import sentences

OFFLINE = "offline"  # the value of OPENAI_MODEL
# Tuned on the phrasings in tests/agent/test_offline.py: below the bar an answer is a guess, and
# within the margin two rows answer different questions about equally well.
OFFLINE_BAR = 0.22
OFFLINE_MARGIN = 0.03
LOOKED_AT = 6  # rows
LONG_UNITS = 200
LAST_SENTENCES = 3  # of a long message, each asked by itself
CALLBACK = "callback"  # type of a request for a person, where none can take over


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
        lines = [
            m.text for m in turn if isinstance(m, HumanMessage) and not m.text.startswith(LATE)
        ]
        wishes = [text for text in lines if _wants_person(text, messages, turn, briefing)]
        asks_open = [text for text in lines if briefing.opening and asks_open_now(text)]
        asked = [text for text in lines if text not in (*wishes, *asks_open)]
        results = {m.name: m.text for m in turn if isinstance(m, ToolMessage)}
        happened = [m.text for m in turn if isinstance(m, ToolMessage) and m.name == EVENT]
        told = [text for event in happened if (text := event_text(event, voice))]
        rows = await offline_rows(asked, tools)
        if asked and not rows and not tools.knowledge.complete:
            raise NotReady  # what nobody could look for may be there
        delegated = [row for row in rows if needs_human(row)]
        if may_call and not results.keys() & {REQUEST, HAND_OVER}:
            calls = _calls(delegated, asked, wishes, _before(messages, turn), tools)
            if calls:
                return AIMessage("", tool_calls=calls)
        said = [*told, *(row.answer for row in rows)]
        if asks_open and briefing.opening is not None:
            kind = Kind.OPEN_NOW if briefing.opening.open_now else Kind.CLOSED_NOW
            said.append(voice.says(kind, hours=briefing.opening.spelt))
        if REQUEST in results:
            kept = results[REQUEST] in (PENDING, ALREADY)
            said.append(voice.says(Kind.REQUEST_KEPT if kept else Kind.REQUEST_REFUSED))
        if HAND_OVER in results:
            said.append(voice.says(Kind.HANDOVER))
        elif wishes and REQUEST not in results:
            said.append(voice.says(Kind.NOBODY))
        can_call = tools.powers.hands_over or tools.requests_actions
        unknown = Kind.NO_INFORMATION if can_call else Kind.NO_ANSWER
        text = "\n\n".join(dict.fromkeys(said)) or voice.says(unknown)
        told_of = {KB_CITED: [row.id for row in rows], SAYS_NOTHING: bool(asked) and not said}
        return AIMessage(text, response_metadata=told_of)


def _wants_person(
    text: str, messages: Sequence[AnyMessage], turn: Sequence[AnyMessage], briefing: Briefing
) -> bool:
    place = len(messages) - len(turn) - 1
    offered = messages[place].text if place >= 0 else None
    return wants_human(text) or accepts(text, offered, briefing.voice.own)


def _before(messages: Sequence[AnyMessage], turn: Sequence[AnyMessage]) -> list[str]:
    """What the customer asked last, before the answer that offered a colleague."""
    earlier = messages[: len(messages) - len(turn)]
    return [m.text for m in of_this_turn(earlier[:-1]) if isinstance(m, HumanMessage)]


def _calls(
    delegated: Sequence[Row],
    asked: Sequence[str],
    wishes: Sequence[str],
    before: Sequence[str],
    tools: Toolbox,
) -> list[ToolCall]:
    """A person is called, or else asked, or else there is none."""
    calls = [(REQUEST, request_for(row, asked)) for row in delegated if tools.requests_actions]
    if wishes:
        details = " / ".join((*before, *wishes))
        if tools.powers.hands_over:
            calls.append((HAND_OVER, {"reason": details}))
        elif tools.requests_actions:
            calls.append((REQUEST, {"type": CALLBACK, "details": details}))
    return [ToolCall(name=name, args=args, id=f"call_{uuid4().hex}") for name, args in calls]


def of_this_turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """What came after the last answer; events and calls of tools are no answers."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage) and not message.tool_calls:
            return messages[place + 1 :]
    return messages


async def offline_rows(asked: Sequence[str], knowledge: Searched) -> list[Row]:
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


async def _of_message(text: str, knowledge: Searched) -> Row | None:
    """Of a long one that as a whole finds nothing: by its last sentences, or else its first."""
    row = await _best(text, knowledge)
    if row is not None or units(text) <= LONG_UNITS:
        return row
    said = sentences(text)
    for sentence in (*said[: -LAST_SENTENCES - 1 : -1], said[0]):
        if (row := await _best(sentence, knowledge)) is not None:
            return row
    return None


async def _best(question: str, knowledge: Searched) -> Row | None:
    found = await knowledge.search(question, LOOKED_AT)
    # By words: what a row means is no reason to copy its answer.
    hits = sorted(found, key=lambda one: -one[1].share)[:2]
    if not hits or hits[0][1].share < OFFLINE_BAR:
        return None
    best = hits[0][0]
    if len(hits) > 1 and hits[0][1].share - hits[1][1].share < OFFLINE_MARGIN:
        rival = hits[1][0]
        if best.category is None or best.category != rival.category:
            return None
    return best
