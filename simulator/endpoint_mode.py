"""How a tenant's endpoint answers, until it is told otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Literal, get_args

from simulator import fields
from simulator.fields import Fields, Unfit

ModeName = Literal[
    "ok", "fail", "slow", "hang", "dead", "gone", "retry_after", "redirect", "endless", "flaky"
]
MODES: tuple[ModeName, ...] = get_args(ModeName)
STATUSES: Mapping[ModeName, int] = {
    "fail": 500,
    "flaky": 500,
    "gone": 410,
    "retry_after": 429,
    "redirect": 302,
}
SLOW_MS = 5_000


@dataclass(frozen=True, slots=True)
class Mode:
    """What a mode does not use is told all the same, and does nothing."""

    name: ModeName = "ok"
    status: int = 200
    delay_ms: int = 0  # before the answer; of `endless` between two pieces
    times: int = 1  # of `flaky`: so many arrivals of each event fail
    retry_after: str | int | None = None
    as_date: bool = False  # whole seconds of retry_after are told as the date that they lead to
    location: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None

    def status_for(self, arrival: int) -> int | None:
        """Of an event's first, second, ... arrival; None: there is no answer."""
        if self.name in ("hang", "dead"):
            return None
        if self.name == "flaky" and arrival > self.times:
            return 200
        return self.status

    def headers_at(self, now: float) -> dict[str, str]:
        headers = dict(self.headers)
        if self.location is not None:
            headers["Location"] = self.location
        if isinstance(self.retry_after, int) and self.as_date:
            headers["Retry-After"] = formatdate(now + self.retry_after, usegmt=True)
        elif self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return headers

    def as_json(self) -> dict[str, object]:
        return {
            "mode": self.name,
            "status": self.status,
            "delay_ms": self.delay_ms,
            "times": self.times,
            "retry_after": self.retry_after,
            "as_date": self.as_date,
            "location": self.location,
            "headers": dict(self.headers),
            "body": self.body,
        }


def take_mode(given: Fields) -> Mode | None:
    """The keys of a mode; None: no mode is named."""
    name = given.take("mode", _name, None)
    mode = Mode(
        name=name or "ok",
        status=given.take("status", fields.http_status, STATUSES.get(name or "ok", 200)),
        delay_ms=given.take("delay_ms", fields.milliseconds, SLOW_MS if name == "slow" else 0),
        times=given.take("times", fields.repeats, 1),
        retry_after=given.take("retry_after", _retry_after, None),
        as_date=given.take("as_date", fields.flag, False),
        location=given.take("location", fields.filled, None),
        headers=given.take("headers", fields.headers, {}),
        body=given.take("body", fields.text, None),
    )
    if name is None:
        if named := [key for key in mode.as_json() if given.has(key)]:
            given.complain(f"{', '.join(named)}: belongs to a `mode`, and none is given")
        return None
    if name == "redirect" and mode.location is None:
        given.complain("the mode redirect needs `location`")
    if name == "retry_after" and mode.retry_after is None:
        given.complain("the mode retry_after needs `retry_after`")
    return mode


def _name(value: object) -> ModeName:
    for name in MODES:
        if name == value:
            return name
    raise Unfit(f"must be one of {', '.join(MODES)}")


def _retry_after(value: object) -> str | int:
    """Seconds, or the header as it is: a date, or what is none."""
    return fields.filled(value) if isinstance(value, str) else fields.whole(value)
