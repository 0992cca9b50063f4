"""What is played: faults of the Graph API, rules of the model, answers of a tenant's endpoint."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar, get_args

from simulator import fields
from simulator.customers import customer_key
from simulator.fields import Fields, Unfit, read_list
from simulator.settings import Status, read_statuses

FaultKind = Literal[
    "error", "html", "timeout_after_accept", "timeout_before_accept", "slow", "async_failure"
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass(frozen=True, slots=True)
class Fault:
    kind: FaultKind
    status: int
    code: int
    message: str
    details: str
    retry_after: int | None
    hold_ms: int
    delay_ms: int
    accepted: bool
    statuses: tuple[Status, ...] | None
    phone_number_id: str | None
    to: str | None
    times: int | None

    def concerns(self, phone_number_id: str, customer: str) -> bool:
        return self.phone_number_id in (None, phone_number_id) and self.to in (None, customer)


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Rule:
    match: re.Pattern[str] | None
    system_match: re.Pattern[str] | None
    tool_match: re.Pattern[str] | None
    reply: str | None
    tool_calls: tuple[ToolCall, ...]
    latency_ms: int | None
    status: int | None
    retry_after: int | None
    hang_ms: int | None
    times: int | None


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    status: int
    delay_ms: int
    headers: Mapping[str, str]
    times: int | None


class Repeated(Protocol):
    @property
    def times(self) -> int | None: ...


R = TypeVar("R", bound=Repeated)


class Script(Generic[R]):
    """Lines played in order; each serves `times` takers, or all of them when that is None."""

    def __init__(self) -> None:
        self._lines: list[tuple[R, int | None]] = []

    def extend(self, lines: list[R]) -> None:
        self._lines.extend((line, line.times) for line in lines)

    def replace(self, lines: list[R]) -> None:
        self._lines.clear()
        self.extend(lines)

    def take(self, fits: Callable[[R], bool]) -> R | None:
        for position, (line, left) in enumerate(self._lines):
            if not fits(line):
                continue
            if left == 1:
                del self._lines[position]
            elif left is not None:
                self._lines[position] = (line, left - 1)
            return line
        return None


def read_faults(value: object) -> list[Fault]:
    return read_list("faults", value, _fault)


def read_rules(value: object) -> list[Rule]:
    return read_list("rules", value, _rule)


def read_endpoint_answers(value: object) -> list[EndpointAnswer]:
    return read_list("answers", value, _endpoint_answer)


def _customer(value: object) -> str:
    return customer_key(fields.text(value))


def _fault_kind(value: object) -> FaultKind:
    for kind in FAULT_KINDS:
        if kind == value:
            return kind
    raise Unfit(f"must be one of {', '.join(FAULT_KINDS)}")


def _fault(where: str, value: object) -> Fault:
    given = Fields(where, value)
    kind = given.need("kind", _fault_kind, FAULT_KINDS[0])
    fault = Fault(
        kind=kind,
        status=given.take("status", fields.http_status, 502 if kind == "html" else 400),
        code=given.take("code", fields.whole, 0),
        message=given.take("message", fields.text, "Simulated failure"),
        details=given.take("details", fields.text, "Scripted by the simulator."),
        retry_after=given.take("retry_after", fields.whole, None),
        hold_ms=given.take(
            "hold_ms", fields.milliseconds, 30_000 if kind == "timeout_after_accept" else 0
        ),
        delay_ms=given.take("delay_ms", fields.milliseconds, 0),
        accepted=given.take("accepted", fields.flag, False),
        statuses=given.take("statuses", read_statuses, None),
        phone_number_id=given.take("phone_number_id", fields.filled, None),
        to=given.take("to", _customer, None),
        times=_times(given, 1),
    )
    if kind in ("error", "async_failure") and not given.has("code"):
        given.complain(f"a fault of kind {kind} needs `code`")
    given.done()
    return fault


def _rule(where: str, value: object) -> Rule:
    given = Fields(where, value)
    rule = Rule(
        match=given.take("match", fields.regex, None),
        system_match=given.take("system_match", fields.regex, None),
        tool_match=given.take("tool_match", fields.regex, None),
        reply=given.take("reply", fields.text, None),
        tool_calls=given.take("tool_calls", _tool_calls, ()),
        latency_ms=given.take("latency_ms", fields.milliseconds, None),
        status=given.take("status", fields.http_status, None),
        retry_after=given.take("retry_after", fields.whole, None),
        hang_ms=given.take("hang_ms", fields.milliseconds, None),
        times=_times(given, None),
    )
    outcomes = (rule.reply, rule.tool_calls or None, rule.status, rule.hang_ms, rule.latency_ms)
    if all(outcome is None for outcome in outcomes):
        given.complain("needs `reply`, `tool_calls`, `status`, `hang_ms` or `latency_ms`")
    given.done()
    return rule


def _times(given: Fields, default: int | None) -> int | None:
    """`times` may be null, which means without end."""
    return given.take("times", fields.repeats, None) if given.has("times") else default


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


def _endpoint_answer(where: str, value: object) -> EndpointAnswer:
    given = Fields(where, value)
    answer = EndpointAnswer(
        status=given.need("status", fields.http_status, 200),
        delay_ms=given.take("delay_ms", fields.milliseconds, 0),
        headers=given.take("headers", fields.headers, {}),
        times=_times(given, 1),
    )
    given.done()
    return answer
