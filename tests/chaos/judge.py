"""What was seen against what was promised."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import ceil

from tests.chaos.plan import Plan

NAMES = re.compile(r"c\d{3}-m\d{3}")
# A status that was answered 200 this long before the message went out again should have stopped it.
# One that is taken at the very moment of the repeat cannot: it is still being recorded.
STATUS_GRACE_S = 1.0
CLAIM_GOAL_S = 1.5
# So long after an outage of the database beats alone count: a term, from everybody's return on.
BEATS_ALONE_S = 5.5
REPLY_GOAL_S = 10.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST of Meta's."""

    start: float
    end: float
    ok: bool
    messages: tuple[str, ...]  # wamids
    statuses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """One message that the Graph API accepted; in the order of acceptance."""

    at: float
    row: int  # from biz_opaque_callback_data
    phone_number_id: str
    to: str
    text: str
    wamid: str
    fault: str | None = None

    @property
    def inputs(self) -> list[str]:
        return NAMES.findall(self.text) if self.text.startswith("Re: ") else []


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the model answered."""

    at: float
    answer: str


@dataclass(frozen=True, slots=True)
class Inbound:
    id: int
    conversation: int
    wamid: str
    text: str
    sent_at: float
    input_seq: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Outbound:
    id: int
    conversation: int
    text: str
    created_at: float
    status: str
    reason: str | None
    resent: bool


@dataclass(frozen=True, slots=True)
class Outage:
    """Of a server: from its crash until it answered again."""

    what: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Claimed:
    """How long after a worker's kill a conversation that it held was claimed elsewhere."""

    killed_at: float
    after_s: float


@dataclass(frozen=True, slots=True)
class Evidence:
    plan: Plan
    wall_s: float
    unsettled: tuple[str, ...]  # what was still open when patience ended
    attempts: Sequence[Attempt]
    sends: Sequence[Send]
    asked: Sequence[Asked]
    inbound: Sequence[Inbound]
    outbound: Sequence[Outbound]
    phone_number_ids: Sequence[str]  # by tenant
    counters: Mapping[str, tuple[int | str, int | str]]  # what a counter says, what the rows say
    over_limit: tuple[str, ...]
    parked: Mapping[str, int]
    outages: Sequence[Outage]
    claimed: Sequence[Claimed]
    helpless: Sequence[float]  # moments without any worker that was ready
    ended_badly: tuple[str, ...]  # processes that died by themselves or left with an error
    story: Sequence[str]
    unsteady: Sequence[float] = ()  # without any that had been ready for a term


@dataclass(slots=True)
class Verdict:
    """Every list holds a line for each case; empty is good unless it says otherwise."""

    messages: int = 0
    posts: int = 0
    recorded: int = 0
    replies: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    disordered: list[str] = field(default_factory=list)
    overlapping: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    astray: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    # These may be: each with its reason.
    unknown: list[str] = field(default_factory=list)  # doubled, and nobody could have known
    given_up: list[str] = field(default_factory=list)  # dead-listed sends
    unsaid: Counter[str] = field(default_factory=Counter)  # inputs with a reason why not
    claimed_s: list[float] = field(default_factory=list)
    claimed_beside: int = 0  # not among claimed_s: nobody was there to claim, or no database
    reply_after_s: dict[str, list[str]] = field(default_factory=dict)
    slow: list[str] = field(default_factory=list)  # with nothing in the way; said, and no violation

    @property
    def violations(self) -> list[str]:
        return [
            *(f"lost: {one}" for one in self.lost),
            *(f"doubled: {one}" for one in self.doubled),
            *(f"out of order: {one}" for one in self.disordered),
            *(f"overlapping: {one}" for one in self.overlapping),
            *(f"miscounted: {one}" for one in self.miscounted),
            *(f"astray: {one}" for one in self.astray),
            *(f"trouble: {one}" for one in self.troubles),
        ]


class _Court:
    def __init__(self, seen: Evidence) -> None:
        self.seen = seen
        self.planned = {
            message.wamid: (customer, message)
            for customer in seen.plan.customers
            for post in customer.posts
            for message in post.messages
        }
        self.wamid_of = {message.text: wamid for wamid, (_, message) in self.planned.items()}
        self.first_try: dict[str, float] = {}
        self.acknowledged: dict[str, float] = {}
        for attempt in seen.attempts:
            for wamid in attempt.messages:
                _keep_least(self.first_try, wamid, attempt.start)
                if attempt.ok:
                    _keep_least(self.acknowledged, wamid, attempt.end)

    @cached_property
    def by_row(self) -> dict[int, list[Send]]:
        rows: dict[int, list[Send]] = defaultdict(list)
        for send in self.seen.sends:
            rows[send.row].append(send)
        return rows

    @cached_property
    def outbound(self) -> dict[int, Outbound]:
        return {row.id: row for row in self.seen.outbound}

    @cached_property
    def replies(self) -> dict[int, list[Send]]:
        """By customer, each row's first acceptance, in order."""
        first = sorted((sends[0] for sends in self.by_row.values()), key=lambda s: s.at)
        replies: dict[int, list[Send]] = defaultdict(list)
        for send in first:
            if send.inputs:
                replies[int(send.inputs[0][1:4])].append(send)
        return replies


def judge(seen: Evidence) -> Verdict:
    court = _Court(seen)
    verdict = Verdict(
        messages=len(court.planned),
        posts=len([a for a in seen.attempts if a.messages]),
        recorded=len({row.wamid for row in seen.inbound}),
        replies=sum(bool(send.inputs) for send in seen.sends),
        claimed_s=sorted(c.after_s for c in seen.claimed if not _beside_an_outage(seen, c)),
    )
    verdict.claimed_beside = len(seen.claimed) - len(verdict.claimed_s)
    _find_lost(court, verdict)
    _find_doubled(court, verdict)
    _find_disordered(court, verdict)
    _find_overlapping(court, verdict)
    _find_astray(court, verdict)
    verdict.miscounted += [
        f"{name} says {says}, the rows say {rows}"
        for name, (says, rows) in seen.counters.items()
        if says != rows
    ]
    verdict.miscounted += seen.over_limit
    verdict.troubles += [f"not settled: {what}" for what in seen.unsettled]
    verdict.troubles += seen.ended_badly
    verdict.troubles += [
        f"{times} items parked as {reason}" for reason, times in seen.parked.items()
    ]
    for outage in seen.outages:
        took = _first_reply_after(court, outage)
        excused = _helpless(seen, outage.end, outage.end + took)
        verdict.reply_after_s.setdefault(outage.what, []).append(f"{took:.1f}{'*' * excused}")
        if took > REPLY_GOAL_S and not excused:
            verdict.slow.append(f"first reply {took:.1f} s after the {outage.what} was back")
    verdict.slow += [f"claimed after {s:.1f} s" for s in verdict.claimed_s if s > CLAIM_GOAL_S]
    return verdict


def _find_lost(court: _Court, verdict: Verdict) -> None:
    answered = {name for send in court.seen.sends for name in send.inputs}
    given_up: dict[str, str] = {}
    for out in court.seen.outbound:
        if out.status in ("failed", "cancelled") and out.reason:
            verdict.given_up.append(f"{out.text}: {out.status}, {out.reason}")
            given_up |= dict.fromkeys(NAMES.findall(out.text), out.reason)
    rows = {row.wamid: row for row in court.seen.inbound}
    for wamid in court.acknowledged:
        _, message = court.planned[wamid]
        row = rows.get(wamid)
        if row is None:
            verdict.lost.append(f"{message.text} was answered 200 and is not recorded")
        elif row.reason is not None:
            verdict.unsaid[row.reason] += 1
        elif message.text not in answered and message.text not in given_up:
            verdict.lost.append(f"{message.text} is recorded and in no reply, without a reason")


def _find_doubled(court: _Court, verdict: Verdict) -> None:
    seen = court.seen
    for (_, wamid), times in Counter((r.conversation, r.wamid) for r in seen.inbound).items():
        if times > 1:
            verdict.doubled.append(f"{wamid} is recorded {times} times")
    heard = {
        wamid: min(a.end for a in group)
        for wamid, group in _by_status([a for a in seen.attempts if a.ok]).items()
    }
    for row, sends in court.by_row.items():
        for earlier, later in pairwise(sends):
            apart = later.at - earlier.at
            case = f"{earlier.text} went out again after {apart:.1f} s"
            told = heard.get(earlier.wamid)
            out = court.outbound.get(row)
            if out is None or not out.resent:
                verdict.doubled.append(f"{case}, not marked as sent again")
            elif told is None:
                verdict.unknown.append(f"{case}; no status of it ever came ({earlier.fault})")
            elif told > later.at - STATUS_GRACE_S:
                late = told - earlier.at
                verdict.unknown.append(
                    f"{case}; its first status was taken in {late:.1f} s after it"
                    f" ({_beside(seen, earlier.at, told) or earlier.fault or 'no fault'})"
                )
            else:
                verdict.doubled.append(
                    f"{case}, {later.at - told:.1f} s after its status was answered 200"
                    f" ({_beside(seen, earlier.at, later.at) or earlier.fault or 'no fault'})"
                )
    named: dict[str, set[int]] = defaultdict(set)
    for send in seen.sends:
        for name in send.inputs:
            named[name].add(send.row)
    verdict.doubled += [
        f"{name} is answered in rows {sorted(rows)}"
        for name, rows in named.items()
        if len(rows) > 1
    ]


def _find_disordered(court: _Court, verdict: Verdict) -> None:
    """An earlier message must be answered before a later one if it was answered 200 before the
    later one was first posted. If not, Meta itself brought them out of order: then, as for all, the
    order of the record decides."""
    rows = {row.text: row for row in court.seen.inbound}
    for replies in court.replies.values():
        order = [name for send in replies for name in send.inputs]
        for place, name in enumerate(order):
            started = court.first_try[court.wamid_of[name]]
            for after in order[place + 1 :]:
                acknowledged = court.acknowledged.get(court.wamid_of[after])
                if after < name and acknowledged is not None and acknowledged < started:
                    verdict.disordered.append(f"{name} is answered before {after}")
        highest = 0
        for send in replies:
            read = [rows[name] for name in send.inputs if name in rows]
            if [r.id for r in sorted(read, key=lambda r: (r.sent_at, r.id))] != [
                r.id for r in read
            ]:
                verdict.disordered.append(f"within {send.text}")
            if read and min(r.input_seq for r in read) <= highest:
                verdict.disordered.append(f"{send.text} comes after input {highest}")
            highest = max([highest, *(r.input_seq for r in read)])
    by_conversation: dict[int, list[Inbound]] = defaultdict(list)
    for row in court.seen.inbound:
        by_conversation[row.conversation].append(row)
    for conversation, inputs in by_conversation.items():
        numbers = [row.input_seq for row in sorted(inputs, key=lambda r: r.id)]
        if numbers != list(range(1, len(numbers) + 1)):
            verdict.disordered.append(f"the inputs of conversation {conversation} are {numbers}")


def _find_overlapping(court: _Court, verdict: Verdict) -> None:
    """A turn goes from the model's request that led to its reply to the writing of its row."""
    asked: dict[str, float] = {}
    for one in court.seen.asked:
        _keep_least(asked, one.answer, one.at)
    for replies in court.replies.values():
        turns = sorted(
            (asked[out.text], out.created_at, out.text)
            for send in replies
            if (out := court.outbound.get(send.row)) is not None and out.text in asked
        )
        for (_, ended, first), (started, _, second) in pairwise(turns):
            if started < ended:
                verdict.overlapping.append(f"{second} began before {first} was written")


def _find_astray(court: _Court, verdict: Verdict) -> None:
    """Said to the wrong person, or by the wrong business."""
    for send in court.seen.sends:
        for name in send.inputs:
            customer, _ = court.planned[court.wamid_of[name]]
            right = (court.seen.phone_number_ids[customer.tenant], f"+{customer.digits}")
            if (send.phone_number_id, send.to) != right:
                verdict.astray.append(f"{name} is answered to {send.to} by {send.phone_number_id}")


def _first_reply_after(court: _Court, outage: Outage) -> float:
    """From the moment the server is back to the first reply to something written since it went."""
    for send in court.seen.sends:
        fresh = any(
            court.acknowledged.get(court.wamid_of[name], 0.0) > outage.start for name in send.inputs
        )
        if fresh and send.at > outage.end:
            return send.at - outage.end
    return float("inf")


def _beside_an_outage(seen: Evidence, claimed: Claimed) -> bool:
    """Without the database, or another worker that has been there for a term, nobody can tell who
    is dead; that time is the outage's."""
    end = claimed.killed_at + claimed.after_s
    return any(claimed.killed_at <= moment <= end for moment in seen.unsteady) or any(
        outage.what == "database"
        and outage.start < claimed.killed_at + CLAIM_GOAL_S
        and outage.end + BEATS_ALONE_S > claimed.killed_at
        for outage in seen.outages
    )


def _helpless(seen: Evidence, start: float, end: float) -> bool:
    return any(start <= moment <= end for moment in seen.helpless)


def _beside(seen: Evidence, start: float, end: float) -> str:
    """The outages between two moments."""
    away = sorted({o.what for o in seen.outages if o.start < end and o.end > start})
    return " and ".join(f"{what} away" for what in away)


def _by_status(attempts: Iterable[Attempt]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        for wamid in attempt.statuses:
            found[wamid].append(attempt)
    return found


def _keep_least(store: dict[str, float], key: str, value: float) -> None:
    store[key] = min(value, store.get(key, value))


def percentile(sorted_values: Sequence[float], share: float) -> float:
    return sorted_values[max(0, ceil(share * len(sorted_values)) - 1)]


# The table. Starred: without a worker that was ready, or without the database, meanwhile.

HEAD = (
    *("seed", "sent", "posts", "recorded", "replies", "lost", "doubled", "order", "overlap"),
    *("counters", "astray", "trouble", "unknown", "given up", "unsaid", "claimed p50/p99 (n)"),
    *("broker", "database", "seconds"),
)


def row_of(seen: Evidence, verdict: Verdict) -> list[str]:
    claimed = verdict.claimed_s
    return [
        str(seen.plan.seed),
        *map(str, (verdict.messages, verdict.posts, verdict.recorded, verdict.replies)),
        *(
            str(len(found))
            for found in (
                *(verdict.lost, verdict.doubled, verdict.disordered, verdict.overlapping),
                *(verdict.miscounted, verdict.astray, verdict.troubles),
                *(verdict.unknown, verdict.given_up),
            )
        ),
        str(verdict.unsaid.total()),
        f"{percentile(claimed, 0.5):.2f}/{percentile(claimed, 0.99):.2f}"
        f" ({len(claimed)}, {verdict.claimed_beside}*)"
        if claimed
        else "-",
        *("/".join(verdict.reply_after_s.get(what, [])) or "-" for what in ("broker", "database")),
        f"{seen.wall_s:.0f}",
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (HEAD, *rows)) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in (HEAD, *rows)
    )


def explanations(seen: Evidence, verdict: Verdict) -> list[str]:
    """What stands behind the columns that are not nothing."""
    return [
        *verdict.violations,
        *(f"unknown send: {one}" for one in verdict.unknown),
        *(f"given up: {one}" for one in verdict.given_up),
        *(f"unsaid: {times} for {reason}" for reason, times in verdict.unsaid.items()),
        *(f"slow: {one}" for one in verdict.slow),
        *(f"parked: {times} as {reason}" for reason, times in seen.parked.items()),
    ]
