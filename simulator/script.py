"""What the simulator is told to do: its settings, and the rules and faults it plays."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, Protocol, Self, TypeVar, get_args
from urllib.parse import urlsplit

from simulator import fields
from simulator.fields import Fields, Unfit, read_list
from simulator.kinds import KINDS, Kind
from simulator.lies import Lies, read_lies
from simulator.quirks import Quirks, read_quirks

Status = Literal["sent", "delivered", "read", "played", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)

FaultKind = Literal[
    "error", "html", "timeout_after_accept", "timeout_before_accept", "slow", "async_failure"
]
FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)


@dataclass(frozen=True, slots=True)
class Number:
    phone_number_id: str
    display_phone_number: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    webhook_urls: tuple[str, ...] = ()  # of several, attempts take them in turns
    app_secret: str = "simulated-app-secret"  # noqa: S105 - nobody's
    numbers: Mapping[str, Number] = field(default_factory=dict)
    status_delay_ms: int = 30
    statuses: tuple[Status, ...] = ("sent", "delivered")
    model_latency_ms: int = 0
    webhook_retry: bool = False
    templates: tuple[str, ...] = ()  # those that are approved; none: any is taken
    lies: Lies = field(default_factory=Lies)
    model_quirks: Quirks = field(default_factory=Quirks)
    subscribed: bool = True  # the account's webhooks reach the app

    def number(self, phone_number_id: str) -> Number:
        return self.numbers.get(phone_number_id) or Number(phone_number_id, phone_number_id)


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


def merge_settings(settings: Settings, value: object) -> Settings:
    given = Fields("config", value)
    merged = replace(
        settings,
        webhook_urls=given.take("webhook_url", _urls, settings.webhook_urls),
        app_secret=given.take("app_secret", fields.filled, settings.app_secret),
        numbers={**settings.numbers, **given.take("numbers", _numbers, {})},
        status_delay_ms=given.take(
            "status_delay_ms", fields.milliseconds, settings.status_delay_ms
        ),
        statuses=given.take("statuses", _statuses, settings.statuses),
        model_latency_ms=given.take(
            "model_latency_ms", fields.milliseconds, settings.model_latency_ms
        ),
        webhook_retry=given.take("webhook_retry", fields.flag, settings.webhook_retry),
        templates=given.take("templates", fields.texts, settings.templates),
        lies=_lies(given, settings.lies),
        model_quirks=given.take(
            "model_quirks",
            lambda value: read_quirks(settings.model_quirks, value),
            settings.model_quirks,
        ),
        subscribed=given.take("subscribed", fields.flag, settings.subscribed),
    )
    given.done()
    return merged


def read_faults(value: object) -> list[Fault]:
    return read_list("faults", value, _fault)


def read_endpoint_answers(value: object) -> list[EndpointAnswer]:
    return read_list("answers", value, _endpoint_answer)


@dataclass(frozen=True, slots=True)
class Inbound:
    """Texts that one customer writes to one business number."""

    phone_number_id: str
    digits: str | None
    user_id: str | None
    name: str | None
    texts: tuple[str, ...]
    wamids: tuple[str, ...] | None
    timestamp: str | None
    one_post: bool

    @property
    def customer(self) -> str:
        return self.digits or self.user_id or ""

    @classmethod
    def read(cls, value: object) -> Self:
        given = Fields("message", value)
        number = given.take("from", fields.digits, None)
        derived = f"US.{number}" if number and not given.has("user_id") else None
        inbound = cls(
            phone_number_id=given.need("phone_number_id", fields.filled, ""),
            digits=number,
            user_id=given.take("user_id", bsuid, None) or derived,
            name=given.take("name", fields.text, "Customer" if not given.has("name") else None),
            texts=given.need("texts", fields.texts, ()),
            wamids=given.take("wamids", fields.texts, None),
            timestamp=given.take("timestamp", _timestamp, None),
            one_post=given.take("one_post", fields.flag, True),
        )
        if not inbound.customer:
            given.complain("needs `from`, `user_id` or both")
        if not inbound.texts:
            given.complain("needs at least one text in `texts`")
        if inbound.wamids is not None and len(inbound.wamids) != len(inbound.texts):
            given.complain("needs as many `wamids` as `texts`")
        given.done()
        return inbound


@dataclass(frozen=True, slots=True)
class Doing:
    """What a customer does, or the owner on the phone (an echo), that is no plain text."""

    by: Inbound
    kind: Kind
    text: str | None  # caption, new text, emoji, title
    target: str | None  # the wamid that it is about; None: the last one that fits

    @classmethod
    def read(cls, value: object) -> Self:
        given = Fields("update", value)
        kind = given.need("kind", _kind, KINDS[0])
        text = given.take("text", fields.text, None)
        target = given.take("target", fields.filled, None)
        names = ("phone_number_id", "from", "user_id", "name", "timestamp", "wamid")
        who = {name: given.take(name, lambda v: v, None) for name in names if given.has(name)}
        given.done()
        wamid = who.pop("wamid", None)
        by = Inbound.read(
            {**who, "texts": [text or kind], **({"wamids": [wamid]} if wamid else {})}
        )
        return cls(by, kind, text, target)


def _kind(value: object) -> Kind:
    for kind in KINDS:
        if kind == value:
            return kind
    raise Unfit(f"must be one of {', '.join(KINDS)}")


@dataclass(frozen=True, slots=True)
class RawPost:
    payload: object
    body: str | None
    signed: bool
    signature: str | None
    secret: str | None
    headers: Mapping[str, str]

    @classmethod
    def read(cls, value: object) -> Self:
        given = Fields("raw", value)
        if given.has("payload") == given.has("body"):
            given.complain("needs either `payload` or `body`")
        post = cls(
            payload=given.take("payload", lambda anything: anything, None),
            body=given.take("body", fields.text, None),
            signed=not given.has("signature"),
            signature=given.take("signature", fields.text, None),
            secret=given.take("secret", fields.filled, None),
            headers=given.take("headers", fields.headers, {}),
        )
        given.done()
        return post


def is_bsuid(value: str) -> bool:
    return re.fullmatch(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}", value) is not None


def bsuid(value: object) -> str:
    if not is_bsuid(user_id := fields.text(value)):
        raise Unfit("must be a business-scoped user id such as US.7749201836651042378")
    return user_id


def customer_key(value: str) -> str:
    """How a customer is named here: digits of the phone number, or the BSUID."""
    return value if is_bsuid(value) else re.sub(r"[^0-9]", "", value)


def _customer(value: object) -> str:
    return customer_key(fields.text(value))


def _url(value: object) -> str:
    parts = urlsplit(url := fields.text(value))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unfit("must be an http or https URL")
    return url


def _urls(value: object) -> tuple[str, ...]:
    """One, or a list of them."""
    if not isinstance(value, list):
        return (_url(value),)
    if not value:
        raise Unfit("must be a URL or a list of them")
    return tuple(_url(item) for item in value)


def _timestamp(value: object) -> str:
    if not re.fullmatch(r"[0-9]{1,12}", stamp := str(value)):
        raise Unfit("must be unix seconds")
    return stamp


def _statuses(value: object) -> tuple[Status, ...]:
    names = fields.texts(value)
    known = tuple(status for name in names for status in STATUSES if status == name)
    if len(known) != len(names):
        raise Unfit(f"must be a list of {', '.join(STATUSES)}")
    return known


def _numbers(value: object) -> dict[str, Number]:
    numbers = read_list("numbers", value, _number)
    return {number.phone_number_id: number for number in numbers}


def _number(where: str, value: object) -> Number:
    given = Fields(where, value)
    number = Number(
        phone_number_id=given.need("phone_number_id", fields.filled, ""),
        display_phone_number=given.need("display_phone_number", fields.digits, ""),
        token=given.take("token", fields.filled, None),
    )
    given.done()
    return number


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
        statuses=given.take("statuses", _statuses, None),
        phone_number_id=given.take("phone_number_id", fields.filled, None),
        to=given.take("to", _customer, None),
        times=given.times(1),
    )
    if kind in ("error", "async_failure") and not given.has("code"):
        given.complain(f"a fault of kind {kind} needs `code`")
    given.done()
    return fault


def _lies(given: Fields, lies: Lies) -> Lies:
    """`lies` may be null, which ends them all."""

    def read(value: object) -> Lies:
        return read_lies(lies, value)

    return given.take("lies", read, lies)


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
