"""What tools answered in a recorded conversation, from its thread, which keeps no more of it than
the next turn needs. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from handlers.agent.events import EVENT
from handlers.agent.powers import HAND_OVER
from handlers.agent.remembering import REMEMBER
from handlers.agent.tools import AT_LIMIT, REQUEST, SEARCH
from handlers.evals.outcome import Use

_ROW = "row-"  # begins the name of a message that is a row of the record
# What these make is made again, in memory; and the knowledge is what a replay tries.
_LIVE = frozenset({SEARCH, HAND_OVER, REMEMBER, EVENT})


@dataclass(frozen=True, slots=True)
class Record:
    results: Mapping[str, str] = field(default_factory=dict)  # by call_key()
    uses: Mapping[int, Sequence[Use]] = field(default_factory=dict)  # by the turn's last input


NO_RECORD = Record()


def call_key(name: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps([name, arguments], sort_keys=True, default=str)


def record_of(messages: Sequence[AnyMessage]) -> Record:
    results: dict[str, str] = {}
    uses: dict[int, list[Use]] = {}
    calls: dict[str, tuple[str, Mapping[str, Any]]] = {}
    row = 0
    for message in messages:
        match message:
            case HumanMessage(id=str(name)) if name.startswith(_ROW) and name[4:].isdigit():
                row = int(name[len(_ROW) :])
                uses.setdefault(row, [])
            case AIMessage():
                for call in message.tool_calls:
                    calls[call["id"] or ""] = (call["name"], call["args"])
            case ToolMessage() if message.tool_call_id in calls:
                name, arguments = calls[message.tool_call_id]
                if name != EVENT:
                    refused = message.text.startswith("error:") or message.text == AT_LIMIT
                    uses.setdefault(row, []).append(Use(name, arguments, refused))
                if _is_kept(name, message.text):
                    results[call_key(name, arguments)] = message.text
    return Record(results, uses)


def _is_kept(name: str, result: str) -> bool:
    return name not in _LIVE and (name != REQUEST or result == AT_LIMIT)
