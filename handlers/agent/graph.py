"""The agent: a LangGraph StateGraph, compiled once for the process.

What belongs to a run (tenant, briefing, answerer) comes in the run's context, which LangGraph does
not persist; the state, which it does, holds the thread's messages and how far it has read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    HumanMessage,
    RemoveMessage,
    ToolMessage,
)
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from db.conversation_events import Event
from db.ids import MessageId
from db.messages import TurnMessage
from handlers.actions import Request
from handlers.agent.answerer import CONTEXT_LENGTH, CUT, Answerer, NoAnswer
from handlers.agent.events import as_messages
from handlers.agent.giving_way import few_rows, short_results
from handlers.agent.memory import Slot, SlotSaver, run_on
from handlers.agent.prompt import LATE, Briefing, shown
from handlers.agent.shelf import Shelf
from handlers.agent.tools import SEARCH, Toolbox

HISTORY_MESSAGES = 40  # prompt cost, CPU and the checkpoint's size all follow it
INPUTS_MAX = 30  # a turn, so that none falls out of the window; what is beyond is the next turn's
TOOL_ROUNDS = 4  # of a turn; after them the model has to answer
CALLS_MAX = 8  # of one round
RECURSION_LIMIT = 12  # the steps of that and two more; LangGraph's own default is 10,007
NOT_KEPT = "(found in an earlier turn, not kept: search again)"


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    cursor: int  # highest messages.id that the thread has taken in


@dataclass(slots=True)
class Context:
    """Of one run. The counts are the run's own."""

    answerer: Answerer
    briefing: Briefing
    tools: Toolbox
    fresh: int  # messages at the end of the thread that this turn answers
    history: int = 0  # messages before them
    rounds: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one run is to answer and to tell, and with what."""

    thread_id: str
    slot: Slot
    history: Sequence[TurnMessage]
    inputs: Sequence[TurnMessage]  # in the order to be answered
    events: Sequence[Event]  # to be told
    briefing: Briefing
    tools: Toolbox


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    model: str
    kb_ids: tuple[int, ...]
    input_tokens: int
    output_tokens: int
    slot: Slot  # to be stored with the reply
    requests: tuple[Request, ...] = ()  # to become actions with the reply
    cut: bool = False  # the model had not ended


class Agent:
    def __init__(self, answerer: Answerer, shelf: Shelf | None = None) -> None:
        self.saver = SlotSaver()
        self.shelf = shelf or Shelf()
        self._answerer = answerer
        self._graph = _compile(self.saver)

    async def run(self, task: Task) -> Reply:
        """Raises NoAnswer, and NotReady of the knowledge base."""
        inputs = (m for row in task.inputs if (m := as_message(row)) is not None)
        fresh = [*as_messages(task.events), *inputs]
        context = Context(self._answerer, task.briefing, task.tools, len(fresh))
        with run_on(task.slot):
            state = await self._graph.ainvoke(
                _input(task, fresh),
                {"configurable": {"thread_id": task.thread_id}, "recursion_limit": RECURSION_LIMIT},
                context=context,
                durability="exit",
            )
        answer = state["messages"][-1]
        kb_ids = [*answer.response_metadata.get("kb_ids", ()), *task.tools.kb_ids]
        return Reply(
            text=answer.text.strip(),
            model=self._answerer.name,
            kb_ids=tuple(dict.fromkeys(kb_ids)),
            input_tokens=context.input_tokens,
            output_tokens=context.output_tokens,
            slot=task.slot,
            requests=tuple(task.tools.requests),
            cut=CUT in answer.response_metadata,
        )


def _compile(saver: SlotSaver) -> CompiledStateGraph[State, Context, Any, Any]:
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("window", _window)
    graph.add_node("agent", _agent)
    graph.add_node("tools", _tools)
    graph.add_edge(START, "window")
    graph.add_edge("window", "agent")
    graph.add_conditional_edges("agent", _next, ["tools", END])
    graph.add_edge("tools", "agent")
    return graph.compile(checkpointer=saver)


async def _window(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    messages = state["messages"]
    kept = windowed(messages, runtime.context.fresh)
    runtime.context.history = len(kept) - runtime.context.fresh
    if kept == messages:
        return {}
    return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *kept]}


async def _agent(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    run, messages = runtime.context, state["messages"]
    kept, answer = await _answered(run, messages)
    usage = answer.usage_metadata
    if usage is not None:
        run.input_tokens += usage["input_tokens"]
        run.output_tokens += usage["output_tokens"]
    if kept is messages:
        return {"messages": [answer]}
    return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *kept, answer]}


async def _answered(run: Context, messages: list[AnyMessage]) -> tuple[list[AnyMessage], AIMessage]:
    """And what of the messages it is an answer to. What a server refuses because of what it is told
    it would refuse in every turn to come; so the history gives way, and, when even this turn's
    messages are too long, most of what they are answered from."""

    async def ask(messages: list[AnyMessage]) -> AIMessage:
        may_call = run.rounds < TOOL_ROUNDS
        return await run.answerer.answer(run.briefing, messages, run.tools, may_call)

    if run.tools.knowledge.crowds:
        run.briefing = await few_rows(run.briefing, run.tools.knowledge, messages)
    try:
        return messages, await ask(messages)
    except NoAnswer as none:
        if not none.of_what_was_told:
            raise
        refused = none
    if run.history:
        messages, run.history = messages[run.history :], 0
        try:
            return messages, await ask(messages)
        except NoAnswer as none:
            if none.word != CONTEXT_LENGTH:
                raise
            refused = none
    if refused.word != CONTEXT_LENGTH:
        raise refused
    fewer = await few_rows(run.briefing, run.tools.knowledge, messages)
    shorter = short_results(messages)
    if (fewer, shorter) == (run.briefing, messages):
        raise refused
    crowds, run.briefing = fewer is not run.briefing, fewer
    answer = await ask(shorter)
    run.tools.knowledge.crowds |= crowds  # the next turn need not find it out
    return shorter, answer


async def _tools(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Each call gets its result, one after the other, also those that cannot be understood: a call
    without one would make the thread invalid for ever."""
    run = runtime.context
    asked = state["messages"][-1]
    assert isinstance(asked, AIMessage), "_next() sends only calls here"
    results: list[AnyMessage] = []
    for n, call in enumerate(asked.tool_calls):
        if n < CALLS_MAX:
            text = await run.tools.call(call["name"], call["args"])
        else:
            text = f"error: {CALLS_MAX} calls at once are the most"
        results.append(ToolMessage(text, tool_call_id=call["id"], name=call["name"]))
    for bad in asked.invalid_tool_calls:
        text = f"error: {bad['error']}"
        results.append(ToolMessage(text, tool_call_id=bad["id"], name=bad["name"]))
    # Who calls in vain twice will a third time, and every time is paid for.
    run.rounds += 2 if all(result.text.startswith("error:") for result in results) else 1
    return {"messages": results}


def _next(state: State) -> str:
    answer = state["messages"][-1]
    assert isinstance(answer, AIMessage)
    return "tools" if answer.tool_calls or answer.invalid_tool_calls else END


def windowed(messages: Sequence[AnyMessage], fresh: int) -> list[AnyMessage]:
    """The last messages, those of this turn among them in any case. It begins with one of the
    customer's, or else with no tool's result: a result without its call makes a thread invalid.
    What earlier searches found is left out: it may have changed, and it is long."""
    first_fresh = len(messages) - fresh
    start = min(first_fresh, max(0, len(messages) - HISTORY_MESSAGES))
    places = range(start, first_fresh + 1) if fresh else range(start, len(messages))
    begin = next((n for n in places if n < len(messages) and _is_human(messages[n])), None)
    if begin is None:
        begin = next((n for n in places if not isinstance(messages[n], ToolMessage)), first_fresh)
    return [
        message.model_copy(update={"content": NOT_KEPT})
        if n < first_fresh and isinstance(message, ToolMessage) and message.name == SEARCH
        else message
        for n, message in enumerate(messages[begin:], start=begin)
    ]


def _is_human(message: AnyMessage) -> bool:
    return isinstance(message, HumanMessage)


def _input(task: Task, fresh: Sequence[AnyMessage]) -> State:
    """This turn's messages, after what happened since the thread last read; for a new or broken
    thread, after all of the history."""
    cursor = 0
    if task.slot.loaded is not None:
        cursor = int(task.slot.loaded.checkpoint["channel_values"].get("cursor", 0))
    unseen = [row for row in task.history if row.id > cursor and not (cursor and _is_own(row))]
    messages = [*(m for row in unseen if (m := as_message(row)) is not None), *fresh]
    seen = max([cursor, *(row.id for row in task.history), *(row.id for row in task.inputs)])
    return {"messages": messages, "cursor": seen}


def _is_own(row: TurnMessage) -> bool:
    """The agent's own replies are in the thread by the run that wrote them."""
    return (
        row.direction == "outbound"
        and not row.is_from_human
        and row.metadata.get("kind") != "notice"
    )


def as_message(row: TurnMessage) -> AnyMessage | None:
    """A row of the record as the model sees it. Ids are stable, so nothing is taken in twice."""
    text = shown(row.content_text or "")
    if not text:
        return None
    name = f"row-{MessageId(row.id)}"
    if row.direction == "inbound":
        if row.metadata.get("reason") == "stale":
            return HumanMessage(LATE + text, id=name)
        return HumanMessage(text, id=name)
    if row.status in ("failed", "cancelled"):
        return AIMessage(f"(not delivered to the customer) {text}", id=name)
    return AIMessage(text, id=name)
