"""What the model is told to answer: well formed, or in any way that servers were seen to."""

import json
import re
from dataclasses import dataclass

from simulator import fields
from simulator.fields import Fields, Unfit, read_list

MAX_FILLER = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer as it is given, in the place of a completion."""

    body: str
    content_type: str = "application/json"
    filler: int = 0  # bytes of "x" behind it
    gzip: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    match: re.Pattern[str] | None
    system_match: re.Pattern[str] | None
    tool_match: re.Pattern[str] | None
    anywhere: re.Pattern[str] | None  # of all that it is told, old and new
    reply: str | None
    tool_calls: tuple[ToolCall, ...]
    message: dict[str, object]  # what else the assistant's message has, or has instead
    finish_reason: str | None
    usage: object
    streamed: bool  # as server-sent events, though nobody asked for them
    raw: Raw | None
    latency_ms: int | None
    status: int | None
    retry_after: int | None
    hang_ms: int | None
    times: int | None


def read_rules(value: object) -> list[Rule]:
    return read_list("rules", value, _rule)


def _rule(where: str, value: object) -> Rule:
    given = Fields(where, value)
    rule = Rule(
        match=given.take("match", fields.regex, None),
        system_match=given.take("system_match", fields.regex, None),
        tool_match=given.take("tool_match", fields.regex, None),
        anywhere=given.take("anywhere", fields.regex, None),
        reply=given.take("reply", fields.text, None),
        tool_calls=given.take("tool_calls", _tool_calls, ()),
        message=given.take("message", _object, {}),
        finish_reason=given.take("finish_reason", fields.text, None),
        usage=given.take("usage", lambda anything: anything, None),
        streamed=given.take("streamed", fields.flag, False),
        raw=given.take("raw", _raw, None),
        latency_ms=given.take("latency_ms", fields.milliseconds, None),
        status=given.take("status", fields.http_status, None),
        retry_after=given.take("retry_after", fields.whole, None),
        hang_ms=given.take("hang_ms", fields.milliseconds, None),
        times=given.times(None),
    )
    outcomes = ("reply", "tool_calls", "message", "raw", "status", "hang_ms", "latency_ms")
    if not any(given.has(outcome) for outcome in outcomes):
        given.complain(f"needs one of {', '.join(outcomes)}")
    given.done()
    return rule


def _tool_calls(value: object) -> tuple[ToolCall, ...]:
    return tuple(read_list("tool_calls", value, _tool_call))


def _tool_call(where: str, value: object) -> ToolCall:
    given = Fields(where, value)
    call = ToolCall(
        name=given.need("name", fields.filled, ""),
        arguments=given.take("arguments", _arguments, "{}"),
    )
    given.done()
    return call


def _arguments(value: object) -> str:
    """An object is encoded; a string goes out as it is, so that broken JSON can be played."""
    return value if isinstance(value, str) else json.dumps(value)


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise Unfit("must be an object")
    return value


def _raw(value: object) -> Raw:
    given = Fields("raw", value)
    if given.has("json") == given.has("body"):
        given.complain("needs either `json` or `body`")
    body = given.take("json", json.dumps, None)
    raw = Raw(
        body=given.take("body", fields.text, "") if body is None else body,
        content_type=given.take("content_type", fields.filled, "application/json"),
        filler=given.take("filler", _filler, 0),
        gzip=given.take("gzip", fields.flag, False),
    )
    given.done()
    return raw


def _filler(value: object) -> int:
    if not 0 <= (number := fields.whole(value)) <= MAX_FILLER:
        raise Unfit(f"must be between 0 and {MAX_FILLER} bytes")
    return number
