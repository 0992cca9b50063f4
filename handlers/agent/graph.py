"""The agent: a LangGraph StateGraph, compiled once for the process.

What belongs to a run (tenant, briefing, answerer) comes in the run's context, which LangGraph does
not persist; the state, which it does, holds the thread's messages and how far it has read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
    RemoveMessage,
    ToolCall,
    ToolMessage,
)
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from db.conversation_events import Event
from db.conversations import TurnContext
from db.ids import UserId
from db.messages import TurnMessage
from db.prices import Rate
from handlers.actions import Request
from handlers.agent.answerer import CONTEXT_LENGTH, CUT, FINISH, Answerer, NoAnswer
from handlers.agent.catalogue import Catalogues
from handlers.agent.citing import KB_CITED, ROWS_TOLD, SAYS_NOTHING, cited
from handlers.agent.cost import Cost
from handlers.agent.events import EVENT, as_messages
from handlers.agent.evidence import Orders, effects_told, orders_told, told
from handlers.agent.giving_way import few_rows, short_results
from handlers.agent.memory import Slot, SlotSaver, run_on
from handlers.agent.off_topic import OFF_TOPIC, without_mark
from handlers.agent.own_models import OwnModels
from handlers.agent.past import Seen, as_message, past
from handlers.agent.prompt import Briefing
from handlers.agent.remembering import Remembered
from handlers.agent.shelf import Shelf
from handlers.agent.spending import so_far
from handlers.agent.timeline import without_copied_notes
from handlers.agent.tools import Toolbox
from handlers.agent.window import windowed
from handlers.checks.answer import foreign_amounts
from handlers.checks.told import Told
from handlers.media_store.port import NoStore, Store
from handlers.process import telemetry
from handlers.rules.choices import Offer
from handlers.rules.quotes import Quoted
from handlers.tools.calling import Caller

INPUTS_MAX = 30  # a turn, so that none falls out of the window; what is beyond is the next turn's
TOOL_ROUNDS = 4  # of a turn; after them the model has to answer
CALLS_MAX = 8  # of one round
RECURSION_LIMIT = 12  # the steps of that and two more; LangGraph's own default is 10,007


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]
    cursor: int  # highest messages.id that the thread has taken in
    reacted: int  # the newest reaction that it has: seconds since 1970


@dataclass(slots=True)
class Context:
    """Of one run. The counts are the run's own."""

    answerer: Answerer
    briefing: Briefing
    tools: Toolbox
    cost: Cost
    fresh: int  # messages at the end of the thread that this turn answers
    begun: bool = False  # the thread is cut to what there is room for
    rounds: int = 0
    did: frozenset[str] = frozenset()  # effects that the business says there were
    orders: Orders = field(default_factory=dict)  # and those of orders that it told of
    whole: Briefing | None = None  # before rows were left out of it
    asked_again: bool = False  # because of an amount that stands nowhere
    finish: str | None = None
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
    before: Sequence[AnyMessage] = ()  # what tools did that the customer was not told of
    briefing: Briefing
    tools: Toolbox
    answerer: Answerer | None = None  # of the chatbot's own; None: the process's
    rates: Mapping[str, Rate] = field(default_factory=dict)  # by model, where a budget needs them


@dataclass(frozen=True, slots=True)
class Reply:
    text: str
    model: str
    kb_shown: tuple[int, ...]  # rows that the answer could be made from
    kb_cited: tuple[int, ...]  # those of them that it is made from, as it says
    input_tokens: int
    output_tokens: int
    slot: Slot  # to be stored with the reply
    requests: tuple[Request, ...] = ()  # to become actions with the reply
    facts: tuple[Remembered, ...] = ()  # about the customer, to be kept with the reply
    cut: bool = False  # the model had not ended
    found_nothing: bool = False  # the customer asked what the knowledge base does not have
    owed: bool = False  # its requests are what a row demands, not what the model asked for
    handed_over: str | None = None  # to a person, and why
    offer: Offer | None = None  # what stands under its text, to be chosen
    quoted: Quoted | None = None  # what stands under its text, to be ordered
    files: tuple[int, ...] = ()  # of the chatbot's, that go out behind it
    told: Told = field(default_factory=Told)
    finish_reason: str | None = None  # of its last answer, in the server's word
    off_topic: bool = False  # it declined, for the question was about something else
    confidence: float | None = None  # of the search behind it, 0..1; None: there was none


class Agent:
    def __init__(
        self,
        answerer: Answerer,
        shelf: Shelf | None = None,
        own: OwnModels | None = None,
        awaits: frozenset[str] = frozenset(),
        store: Store | None = None,
        caller: Caller | None = None,
    ) -> None:
        """`awaits`: kinds of media that become words before a turn reads them. `caller`: of
        tenants' own tools; None: they are not called."""
        self.saver = SlotSaver()
        self.shelf = shelf or Shelf()
        self.catalogues = Catalogues()
        self.awaits = awaits
        self.store: Store = store or NoStore()
        self.caller = caller
        self._answerer = answerer
        self._own = own
        self._graph = _compile(self.saver)

    def answerer(self, user_id: UserId, context: TurnContext) -> Answerer:
        """The chatbot's own, if it has one and this process can reach it."""
        own = self._own.of(user_id, context) if self._own is not None else None
        return own or self._answerer

    async def run(self, task: Task) -> Reply:
        """Raises NoAnswer, and NotReady of the knowledge base."""
        inputs = (m for row in task.inputs if (m := as_message(row)) is not None)
        fresh = [*as_messages(task.events), *task.before, *inputs]
        answerer = task.answerer or self._answerer
        cost = Cost(task.briefing.budget.cost, task.rates)
        context = Context(answerer, task.briefing, task.tools, cost, len(fresh))
        context.did = effects_told(task.briefing, task.history, task.events)
        context.orders = orders_told(task.history)
        context.whole = task.briefing
        with run_on(task.slot):
            state = await self._graph.ainvoke(
                _input(task, fresh),
                {"configurable": {"thread_id": task.thread_id}, "recursion_limit": RECURSION_LIMIT},
                context=context,
                durability="exit",
            )
        answer = state["messages"][-1]
        says = answer.response_metadata
        off_topic = says.get(OFF_TOPIC, False)
        shown = tuple(dict.fromkeys([*_shown(context), *says.get(KB_CITED, ())]))
        nothing = says.get(SAYS_NOTHING, False) or task.tools.found_nothing
        return Reply(
            text=without_copied_notes(answer.text).strip(),
            model=answerer.name,
            kb_shown=shown[:ROWS_TOLD],
            kb_cited=tuple(says.get(KB_CITED, ())),
            input_tokens=context.input_tokens,
            output_tokens=context.output_tokens,
            slot=task.slot,
            requests=tuple(task.tools.requests),
            facts=tuple(task.tools.remembered),
            cut=CUT in says,
            # What is none of the business's is no gap in what it knows.
            found_nothing=bool(
                task.inputs and nothing and not says.get(KB_CITED) and not off_topic
            ),
            handed_over=task.tools.handed_over,
            offer=task.tools.offered[1] if task.tools.offered else None,
            quoted=task.tools.quoted,
            files=task.tools.files,
            told=_told(context, state["messages"]),
            finish_reason=context.finish,
            off_topic=off_topic,
            confidence=task.tools.sure_of(says.get(KB_CITED, ())),
        )


def _compile(saver: SlotSaver) -> CompiledStateGraph[State, Context, Any, Any]:
    """Each node is a step of LangGraph's, which costs as much CPU as what most of ours do in one;
    an edge that is no coroutine is asked in another thread."""
    graph = StateGraph(State, context_schema=Context)
    graph.add_node("agent", _agent)
    graph.add_node("tools", _tools)
    graph.add_edge(START, "agent")
    graph.add_conditional_edges("agent", _next, ["tools", END])
    graph.add_conditional_edges("tools", _after_tools, ["agent", END])
    return graph.compile(checkpointer=saver)


def _begun(run: Context, messages: list[AnyMessage]) -> list[AnyMessage]:
    """What of the thread there is room for: the same list where that is all."""
    if run.begun:
        return messages
    kept = windowed(messages, run.fresh, run.briefing.budget.history_tokens)
    run.begun, run.briefing = True, replace(run.briefing, history=len(kept) - run.fresh)
    return messages if kept == messages else kept


async def _agent(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    run, messages = runtime.context, state["messages"]
    kept, answer = await _answered(run, _begun(run, messages))
    _count(run, answer)
    if foreign := _objectionable(run, kept, answer):
        answer = await _asked_again(run, kept, answer, foreign)
    answer = _without_marks(answer, run)
    if kept is messages:
        return {"messages": [answer]}
    return {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES), *kept, answer]}


def _objectionable(run: Context, messages: Sequence[AnyMessage], answer: AIMessage) -> list[str]:
    """Amounts because of which the model is asked again, unless it was already."""
    if not run.briefing.blocks or run.asked_again or answer.tool_calls:
        return []
    if not run.cost.allows_more(so_far()):
        return []
    return foreign_amounts(answer.text, _told(run, messages))


async def _asked_again(
    run: Context, messages: list[AnyMessage], answer: AIMessage, foreign: Sequence[str]
) -> AIMessage:
    """Once a turn. Where nothing else comes the answer stays as it is, and is not sent."""
    run.asked_again, history = True, run.briefing.history
    try:
        _, other = await _answered(run, [*messages, *_objected(answer, foreign)])
    except NoAnswer:
        return answer
    finally:  # the thread has it, whatever was left out here
        run.briefing = replace(run.briefing, history=history)
    _count(run, other)
    return other


def _count(run: Context, answer: AIMessage) -> None:
    run.finish = answer.response_metadata.pop(FINISH, None)
    usage = answer.usage_metadata
    if usage is not None:
        run.input_tokens += usage["input_tokens"]
        run.output_tokens += usage["output_tokens"]


def _told(run: Context, messages: Sequence[AnyMessage]) -> Told:
    begun = run.briefing.history + run.fresh
    orders = {**run.orders, **run.tools.orders}
    did = run.did | run.tools.effects
    return told(run.whole or run.briefing, messages, begun, did, orders)


def _objected(answer: AIMessage, foreign: Sequence[str]) -> list[AnyMessage]:
    """What the model hears of its answer; nobody else does, and the thread keeps neither."""
    call = f"check_{uuid4().hex}"
    finding = {
        "event": "answer_not_sent",
        "amounts_that_stand_nowhere": list(foreign),
        "to_do": "Write the answer again with amounts of the knowledge base, the instructions and"
        " this conversation only. Sums are made by the tool calculate. Without a source say that"
        " you do not know the amount.",
    }
    return [
        AIMessage(answer.text, tool_calls=[ToolCall(name=EVENT, args={}, id=call)]),
        ToolMessage(json.dumps(finding, ensure_ascii=False), tool_call_id=call, name=EVENT),
    ]


def _without_marks(answer: AIMessage, run: Context) -> AIMessage:
    """As the customer gets it, and as the thread keeps it."""
    says = answer.response_metadata
    if KB_CITED in says:  # the offline answerer's: stored answers, word for word
        return answer
    text, off_topic = without_mark(answer.text)
    of = cited(text, _shown(run))
    if of.strangers:
        telemetry.KNOWLEDGE_STRANGERS.inc(of.strangers)
    marks = {KB_CITED: list(of.rows), SAYS_NOTHING: of.says_nothing, OFF_TOPIC: off_topic}
    return answer.model_copy(update={"content": of.text, "response_metadata": says | marks})


def _shown(run: Context) -> tuple[int, ...]:
    return tuple(dict.fromkeys([*(row.id for row in run.briefing.knowledge), *run.tools.kb_ids]))


async def _answered(run: Context, messages: list[AnyMessage]) -> tuple[list[AnyMessage], AIMessage]:
    """And what of the messages it is an answer to. What a server refuses because of what it is told
    it would refuse in every turn to come; so the history gives way, and, when even this turn's
    messages are too long, most of what they are answered from."""

    async def ask(messages: list[AnyMessage]) -> AIMessage:
        may_call = run.rounds < TOOL_ROUNDS and run.cost.allows_more(so_far())
        return await run.answerer.answer(run.briefing, messages, run.tools, may_call)

    if run.tools.knowledge.crowds:
        run.briefing = await few_rows(run.briefing, run.tools.knowledge, messages)
    try:
        return messages, await ask(messages)
    except NoAnswer as none:
        if not none.of_what_was_told:
            raise
        refused = none
    if history := run.briefing.history:
        messages, run.briefing = messages[history:], replace(run.briefing, history=0)
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
    run.tools.told = _told(run, state["messages"])
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
    if run.tools.offered is not None:  # the answer is the text of what is offered
        results.append(_without_marks(AIMessage(run.tools.offered[0]), run))
    return {"messages": results}


async def _after_tools(state: State) -> str:
    return END if isinstance(state["messages"][-1], AIMessage) else "agent"


async def _next(state: State) -> str:
    answer = state["messages"][-1]
    assert isinstance(answer, AIMessage)
    return "tools" if answer.tool_calls or answer.invalid_tool_calls else END


def _input(task: Task, fresh: Sequence[AnyMessage]) -> State:
    """This turn's messages, after what happened since the thread last read; for a new or broken
    thread, after all of the history."""
    seen = Seen()
    if task.slot.loaded is not None:
        values = task.slot.loaded.checkpoint["channel_values"]
        seen = Seen(int(values.get("cursor", 0)), int(values.get("reacted", 0)))
    told, seen = past(task.history, seen)
    cursor = max([seen.cursor, *(row.id for row in task.inputs)])
    return {"messages": [*told, *fresh], "cursor": cursor, "reacted": seen.reacted}
