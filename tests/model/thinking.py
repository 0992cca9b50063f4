"""The model of the machine: it stops, and then says or asks for what the test tells it to.

Around it everything is the product's: the graph, the tools, the checkpoint.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage

from handlers.agent.answerer import Kind, NoAnswer
from handlers.agent.graph import Agent, Reply, Task
from handlers.agent.knowledge import Knowledge
from handlers.agent.offline import OFFLINE, Offline
from handlers.agent.powers import HAND_OVER
from handlers.agent.prompt import Briefing
from handlers.agent.remembering import REMEMBER
from handlers.agent.tools import REQUEST, Toolbox
from tests.model.stepping import THINK, Job


class ModelBroke(Exception):
    """What the test lets the model raise: a turn that fails."""


class BareShelf:
    """The chatbots of the model know nothing, and nobody has to look it up."""

    async def knowledge(self, pool: Any, user_id: Any, chatbot_id: Any, version: int) -> Knowledge:
        return Knowledge(version, ())


AGENT = Agent(Offline(), BareShelf())  # type: ignore[arg-type]  # its graph, compiled once

# What a model may ask for, by the test's word.
CALLS: dict[str, tuple[tuple[str, dict[str, Any]], ...]] = {
    "asks": ((REQUEST, {"type": "refund", "details": "money back"}),),
    **{
        f"asks for {amount}": (
            (REQUEST, {"type": "refund", "details": "money back", "amount": amount}),
        )
        for amount in (5, 20, 40)
    },
    "asks for many": tuple(
        (REQUEST, {"type": "refund", "details": "money back", "amount": amount})
        for amount in (20, 20, 5, 40)
    ),
    "asks, then fails": ((REQUEST, {"type": "refund", "details": "money back"}),),
    "hands over, then fails": ((HAND_OVER, {"reason": "they want a person"}),),
    "hands over": ((HAND_OVER, {"reason": "they want a person"}),),
    "asks and hands over": (
        (REQUEST, {"type": "refund", "details": "money back", "amount": 20}),
        (HAND_OVER, {"reason": "they want a person"}),
    ),
    "remembers": ((REMEMBER, {"about": "allergy", "text": "nuts"}),),
    "calls nonsense": (("no_such_tool", {"x": 1}), (REQUEST, {"details": 3})),
}


class Model:
    """In the place of handlers.agent.graph.Agent. Every few turns its chatbot has no model."""

    def __init__(self, job: Job, epoch: int) -> None:
        self.saver = AGENT.saver
        self.shelf = AGENT.shelf
        self.catalogues = AGENT.catalogues
        self.awaits = AGENT.awaits
        self.store = AGENT.store
        self._job = job
        self._offline = epoch % 3 == 0

    def answerer(self, user_id: Any, context: Any) -> None:
        """Nobody else's."""

    async def run(self, task: Task) -> Reply:
        about = [str(row.wamid) for row in task.inputs]
        about += [event_name(event.id) for event in task.events]
        thinker = Thinker(self._job, about, self._offline)
        return await AGENT.run(replace(task, answerer=thinker))


class Thinker:
    """Of one turn."""

    def __init__(self, job: Job, about: Sequence[str], offline: bool) -> None:
        self._job = job
        self._about = about
        self._offline = Offline() if offline else None
        self._fails = False  # once it has its tools' results

    @property
    def name(self) -> str:
        return OFFLINE if self._offline else "the model"

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        assert not (wrong := wrong_in(messages)), wrong
        verdict = await self._job.stop(THINK, self._about)
        if self._fails:
            verdict = "no_answer"
        self._fails = str(verdict).endswith("then fails")
        match verdict:
            case "no_answer":
                raise NoAnswer("http_500")
            case "refuses":
                raise NoAnswer("http_418", Kind.NEVER)
            case "breaks":
                raise ModelBroke
            case _:
                pass
        if self._offline is not None:
            return await self._offline.answer(briefing, messages, tools, may_call)
        if verdict in CALLS and may_call:
            return AIMessage("", tool_calls=[_call(name, args) for name, args in CALLS[verdict]])
        # A reply says what it answers, so that the record can be judged by it.
        return AIMessage("answers " + " ".join(self._about))


def _call(name: str, args: dict[str, Any]) -> ToolCall:
    return ToolCall(name=name, args=args, id=f"call_{uuid4().hex}")


def wrong_in(messages: Sequence[AnyMessage]) -> str:
    """Why a model's server would refuse them: each call has its result, and stands before it."""
    waiting: list[str] = []
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in waiting:
                return f"a result of no call: {_shown(messages)}"
            waiting.remove(message.tool_call_id)
            continue
        if waiting:
            return f"a call without its result: {_shown(messages)}"
        if isinstance(message, AIMessage):
            waiting = [str(call["id"]) for call in message.tool_calls]
            waiting += [str(call["id"]) for call in message.invalid_tool_calls]
    return f"a call without its result: {_shown(messages)}" if waiting else ""


def _shown(messages: Sequence[AnyMessage]) -> str:
    return json.dumps([[m.type, m.text[:80], m.id] for m in messages], ensure_ascii=False)


def event_name(event_id: int) -> str:
    return f"event:{event_id}"
