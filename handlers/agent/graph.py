"""The agent: a LangGraph StateGraph, compiled once for the process.

What belongs to a run (tenant, briefing, answerer) comes in the run's context, which LangGraph does
not persist; the state, which it does, holds the thread's messages and how far it has read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from db.ids import MessageId
from db.messages import Message
from handlers.agent.answerer import Answerer
from handlers.agent.memory import Slot, SlotSaver, run_on
from handlers.agent.prompt import Briefing

HISTORY_MESSAGES = 40  # prompt cost, CPU and the checkpoint's size all follow it
INPUTS_MAX = 30  # a turn, so that none falls out of the window; what is beyond is the next turn's
RECURSION_LIMIT = 12  # LangGraph's own default is 10,007


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    cursor: int  # highest messages.id that the thread has taken in


@dataclass(frozen=True, slots=True)
class Context:
    answerer: Answerer
    briefing: Briefing


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    model: str
    kb_ids: tuple[int, ...]
    input_tokens: int
    output_tokens: int
    slot: Slot  # to be stored with the reply


class Agent:
    def __init__(self, answerer: Answerer) -> None:
        self.saver = SlotSaver()
        self._answerer = answerer
        self._graph = _compile(self.saver)

    async def run(
        self,
        thread_id: str,
        slot: Slot,
        history: Sequence[Message],
        inputs: Sequence[Message],
        briefing: Briefing,
    ) -> Reply:
        """Answers the inputs, given in the order to be answered. Raises NoAnswer."""
        with run_on(slot):
            state = await self._graph.ainvoke(
                _input(slot, history, inputs),
                {"configurable": {"thread_id": thread_id}, "recursion_limit": RECURSION_LIMIT},
                context=Context(self._answerer, briefing),
                durability="exit",
            )
        answer = state["messages"][-1]
        usage = answer.usage_metadata or {}
        return Reply(
            text=answer.text.strip(),
            model=self._answerer.name,
            kb_ids=tuple(answer.response_metadata.get("kb_ids", ())),
            input_tokens=usage.get("input_tokens", 0),
            output_tokens=usage.get("output_tokens", 0),
            slot=slot,
        )


def _compile(saver: SlotSaver) -> CompiledStateGraph[State, Context, Any, Any]:
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("window", _window)
    graph.add_node("agent", _agent)
    graph.add_edge(START, "window")
    graph.add_edge("window", "agent")
    graph.add_edge("agent", END)
    return graph.compile(checkpointer=saver)


async def _window(state: State) -> dict[str, Any]:
    """Keeps the last messages, beginning with one of the customer's."""
    kept = list(state["messages"][-HISTORY_MESSAGES:])
    while kept and not isinstance(kept[0], HumanMessage):
        kept.pop(0)
    if len(kept) == len(state["messages"]):
        return {}
    return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *kept]}


async def _agent(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    answer = await runtime.context.answerer.answer(runtime.context.briefing, state["messages"])
    return {"messages": [answer]}


def _input(slot: Slot, history: Sequence[Message], inputs: Sequence[Message]) -> State:
    """The inputs, after what happened since the thread last read; for a new or broken thread,
    after all of the history."""
    cursor = 0
    if slot.loaded is not None:
        cursor = int(slot.loaded.checkpoint["channel_values"].get("cursor", 0))
    unseen = [row for row in history if row.id > cursor and not (cursor and _is_own(row))]
    messages = [m for row in (*unseen, *inputs) if (m := as_message(row)) is not None]
    seen = max([cursor, *(row.id for row in history), *(row.id for row in inputs)])
    return {"messages": messages, "cursor": seen}


def _is_own(row: Message) -> bool:
    """The agent's own replies are in the thread by the run that wrote them."""
    return (
        row.direction == "outbound"
        and not row.is_from_human
        and row.metadata.get("kind") != "notice"
    )


def as_message(row: Message) -> AnyMessage | None:
    """A row of the record as the model sees it. Ids are stable, so nothing is taken in twice."""
    text = row.content_text or ""
    if not text:
        return None
    name = f"row-{MessageId(row.id)}"
    if row.direction == "inbound":
        return HumanMessage(text, id=name)
    if row.status in ("failed", "cancelled"):
        return AIMessage(f"(not delivered to the customer) {text}", id=name)
    return AIMessage(text, id=name)
