"""What a server cannot take of a request, found out from its refusals. Pure.

OpenAI's own form is tried first; a server that wants another one says so, and gets it from then on.
Each concession is one that OpenAI's servers would not need.
"""

import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Any, TypeAlias

from handlers.agent.answerer import CONTENT_FILTER, CONTEXT_LENGTH
from handlers.agent.completions.refusals import Refused

Body: TypeAlias = dict[str, Any]
Message: TypeAlias = dict[str, Any]

BEGUN = "[the conversation begins]"  # said by nobody; customers' square brackets are round
NOTED = "[noted]"
THINKING_ROOM = 4_000  # tokens beside the answer's
UNSIGNED = "skip_thought_signature_validator"
_SHORT = re.compile("[a-zA-Z0-9]{9}")
# Statuses that say something else than what is wrong with a request.
_NOT_OF_THE_FORM = {401, 402, 403, 408, 409, 413, 429, 502, 503, 504}


class Concession(StrEnum):
    """The value is what `doctor` says."""

    MAX_TOKENS = "takes max_tokens, not max_completion_tokens"
    NO_TOOL_CHOICE = "takes no tool_choice"
    NO_TOOLS = "takes no tools: nothing can be requested, and no big knowledge base be searched"
    ONE_CALL = "takes one call of a tool at a time"
    NO_NULL = "wants a text beside calls of tools"
    SHORT_IDS = "wants ids of calls with nine letters and digits"
    NO_SYSTEM = "takes no system message"
    TURNS = "wants user and assistant to take turns"
    REASONING = "wants its reasoning back"
    SIGNATURES = "wants calls signed"
    STREAM = "only streams"
    NO_TEMPERATURE = "takes no temperature"
    NO_EFFORT = "takes no reasoning_effort"


def adapted(body: Body, concessions: Collection[Concession]) -> Body:
    if not concessions:
        return body
    body = dict(body)
    for concession, change in _CHANGES:  # in this order
        if concession in concessions:
            change(body)
    return body


def found_out(refused: Refused, body: Body) -> frozenset[Concession]:
    """What the server's words ask for, of what `body` does not concede yet."""
    of_the_content = refused.word in (CONTENT_FILTER, CONTEXT_LENGTH)
    if of_the_content or refused.status in _NOT_OF_THE_FORM:
        return frozenset()
    asked = {
        concession
        for concession, words in _WORDS.items()
        if words.search(refused.said) and _IS_NEEDED[concession](body)
    }
    if Concession.ONE_CALL in asked:
        asked -= {Concession.NO_TOOLS}
    return frozenset(asked)


# ---- what servers say ----------------------------------------------------------------------------

_SAY = {
    Concession.MAX_TOKENS: r"max_completion_tokens",
    Concession.NO_TOOL_CHOICE: r"tool_choice",
    Concession.NO_TOOLS: r"\b(tools?|functions?)\b.{0,40}\b(not |un)support"
    r"|\b(tools?|functions?)\b.{0,40}\b(not|n't) (be )?(support|enabled)"
    r"|(not|n't|no \w+ found that) support.{0,30}\b(tool|function)|enable-auto-tool-choice"
    r"|(unknown|unrecognized|unsupported|unexpected|extra|additional)\w*.{0,60}\btools\b"
    r"|\btools\b.{0,40}\b(unknown|unrecognized|unexpected|extra|not permitted)"
    r"|only (?:(?!tool).){0,60}roles|'tool' is not one of"
    r"|(unknown|invalid|unsupported) role.{0,5}tool",
    Concession.ONE_CALL: r"(single|one|parallel|multiple) tool.?call|tool.?calls? at (once|a time)",
    Concession.NO_NULL: r"\bcontent\b.{0,80}(null|none\b|required|missing|string|nil)"
    r"|(null|none\b|missing|nil).{0,60}\bcontent\b",
    Concession.SHORT_IDS: r"length of 9|\{9\}|tool.?call.?id.{0,80}(a-z|alphanum|length|pattern)",
    Concession.NO_SYSTEM: r"system.{0,40}not.{0,10}(support|allowed)|not support.{0,30}system"
    r"|only (?:(?!system).){0,60}roles",
    Concession.TURNS: r"alternat|consecutive|expected.{0,12}\brole|role.{0,20} after |same role"
    r"|first.{0,30}message.{0,40}user|(start|begin)s?.{0,30}(with|from).{0,20}user",
    Concession.REASONING: r"reasoning_content",
    Concession.SIGNATURES: r"thought_?signature",
    Concession.STREAM: r"(only|must|please|need|require|enable).{0,60}\bstream"
    r"|\bstream\b.{0,40}(must|should|required|true)|non.?stream",
    Concession.NO_TEMPERATURE: r"\btemperature\b",
    Concession.NO_EFFORT: r"reasoning.?effort",
}
_WORDS = {concession: re.compile(words) for concession, words in _SAY.items()}


def _calls(body: Body) -> list[dict[str, Any]]:
    return [call for message in body["messages"] for call in message.get("tool_calls") or ()]


def _out_of_turn(body: Body) -> bool:
    roles = [m["role"] for m in body["messages"] if m["role"] not in ("system", "developer")]
    pairs = list(itertools.pairwise(roles))
    return (
        roles[:1] == ["assistant"]
        or any(a == b != "tool" for a, b in pairs)
        or ("tool", "user") in pairs
    )


_IS_NEEDED: Mapping[Concession, Callable[[Body], bool]] = {
    Concession.MAX_TOKENS: lambda body: "max_completion_tokens" in body,
    Concession.NO_TOOL_CHOICE: lambda body: "tool_choice" in body,
    Concession.NO_TOOLS: lambda body: "tools" in body or bool(_calls(body)),
    Concession.ONE_CALL: lambda body: any(
        len(m.get("tool_calls") or ()) > 1 for m in body["messages"]
    ),
    Concession.NO_NULL: lambda body: any(m.get("content") is None for m in body["messages"]),
    Concession.SHORT_IDS: lambda body: any(not _SHORT.fullmatch(c["id"]) for c in _calls(body)),
    Concession.NO_SYSTEM: lambda body: any(m["role"] == "system" for m in body["messages"]),
    Concession.TURNS: _out_of_turn,
    Concession.REASONING: lambda body: any(
        m["role"] == "assistant" and "reasoning_content" not in m for m in body["messages"]
    ),
    Concession.SIGNATURES: lambda body: any("extra_content" not in c for c in _calls(body)),
    Concession.STREAM: lambda body: not body.get("stream"),
    Concession.NO_TEMPERATURE: lambda body: "temperature" in body,
    Concession.NO_EFFORT: lambda body: "reasoning_effort" in body,
}


# ---- what they get -------------------------------------------------------------------------------


def _max_tokens(body: Body) -> None:
    body["max_tokens"] = body.pop("max_completion_tokens")


def _no_tool_choice(body: Body) -> None:
    body.pop("tool_choice", None)


def _no_tools(body: Body) -> None:
    """What was called is not said; what came of it is a note, in brackets that no customer has."""
    body.pop("tools", None)
    body.pop("tool_choice", None)
    names = {call["id"]: call["function"]["name"] for call in _calls(body)}
    told: list[Message] = []
    for message in body["messages"]:
        if message["role"] == "tool":
            name = names.get(message["tool_call_id"], "tool")
            told.append({"role": "user", "content": f"[{name}: {message['content']}]"})
        elif not message.get("tool_calls"):
            told.append(message)
        elif message["content"]:
            told.append({"role": "assistant", "content": message["content"]})
    body["messages"] = told


def _one_call(body: Body) -> None:
    """A call, its result, the next call. The results stand in the calls' order or in another."""
    told: list[Message] = []
    waiting: dict[str, dict[str, Any]] = {}
    for message in body["messages"]:
        calls = message.get("tool_calls") or ()
        if len(calls) > 1:
            waiting = {call["id"]: call for call in calls}
            if message["content"]:
                told.append({"role": "assistant", "content": message["content"]})
        elif message["role"] == "tool" and message["tool_call_id"] in waiting:
            call = waiting.pop(message["tool_call_id"])
            told += [{"role": "assistant", "content": None, "tool_calls": [call]}, message]
        else:
            told.append(message)
    body["messages"] = _joined(told, {"assistant"})


def _no_system(body: Body) -> None:
    first, *others = body["messages"]
    if first["role"] == "system":
        body["messages"] = [first | {"role": "user"}, *others]


def _turns(body: Body) -> None:
    told: list[Message] = []
    for message in _joined(body["messages"], {"user", "assistant"}):
        before = told[-1]["role"] if told else "system"
        if before == "system" and message["role"] == "assistant":
            told.append({"role": "user", "content": BEGUN})
        if before == "tool" and message["role"] == "user":
            told.append({"role": "assistant", "content": NOTED})
        told.append(message)
    body["messages"] = told


def _joined(messages: Sequence[Message], roles: Collection[str]) -> list[Message]:
    """Neighbours of one role as one message; what comes after calls of tools is no neighbour."""
    joined: list[Message] = []
    for message in messages:
        last = joined[-1] if joined else None
        if (
            last is None
            or last["role"] != message["role"]
            or message["role"] not in roles
            or last.get("tool_calls")
        ):
            joined.append(message)
            continue
        joined[-1] = {**message, "content": _both(last["content"], message["content"])}
    return joined


def _both(first: Any, second: Any) -> Any:
    """Texts, or parts of one with pictures."""
    if isinstance(first, list) or isinstance(second, list):
        return [*_parts(first), *_parts(second)]
    return "\n".join(text for text in (first, second) if text) or None


def _parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _no_null(body: Body) -> None:
    body["messages"] = [
        message | {"content": ""} if message.get("content") is None else message
        for message in body["messages"]
    ]


def _short_ids(body: Body) -> None:
    body["messages"] = [
        message
        | ({"tool_call_id": _short(message["tool_call_id"])} if "tool_call_id" in message else {})
        | (
            {"tool_calls": [call | {"id": _short(call["id"])} for call in message["tool_calls"]]}
            if "tool_calls" in message
            else {}
        )
        for message in body["messages"]
    ]


def _short(id_: str) -> str:
    return id_ if _SHORT.fullmatch(id_) else sha256(id_.encode()).hexdigest()[:9]


def _reasoning(body: Body) -> None:
    """Reasoning is not kept, and calls of ours never had any: an empty one is taken."""
    body["messages"] = [
        message | {"reasoning_content": ""} if message["role"] == "assistant" else message
        for message in body["messages"]
    ]


def _signatures(body: Body) -> None:
    """Gemini's, which has a word for calls that it did not sign."""
    signed = {"extra_content": {"google": {"thought_signature": UNSIGNED}}}
    body["messages"] = [
        message | {"tool_calls": [call | signed for call in message["tool_calls"]]}
        if message.get("tool_calls")
        else message
        for message in body["messages"]
    ]


def _stream(body: Body) -> None:
    body["stream"] = True


def _no_temperature(body: Body) -> None:
    body.pop("temperature", None)


def _no_effort(body: Body) -> None:
    body.pop("reasoning_effort", None)


def with_room(body: Body) -> Body:
    """For a model that thinks before it answers."""
    return {**body, "max_completion_tokens": body["max_completion_tokens"] + THINKING_ROOM}


_CHANGES: Sequence[tuple[Concession, Callable[[Body], None]]] = (
    (Concession.MAX_TOKENS, _max_tokens),
    (Concession.NO_TOOL_CHOICE, _no_tool_choice),
    (Concession.NO_TOOLS, _no_tools),
    (Concession.ONE_CALL, _one_call),
    (Concession.NO_SYSTEM, _no_system),
    (Concession.TURNS, _turns),
    (Concession.NO_NULL, _no_null),
    (Concession.SHORT_IDS, _short_ids),
    (Concession.REASONING, _reasoning),
    (Concession.SIGNATURES, _signatures),
    (Concession.STREAM, _stream),
    (Concession.NO_TEMPERATURE, _no_temperature),
    (Concession.NO_EFFORT, _no_effort),
)
