"""What a run does: who writes what when, and what goes wrong. All of it comes from the seed; only
how the processes interleave does not."""

import base64
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Blow = Literal[
    "kill worker", "stop worker", "kill ingress", "stop ingress", "crash broker", "crash database"
]

TENANTS = 5
WORKERS = 3
DUPLICATES = 0.05  # of the messages
BURSTS = 8  # of a customer
LIMITED_TENANT = TENANTS - 1  # its plan ends in the middle of the run
LATENCIES_MS = (50, 400)  # of the model
MODEL_ERRORS = 0.2  # of the conversations: one 500, which the model's client repeats
SHARED_PEOPLE = 0.05  # of the customers write to two tenants
FIRST_BLOW_S = 5.0
LAST_BLOW_S = 7.0  # before the end
BETWEEN_BLOWS_S = 2.5

# Share of the conversations that meet each, at some moment of the run.
GRAPH_FAULTS: tuple[tuple[float, Json], ...] = (
    (0.06, {"kind": "timeout_after_accept", "hold_ms": 300}),
    (0.03, {"kind": "error", "status": 500, "code": 131000, "accepted": True}),
    (0.02, {"kind": "html", "status": 502, "accepted": True}),
    (0.05, {"kind": "error", "status": 503, "code": 131016}),
    (0.03, {"kind": "error", "status": 500, "code": 2, "times": 3}),
    (0.02, {"kind": "error", "status": 429, "code": 131056}),
    (0.02, {"kind": "error", "status": 500, "code": 131000}),
    (0.02, {"kind": "timeout_before_accept", "hold_ms": 200}),
    (0.03, {"kind": "slow", "delay_ms": 1_500}),
    # The one that may double: accepted, and nobody ever hears of it.
    (0.01, {"kind": "timeout_after_accept", "hold_ms": 200, "statuses": []}),
)


@dataclass(frozen=True, slots=True)
class Size:
    messages: int
    conversations: int
    seconds: float
    daily_limit: int  # of the tenant that has one
    blows: Mapping[Blow, int]


SMALL = Size(
    messages=1_000,
    conversations=100,
    seconds=40.0,
    daily_limit=20,
    blows={
        "kill worker": 2,
        "stop worker": 1,
        "kill ingress": 2,
        "stop ingress": 1,
        "crash broker": 1,
        "crash database": 1,
    },
)
FULL = Size(
    messages=3_000,
    conversations=200,
    seconds=75.0,
    daily_limit=60,
    blows={
        "kill worker": 4,
        "stop worker": 2,
        "kill ingress": 3,
        "stop ingress": 2,
        "crash broker": 2,
        "crash database": 2,
    },
)


@dataclass(frozen=True, slots=True)
class Message:
    text: str  # no other message has it
    wamid: str


@dataclass(frozen=True, slots=True)
class Post:
    """One webhook."""

    at: float  # seconds after the start, or as soon as the customer's last one was answered
    messages: tuple[Message, ...]
    twin: bool = False  # the same at the same moment at the other ingress
    again_after: float | None = None  # once more, in another envelope


@dataclass(frozen=True, slots=True)
class Customer:
    number: int
    tenant: int
    digits: str
    posts: tuple[Post, ...]


@dataclass(frozen=True, slots=True)
class Strike:
    at: float
    blow: Blow
    away_s: float  # how long a server stays down
    dice: float  # which process


@dataclass(frozen=True, slots=True)
class GraphFault:
    at: float
    customer: int
    fault: Json


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    size: Size
    customers: tuple[Customer, ...]
    strikes: tuple[Strike, ...]
    graph_faults: tuple[GraphFault, ...]
    model_rules: tuple[Json, ...]


def draw(seed: int, size: Size) -> Plan:
    dice = random.Random(seed)
    customers = _customers(dice, size)
    return Plan(
        seed=seed,
        size=size,
        customers=customers,
        strikes=_strikes(dice, size),
        graph_faults=_graph_faults(dice, size),
        model_rules=_model_rules(dice, customers),
    )


def _customers(dice: random.Random, size: Size) -> tuple[Customer, ...]:
    count = size.conversations
    weights = [1 / rank**0.8 for rank in range(1, count + 1)]
    dice.shuffle(weights)
    messages = [1] * count
    for number in dice.choices(range(count), weights, k=size.messages - count):
        messages[number] += 1
    tenants = dice.choices(range(TENANTS), [1 / rank for rank in range(1, TENANTS + 1)], k=count)
    tenants[:TENANTS] = range(TENANTS)  # each has somebody
    rushes = [dice.uniform(0, size.seconds) for _ in range(5)]
    customers = []
    for number in range(count):
        person = number
        twin = number - count // 2
        if twin >= 0 and tenants[twin] != tenants[number] and dice.random() < 2 * SHARED_PEOPLE:
            person = twin
        customers.append(
            Customer(
                number=number,
                tenant=tenants[number],
                digits=f"1202555{person:04d}",
                posts=_posts(dice, size, number, messages[number], rushes),
            )
        )
    return tuple(customers)


def _posts(
    dice: random.Random, size: Size, customer: int, count: int, rushes: Sequence[float]
) -> tuple[Post, ...]:
    """Bursts at random moments, some of them when everybody writes."""
    bursts: list[tuple[float, int]] = []
    left = count
    while left:
        # Nobody has more than BURSTS: who answers at once more often is taken for a bot.
        least = -(-left // (BURSTS - len(bursts)))
        burst = min(left, max(least, dice.choice((1, 1, 2, 3, 4, 6))))
        left -= burst
        at = dice.uniform(0, size.seconds)
        if dice.random() < 0.3:
            at = min(max(0.0, dice.gauss(dice.choice(rushes), 0.7)), size.seconds)
        bursts.append((at, burst))
    posts: list[Post] = []
    written = 0
    for start, length in sorted(bursts):
        at, left = start, length
        while left:
            together = min(left, dice.choice((1, 1, 1, 1, 1, 2, 3)))
            messages = tuple(
                Message(f"c{customer:03d}-m{written + place:03d}", _wamid(dice))
                for place in range(together)
            )
            twice = dice.random() < DUPLICATES
            twin = twice and dice.random() < 0.5
            again_after = dice.uniform(0.2, 9.0) if twice and not twin else None
            posts.append(Post(at, messages, twin, again_after))
            written += together
            left -= together
            at += dice.uniform(0.01, 0.25)
    return tuple(posts)


def _wamid(dice: random.Random) -> str:
    return "wamid." + base64.b64encode(dice.randbytes(33)).decode()


def _strikes(dice: random.Random, size: Size) -> tuple[Strike, ...]:
    blows = [blow for blow, times in size.blows.items() for _ in range(times)]
    dice.shuffle(blows)
    room = size.seconds - FIRST_BLOW_S - LAST_BLOW_S - BETWEEN_BLOWS_S * (len(blows) - 1)
    offsets = sorted(dice.uniform(0, room) for _ in blows)
    return tuple(
        Strike(
            at=FIRST_BLOW_S + offset + BETWEEN_BLOWS_S * place,
            blow=blow,
            away_s=dice.uniform(1.0, 2.0),
            dice=dice.random(),
        )
        for place, (offset, blow) in enumerate(zip(offsets, blows, strict=True))
    )


def _graph_faults(dice: random.Random, size: Size) -> tuple[GraphFault, ...]:
    faults = [
        GraphFault(dice.uniform(0, size.seconds), dice.randrange(size.conversations), fault)
        for share, fault in GRAPH_FAULTS
        for _ in range(max(1, round(share * size.conversations)))
    ]
    return tuple(sorted(faults, key=lambda one: one.at))


def _model_rules(dice: random.Random, customers: Sequence[Customer]) -> tuple[Json, ...]:
    """The answer itself is the simulator's own: it names the inputs it saw."""
    erring = dice.sample(customers, round(MODEL_ERRORS * len(customers)))
    errors: list[Json] = [
        {
            "match": dice.choice(dice.choice(one.posts).messages).text,
            "status": dice.choice((500, 502, 503)),
            "latency_ms": dice.randint(*LATENCIES_MS),
            "times": 1,
        }
        for one in erring
    ]
    latencies: list[Json] = [
        {"match": f"{digit}$", "latency_ms": dice.randint(*LATENCIES_MS)} for digit in range(10)
    ]
    return (*errors, *latencies)
