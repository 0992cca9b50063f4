"""What is played: faults of the Graph API, rules of the model, answers of a tenant's endpoint."""

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
        times=given.times(1),
    )
    if kind in ("error", "async_failure") and not given.has("code"):
        given.complain(f"a fault of kind {kind} needs `code`")
    given.done()
    return fault


def _endpoint_answer(where: str, value: object) -> EndpointAnswer:
    given = Fields(where, value)
    answer = EndpointAnswer(
        status=given.need("status", fields.http_status, 200),
        delay_ms=given.take("delay_ms", fields.milliseconds, 0),
        headers=given.take("headers", fields.headers, {}),
        times=given.times(1),
    )
    given.done()
    return answer
