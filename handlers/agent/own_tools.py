"""A tenant's own tools, as a model may call them in one run.

The model sees a name with a prefix that no tool of ours has, the tenant's description and schema.
What it gives is held to that schema; whom it is about (contact, conversation) is code's to say.
What has an effect is called once for the same inputs: the ledger (handlers/tools) sees to it, and
here a run that is repeated is not let call with other arguments what one before it called already.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog
from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage

from db.tool_calls import CallEnd, KnownCall
from db.tools import OwnTool
from handlers.actions import Request, ToolWish
from handlers.agent.events import EVENT
from handlers.agent.tokens import of_schemas
from handlers.checks.claims import named_in
from handlers.rules.tools import PREFIX, canonical, plain, wrong_arguments
from handlers.tools.outcome import NOT_CERTAIN, told

log: structlog.stdlib.BoundLogger = structlog.get_logger()

TOOL_CALLED: Final = "tool_called"
CALLS_MAX = 5  # of a turn
SECONDS_MAX = 20.0  # of a turn's calls together
LEAST_SECONDS = 0.5  # for one more
PROMPT_PART = 4  # of the tokens of a prompt, a quarter at most for their schemas
APPROVAL_CHARS = 1_500  # of arguments that a person reads before they approve
BEFORE_MAX = 20  # calls that a run is told of
RESULT_TOLD = 1_000  # characters of each

SANDBOX: Final = (
    "not called: this is a test of the bot, so the tool was not called and nothing was done. Go on"
    " as if you did not know what it says."
)
NO_MORE: Final = f"error: {CALLS_MAX} calls of the business's tools in an answer are the most"
NO_TIME: Final = "error: there is no time for one more call in this answer"
NOT_ASKED: Final = (
    "error: the customer has asked for nothing that is not answered yet, so nothing is done."
)
TO_DO: Final = (
    "This tool was called for this customer before, and they were not told. It is not called again"
    " for that. Tell the customer what came of it, if it matters to them: where the status is"
    " `unknown`, that it is not certain."
)


class Calls(Protocol):
    """To the tools themselves, of a turn."""

    async def call(
        self, tool: OwnTool, arguments: dict[str, Any], arguments_hash: str, seconds: float
    ) -> CallEnd: ...


@dataclass(slots=True)
class OwnTools:
    """Of one run."""

    tools: Sequence[OwnTool]  # of the chatbot, also those that rest
    calls: Calls | None = None  # None: a test, in which nothing is called
    before: Sequence[KnownCall] = ()  # see db.tool_calls.known_calls
    input_seq: int = 0  # the first input that the turn answers
    done: Sequence[str] = ()  # names of tools that did something in this conversation
    customer_waits: bool = True
    room: int = 12_000  # tokens of a prompt
    ends: dict[tuple[str, str], CallEnd] = field(default_factory=dict)  # of this run
    offered: dict[str, OwnTool] = field(init=False)
    _seconds: float = field(default=SECONDS_MAX, init=False)
    _schemas: list[dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.offered, self._schemas = {}, []
        room = self.room // PROMPT_PART
        for tool in self.tools:
            if not tool.is_active:
                continue
            schema = _schema(tool)
            room -= of_schemas([schema])
            if room < 0:
                log.warning("tool.no_room", tool_id=tool.id)
                break
            self.offered[PREFIX + tool.name] = tool
            self._schemas.append(schema)

    def schemas(self, *, requests: bool) -> list[dict[str, Any]]:
        """`requests`: a person can be asked."""
        return [
            schema
            for schema, tool in zip(self._schemas, self.offered.values(), strict=True)
            if requests or not tool.needs_approval
        ]

    @property
    def effects(self) -> frozenset[str]:
        """That the ledger says were done, as claims name them. Who only looks something up has
        done nothing, whatever it is called."""
        names = {name for (name, _), end in self.ends.items() if end.status == "done"}
        found: set[str] = set()
        for tool in self.tools:
            if tool.effect != "none" and tool.name in names.union(self.done):
                found |= named_in(f"{tool.name.replace('_', ' ')} {tool.description}")
        return frozenset(found)

    @property
    def messages(self) -> list[AnyMessage]:
        """What the customer was not told of, as the model hears of it. Ids are stable."""
        untold = [one for one in self.before if not one.told]
        return [message for one in untold for message in _told_of(one)]

    def wrong(self, name: str, arguments: dict[str, Any]) -> str | None:
        """Why it is not called; None: it can be."""
        tool = self.offered[name]
        if (wrong := wrong_arguments(tool.parameters, arguments)) is not None:
            return f"error: {wrong}"
        if tool.effect != "none" and not self.customer_waits:
            return NOT_ASKED
        text = canonical(arguments)
        if tool.needs_approval:
            if len(text) <= APPROVAL_CHARS:
                return None
            return f"error: the arguments have {len(text)} characters, {APPROVAL_CHARS} at most"
        return self._called_otherwise(tool, _hash(text))

    def _called_otherwise(self, tool: OwnTool, arguments_hash: str) -> str | None:
        """For the same inputs, by a run before this one that nobody heard of. A tool that was
        renamed since is the same one."""
        if tool.effect == "none":
            return None
        same = [
            one
            for one in self.before
            if one.input_seq == self.input_seq
            and (one.tool_name == tool.name or one.tool_id == tool.id)
        ]
        if not same or any(  # the ledger finds it, and knows what came of it
            one.tool_name == tool.name and one.arguments_hash == arguments_hash for one in same
        ):
            return None
        log.warning("tool.called_otherwise", tool_id=tool.id)
        return (
            "error: for what the customer wrote this was called already, with other arguments or"
            " under another name, as the system event says. It is not called again in this answer."
        )

    def _untold(self, name: str, arguments_hash: str) -> CallEnd | None:
        """The same was done for inputs before these, and the answer that said so reached nobody:
        who asks for it again, or is answered again, wants no second one."""
        for one in self.before:
            if one.told or one.input_seq == self.input_seq:
                continue
            if (one.tool_name, one.arguments_hash) == (name, arguments_hash):
                status = "unknown" if one.status == "calling" else one.status
                return CallEnd(status, None, one.error, one.result)
        return None

    def request(self, name: str, arguments: dict[str, Any]) -> Request:
        """To a person, who approves the call."""
        tool, text = self.offered[name], canonical(arguments)
        given = plain(arguments)
        return Request(
            request_type=f"tool:{tool.name}",  # a model's own types have no colon
            details=f"{tool.name.replace('_', ' ')}: {text}",
            context={"tool": tool.name, "arguments": given},
            tool=ToolWish(tool.id, tool.name, tool.effect, given, _hash(text)),
        )

    async def call(self, name: str, arguments: dict[str, Any]) -> str:
        """The result, for the model."""
        tool, text = self.offered[name], canonical(arguments)
        if self.calls is None:
            return SANDBOX
        key = (tool.name, _hash(text))
        if (again := self.ends.get(key)) is not None:
            return told(again)  # the same once more is the same
        if (untold := self._untold(*key)) is not None:
            self.ends[key] = untold
            return told(untold)
        if len(self.ends) >= CALLS_MAX:
            return NO_MORE
        if self._seconds < LEAST_SECONDS:
            return NO_TIME
        began = time.monotonic()
        try:
            end = await self.calls.call(tool, plain(arguments), key[1], self._seconds)
        except Exception as error:  # a mistake of ours; it may have left already
            log.error("tool.call_failed", tool_id=tool.id, exc_info=error)
            return NOT_CERTAIN
        finally:
            self._seconds -= time.monotonic() - began
        self.ends[key] = end
        return told(end)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _schema(tool: OwnTool) -> dict[str, Any]:
    later = " (A person decides first: the result comes later.)" if tool.needs_approval else ""
    return {
        "type": "function",
        "function": {
            "name": PREFIX + tool.name,
            "description": f"{tool.description}{later}",
            "parameters": tool.parameters,
        },
    }


def _told_of(one: KnownCall) -> list[AnyMessage]:
    call = f"tool_call_{one.id}"
    status = "unknown" if one.status == "calling" else one.status
    content = {
        "event": TOOL_CALLED,
        "tool": one.tool_name,
        "arguments": one.arguments,
        "status": status,
        "result": None if one.result is None else one.result[:RESULT_TOLD],
        "to_do": TO_DO,
    }
    return [
        AIMessage(
            "", id=f"tool-call-{one.id}", tool_calls=[ToolCall(name=EVENT, args={}, id=call)]
        ),
        ToolMessage(
            json.dumps(content, ensure_ascii=False),
            id=f"tool-called-{one.id}",
            tool_call_id=call,
            name=EVENT,
        ),
    ]
