"""What tenants' endpoints got and answered. Bounded: of each endpoint the last deliveries, and of
each event what became of it."""

import itertools
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.endpoint_mode import Mode
from simulator.fields import Fields, flag, whole
from simulator.journal import remember
from simulator.script import EndpointAnswer, Script
from simulator.standard_webhooks import Verdict, judge, read_keys

KEPT = 10_000  # deliveries, of an endpoint
KEPT_TOGETHER = 100_000
KEPT_BYTES = 128 * 1024 * 1024  # of bodies, together
MAX_EVENTS = 200_000  # of an endpoint
MAX_ENDPOINTS = 10_000


@dataclass(slots=True)
class Delivery:
    """`status` is what was answered; None: nothing, or nothing yet."""

    seq: int
    at: float
    method: str
    webhook_id: str | None
    arrival: int  # which of this event, from 1
    headers: Mapping[str, str]
    body: bytes
    verdict: Verdict
    status: int | None = None

    def as_json(self) -> dict[str, object]:
        return {
            "seq": self.seq,
            "at": self.at,
            "method": self.method,
            "webhook_id": self.webhook_id,
            "arrival": self.arrival,
            "headers": dict(self.headers),
            "body": self.body.decode(errors="replace"),
            "status": self.status,
            "verified": self.verdict.verified,
            "problem": self.verdict.problem,
            "fits": self.verdict.fits,
        }


@dataclass(slots=True)
class Event:
    """All arrivals under one webhook-id. Taken: answered with a 2xx."""

    first_seq: int
    first_at: float
    body_hash: int
    arrivals: int = 0
    unverified: int = 0
    taken: int = 0
    taken_seq: int | None = None
    taken_at: float | None = None
    same_body: bool = True

    def as_json(self, webhook_id: str) -> dict[str, object]:
        return {
            "webhook_id": webhook_id,
            "first_seq": self.first_seq,
            "first_at": self.first_at,
            "arrivals": self.arrivals,
            "unverified": self.unverified,
            "taken": self.taken,
            "taken_seq": self.taken_seq,
            "taken_at": self.taken_at,
            "same_body": self.same_body,
        }


@dataclass(slots=True)
class Endpoint:
    mode: Mode = field(default_factory=Mode)
    script: Script[EndpointAnswer] = field(default_factory=Script)  # goes before the mode
    keys: tuple[bytes, ...] = ()
    journal: bool = True
    keep: int = KEPT
    deliveries: deque[Delivery] = field(default_factory=deque)
    events: OrderedDict[str, Event] = field(default_factory=OrderedDict)
    count: int = 0
    unverified: int = 0
    answers: Counter[int] = field(default_factory=Counter)

    def as_json(self) -> dict[str, object]:
        """Without the secrets."""
        return {
            **self.mode.as_json(),
            "secrets": len(self.keys),
            "journal": self.journal,
            "keep": self.keep,
            "count": self.count,
            "events": len(self.events),
            "unverified": self.unverified,
            "answers": {str(status): n for status, n in sorted(self.answers.items())},
            "unanswered": self.count - self.answers.total(),
        }

    def answered(self, delivery: Delivery, status: int, now: float) -> None:
        delivery.status = status
        self.answers[status] += 1
        event = self.events.get(delivery.webhook_id or "")
        if event is not None and status < 300:
            event.taken += 1
            if event.taken_seq is None:
                event.taken_seq, event.taken_at = delivery.seq, now


class Endpoints:
    def __init__(self) -> None:
        self._by_name: OrderedDict[str, Endpoint] = OrderedDict()
        self._numbers = itertools.count(1)  # go on when all is forgotten, so `since` stays valid
        self._order: deque[tuple[Endpoint, int]] = deque()  # by seq; some are dropped already
        self._bytes = 0

    def of(self, name: str) -> Endpoint:
        known = self._by_name.get(name)
        if known is None:
            known = Endpoint()
            remember(self._by_name, name, known, MAX_ENDPOINTS)
        return known

    def took(
        self, endpoint: Endpoint, method: str, headers: Mapping[str, str], body: bytes, now: float
    ) -> Delivery:
        """Keeps what came; the answer is told when it is out."""
        webhook_id = headers.get("webhook-id")
        seq = next(self._numbers)
        verdict = judge(endpoint.keys, headers, body, now)
        endpoint.count += 1
        endpoint.unverified += verdict.verified is False
        event = _event(endpoint, webhook_id, seq, body, now)
        event.arrivals += 1
        event.unverified += verdict.verified is False
        delivery = Delivery(seq, now, method, webhook_id, event.arrivals, headers, body, verdict)
        self._keep(endpoint, delivery)
        return delivery

    def forget(self) -> None:
        """Also scripts and modes; secrets and how much is kept are settings, and stay."""
        for endpoint in self._by_name.values():
            self.forget_one(endpoint)
            endpoint.mode = Mode()
            endpoint.script.replace([])

    def forget_one(self, endpoint: Endpoint) -> None:
        while endpoint.deliveries:
            self._drop(endpoint)
        endpoint.events.clear()
        endpoint.answers.clear()
        endpoint.count = endpoint.unverified = 0

    def _keep(self, endpoint: Endpoint, delivery: Delivery) -> None:
        endpoint.deliveries.append(delivery)
        self._order.append((endpoint, delivery.seq))
        self._bytes += len(delivery.body)
        while len(endpoint.deliveries) > endpoint.keep:
            self._drop(endpoint)
        while len(self._order) > KEPT_TOGETHER or self._bytes > KEPT_BYTES:
            owner, seq = self._order.popleft()
            if owner.deliveries and owner.deliveries[0].seq == seq:
                self._drop(owner)

    def _drop(self, endpoint: Endpoint) -> None:
        self._bytes -= len(endpoint.deliveries.popleft().body)


def _event(endpoint: Endpoint, webhook_id: str | None, seq: int, body: bytes, now: float) -> Event:
    if webhook_id is None:
        return Event(seq, now, 0)
    known = endpoint.events.get(webhook_id)
    if known is None:
        known = Event(seq, now, hash(body))
        remember(endpoint.events, webhook_id, known, MAX_EVENTS)
    elif known.body_hash != hash(body):
        known.same_body = False
    return known


def change(endpoint: Endpoint, given: Fields, mode: Mode | None) -> None:
    """What is given besides the mode; everything or nothing."""
    keys = given.take("secrets", read_keys, endpoint.keys)
    journal = given.take("journal", flag, endpoint.journal)
    keep = given.take("keep", whole, endpoint.keep)
    if not 0 <= keep <= KEPT:
        given.complain(f"keep: must be between 0 and {KEPT}")
    given.done()
    endpoint.keys, endpoint.journal, endpoint.keep = keys, journal, keep
    if mode is not None:
        endpoint.mode = mode
