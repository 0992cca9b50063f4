"""The built-in answerer: the knowledge base word for word. No model, no network."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
)

from handlers.agent.citing import KB_CITED, SAYS_NOTHING
from handlers.agent.courtesy import returned
from handlers.agent.events import EVENT, event_text
from handlers.agent.knowledge import NotReady
from handlers.agent.lines import Line, lines_of
from handlers.agent.lookup import rows_for
from handlers.agent.needs_human import needs_human, request_for
from handlers.agent.offering import OFFER
from handlers.agent.offline_shop import Shopping, called, shopping
from handlers.agent.past import NOTED
from handlers.agent.powers import HAND_OVER
from handlers.agent.prompt import LATE, Briefing, Row
from handlers.agent.selling import QUOTE
from handlers.agent.tools import ALREADY, PENDING, REQUEST, Toolbox
from handlers.agent.when_open import Moment, told_of_days, told_of_now, told_of_week
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice

OFFLINE = "offline"  # the value of OPENAI_MODEL
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
        earlier = messages[: len(messages) - len(turn)]
        lines = lines_of(
            _written(turn), _written(earlier), earlier[-1].text if earlier else None, briefing
        )
        shop = shopping(lines, _written(earlier), turn) if tools.powers.selling else Shopping()
        if may_call and shop.searches:
            return AIMessage("", tool_calls=shop.searches)
        wishes = [line.text for line in lines if line.wants_person]
        asked = [line for line in lines if line.question and not _in_hours(line)]
        asked = [line for line in asked if line not in shop.sales]
        results = {m.name: m.text for m in turn if isinstance(m, ToolMessage)}
        answered = await rows_for(asked, tools)
        rows = list(dict.fromkeys(row for _, row in answered))
        only_rows = [line for line in asked if line.opening is None]
        if only_rows and not rows and not tools.knowledge.complete:
            raise NotReady  # what nobody could look for may be there
        delegated = [row for row in rows if needs_human(row)]
        if may_call and not results.keys() & {REQUEST, HAND_OVER, QUOTE}:
            texts = [line.text for line in asked]
            calls = _calls(delegated, texts, wishes, _before(messages, turn), tools)
            calls += shop.quotes
            if calls:
                return AIMessage("", tool_calls=calls)
        said = [*_happened(turn, voice), *(row.answer for row in rows)]
        said += _hours(lines, {line for line, _ in answered}, briefing)
        said += _of_tools(results, bool(wishes), voice)
        said += shop.says(results, voice)
        kinds = frozenset(kind for line in lines for kind in line.said.kinds)
        if not said and not asked and (courtesy := returned(kinds)) is not None:
            said = [voice.says(courtesy)]
        text = "\n\n".join(dict.fromkeys(said)) or voice.says(_unknown(tools))
        if may_call and not rows and OFFER not in results and (offers := shop.offers(text)):
            return AIMessage("", tool_calls=offers)  # which end the turn
        told_of = {KB_CITED: [row.id for row in rows], SAYS_NOTHING: bool(asked) and not said}
        return AIMessage(text, response_metadata=told_of)


def _happened(turn: Sequence[AnyMessage], voice: Voice) -> list[str]:
    events = [m.text for m in turn if isinstance(m, ToolMessage) and m.name == EVENT]
    return [text for event in events if (text := event_text(event, voice))]


def _unknown(tools: Toolbox) -> Kind:
    can_call = tools.powers.hands_over or tools.requests_actions
    return Kind.NO_INFORMATION if can_call else Kind.NO_ANSWER


def _written(messages: Sequence[AnyMessage]) -> list[str]:
    """By the customer, and in time."""
    return [
        m.text
        for m in messages
        if isinstance(m, HumanMessage) and not m.text.startswith((LATE, NOTED))
    ]


def _in_hours(line: Line) -> bool:
    """Answered by the hours alone. When it is open in general a row may say better."""
    return line.opening is not None and line.opening is not Moment.ANY


def _hours(lines: Sequence[Line], answered: Collection[Line], briefing: Briefing) -> list[str]:
    said: list[str] = []
    if briefing.opening is None:
        return said
    for line in lines:
        match line.opening:
            case None:
                pass
            case Moment.NOW:
                said.append(told_of_now(briefing.opening, briefing.voice))
            case Moment.ANY:
                if line not in answered:
                    said.append(told_of_week(briefing.opening, briefing.voice))
            case days:
                said.append(told_of_days(days, briefing.opening, briefing.voice))
    return said


def _of_tools(results: Mapping[str | None, str], wished: bool, voice: Voice) -> list[str]:
    said = []
    if REQUEST in results:
        kept = results[REQUEST] in (PENDING, ALREADY)
        said.append(voice.says(Kind.REQUEST_KEPT if kept else Kind.REQUEST_REFUSED))
    if HAND_OVER in results:
        said.append(voice.says(Kind.HANDOVER))
    elif wished and REQUEST not in results:
        said.append(voice.says(Kind.NOBODY))
    return said


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
    return [called(name, args) for name, args in calls]


def of_this_turn(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """What came after the last answer; events and calls of tools are no answers."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage) and not message.tool_calls:
            return messages[place + 1 :]
    return messages
