"""What a storm of deliveries must not have broken, by what the endpoints saw and what the rows say.
Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

TRIES = 9  # and a delivery has failed


@dataclass(frozen=True, slots=True)
class Row:
    """A delivery as the database has it in the end."""

    event_id: int
    message_id: int  # what the event tells of
    conversation_id: int
    body: str
    status: str
    tries: int
    attempts: tuple[int | None, ...]  # what each was answered with

    @property
    def name(self) -> str:
        return f"evt_{self.event_id}"


@dataclass(frozen=True, slots=True)
class Arrived:
    """What an endpoint saw under one webhook-id."""

    name: str
    arrivals: int
    verified: bool  # all of them
    same_body: bool
    body: str | None  # None: no longer kept
    taken: int  # answered with a 2xx
    taken_place: int | None  # the first such among all of the endpoint


@dataclass(frozen=True, slots=True)
class Endpoint:
    name: str
    takes: bool  # sooner or later
    ordered: bool
    rows: Sequence[Row]
    arrived: Sequence[Arrived]
    answers: Mapping[int, int] = field(default_factory=dict)  # by status; empty: it has no server


@dataclass(frozen=True, slots=True)
class Verdict:
    violations: list[str]
    deliveries: int
    delivered: int
    again: int  # taken more than once, which is what at least once may cost


def judge(endpoints: Sequence[Endpoint], told: Mapping[int, int]) -> Verdict:
    """`told`: of each message that was told, by whose transaction was known to be committed, how
    many webhooks wanted it."""
    rows = [row for endpoint in endpoints for row in endpoint.rows]
    violations = [
        f"{endpoint.name}: {what}" for endpoint in endpoints for what in _broken(endpoint)
    ]
    counted = Counter(row.message_id for row in rows)
    violations += [
        f"message {message_id}: {counted[message_id]} deliveries of {wanted}"
        for message_id, wanted in told.items()
        if counted[message_id] != wanted
    ]
    taken = [one.taken for endpoint in endpoints for one in endpoint.arrived if one.taken]
    delivered = sum(row.status == "delivered" for row in rows)
    return Verdict(violations, len(rows), delivered, sum(taken) - len(taken))


def _broken(endpoint: Endpoint) -> Iterator[str]:
    arrived = {one.name: one for one in endpoint.arrived}
    for row in endpoint.rows:
        yield from _broken_row(endpoint, row, arrived.get(row.name))
    of_message: dict[int, set[str]] = defaultdict(set)
    for row in endpoint.rows:
        of_message[row.message_id].add(row.name)
    for message_id, names in of_message.items():
        if len(names) > 1:
            yield f"message {message_id} went by several ids: {sorted(names)}"
    for name in arrived.keys() - {row.name for row in endpoint.rows}:
        yield f"{name} came, and no row tells of it"
    recorded = Counter(code for row in endpoint.rows for code in row.attempts if code is not None)
    for code, count in recorded.items():
        if endpoint.answers and count > endpoint.answers.get(code, 0):
            yield f"{count} attempts with {code}, and {endpoint.answers.get(code, 0)} such answers"
    if endpoint.ordered:
        yield from _disorder(endpoint, arrived)


def _broken_row(endpoint: Endpoint, row: Row, came: Arrived | None) -> Iterator[str]:
    taken = came is not None and came.taken > 0
    if endpoint.takes and not taken:
        yield f"{row.name} never arrived"
    if (row.status == "delivered") != taken:
        yield f"{row.name} is {row.status}, and taken {came.taken if came else 0} times"
    if row.tries > len(row.attempts):
        yield f"{row.name}: {row.tries} tries and {len(row.attempts)} attempts on record"
    fine = any(code is not None and 200 <= code < 300 for code in row.attempts)
    if fine != (row.status == "delivered"):
        yield f"{row.name} is {row.status} by the attempts {row.attempts}"
    if row.status == "failed" and len(row.attempts) < TRIES:
        yield f"{row.name} was given up after {len(row.attempts)} attempts"
    if came is None:
        return
    if not came.verified:
        yield f"{row.name}: a signature that does not fit"
    if not came.same_body or came.body not in (None, row.body):
        yield f"{row.name}: another body"
    if endpoint.answers and len(row.attempts) > came.arrivals:
        yield f"{row.name}: {len(row.attempts)} attempts on record, {came.arrivals} arrived"


def _disorder(endpoint: Endpoint, arrived: Mapping[str, Arrived]) -> Iterator[str]:
    """By the first that was taken, the events of a conversation go up."""
    last: dict[int, tuple[int, int]] = {}
    for row in sorted(endpoint.rows, key=lambda row: row.event_id):
        one = arrived.get(row.name)
        if one is None or one.taken_place is None:
            continue
        place, before = last.get(row.conversation_id, (-1, 0))
        if one.taken_place < place:
            yield f"{row.name} of conversation {row.conversation_id} was taken before evt_{before}"
        last[row.conversation_id] = max((place, before), (one.taken_place, row.event_id))
