"""What must hold of the record after every single commit, and of each commit by itself.

Nothing runs while the judge looks, and each commit is looked at before the next can happen. So
`before` and `now` are two neighbouring states of the database, and every change between them is
one transaction's.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.factories import Tenant
from tests.model.product import MAX_UNKNOWN, Request, answered_by
from tests.model.stepping import Job, Stepper

UNSETTLED = ("queued", "sending", "unknown")
RANK = ("accepted", "sent", "failed", "delivered", "read", "played")  # upwards only, once there

AT_LIMIT = ("daily_message_limit", "monthly_message_limit")

TALKS = """
SELECT v.id, v.user_id, v.input_seq, v.answered_seq, v.ready_at, v.lease_owner, v.epoch, v.attempts,
       v.rebuild_thread, coalesce(v.taken_over_until > now(), false) AS taken_over,
       coalesce(v.taken_over_until > now() AND v.taken_over_by = 'human', false) AS human
  FROM conversations v
"""
MESSAGES = """
SELECT id, user_id, conversation_id, direction, status, message_id AS wamid, content_text AS text,
       sent_at, input_seq, ai_processed AS answered, usage_day, send_owner, send_attempts,
       unknown_at, unknown_count, in_reply_to, metadata, overage
  FROM messages ORDER BY id
"""
HOLDS = "SELECT user_id, conversation_id, usage_day, messages, overage FROM usage_reservations"
COUNTERS = """
SELECT 'day' AS what, user_id, tracking_date AS day, daily_messages_sent AS sent,
       messages_reserved AS reserved, daily_overage_messages AS overage,
       daily_messages_received AS received FROM usage_tracking
UNION ALL
SELECT 'month', user_id, make_date(year, month, 1), total_messages_sent, messages_reserved,
       overage_messages, 0
  FROM monthly_usage_summary
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    talks: dict[int, Any]
    messages: dict[int, Any]
    holds: list[Any]
    counters: list[Any]

    def of(self, talk: int, direction: str) -> list[Any]:
        return [
            m
            for m in self.messages.values()
            if m["conversation_id"] == talk and m["direction"] == direction
        ]


EMPTY = Snapshot({}, {}, [], [])


@dataclass(frozen=True, slots=True)
class Limits:
    daily: int
    monthly: int


@dataclass(slots=True)
class Acceptance:
    """Meta took a message; from now on the customer has it."""

    request: Request
    wamid: str
    told: set[str] = field(default_factory=set)  # the statuses of it that were merged


class Judge:
    def __init__(self, stepper: Stepper, tally: Counter[str]) -> None:
        self.now = EMPTY
        self.limits: dict[int, Limits] = {}
        self.acceptances: list[Acceptance] = []
        self.refused: set[tuple[int, int]] = set()  # (message, attempt): certainly not sent
        self.went_unknown: set[tuple[int, int]] = set()
        self.silenced_at: dict[int, int] = {}  # conversation -> the step at which a human took over
        self._claims: set[tuple[int, int]] = set()
        self._stepper = stepper
        self._tally = tally

    async def look(self) -> None:
        before = self.now
        look = self._stepper.look
        self.now = now = Snapshot(
            {r["id"]: r for r in await look(TALKS)},
            {r["id"]: r for r in await look(MESSAGES)},
            await look(HOLDS),
            await look(COUNTERS),
        )
        for talk in now.talks.values():
            self._talk(talk)
            self._talk_moved(before, before.talks.get(talk["id"]), talk)
        for message in now.messages.values():
            if message["direction"] == "outbound":
                self._outbound(message)
                self._outbound_moved(before.messages.get(message["id"]), message)
            else:
                self._inbound(message)
        assert before.messages.keys() <= now.messages.keys()
        self._answered_once()
        self._counted()

    # ---- conversations --------------------------------------------------------------------------

    def _talk(self, talk: Any) -> None:
        unanswered = talk["input_seq"] > talk["answered_seq"]
        if talk["lease_owner"] is None:
            assert (talk["ready_at"] is not None) == unanswered, f"a wake-up is lost: {talk}"
        else:
            assert unanswered, f"somebody answers a conversation without a question: {talk}"
        for hold in self.now.holds:
            if hold["conversation_id"] == talk["id"]:
                # Else no turn would come that gives it back or spends it.
                assert unanswered, f"a unit is held for nothing: {hold}"

    def _talk_moved(self, before: Snapshot, was: Any, talk: Any) -> None:
        if was is None:
            return
        if not talk["human"]:
            self.silenced_at.pop(talk["id"], None)
        elif not was["human"]:
            self.silenced_at[talk["id"]] = self._stepper.step
        assert talk["epoch"] - was["epoch"] in (0, 1), (was, talk)
        assert talk["answered_seq"] >= was["answered_seq"], (was, talk)
        assert talk["input_seq"] >= was["input_seq"], (was, talk)
        if talk["epoch"] > was["epoch"]:
            assert was["lease_owner"] is None, f"two answer one conversation: {was} {talk}"
            assert talk["lease_owner"] is not None, talk
        elif talk["lease_owner"] != was["lease_owner"]:
            assert talk["lease_owner"] is None, f"a lease went on without a claim: {was} {talk}"
        settled = {
            m["wamid"]
            for m in self.now.of(talk["id"], "inbound")
            if was["answered_seq"] < m["input_seq"] <= talk["answered_seq"]
        }
        replies = [m for m in self.now.of(talk["id"], "outbound") if m["id"] not in before.messages]
        assert len(replies) <= 1, replies
        for reply in replies:
            assert settled, f"an answer to nothing: {reply}"
            assert not (was["taken_over"] and talk["taken_over"]), (
                f"it was told to be silent: {was}"
            )
            if reply["metadata"]["kind"] == "reply":
                assert answered_by(reply["text"]) == settled, (reply, settled)
                assert reply["usage_day"] is not None, "an answer outside the meter"
            else:
                assert reply["usage_day"] is None, "a notice that costs something"
                assert reply["in_reply_to"] in settled, reply
                if reply["metadata"]["reason"] not in AT_LIMIT:
                    assert talk["taken_over"], "an apology, and nobody was called"
        if settled:
            answers = [r for r in replies if r["metadata"].get("reason") not in AT_LIMIT]
            self._settled_alike(talk, settled, answers)

    def _settled_alike(self, talk: Any, settled: set[str], replies: list[Any]) -> None:
        """All inputs of a turn end in the same way: answered, or with one reason why not."""
        ends = {
            (m["answered"], m["metadata"].get("reason"))
            for m in self.now.of(talk["id"], "inbound")
            if m["wamid"] in settled
        }
        assert len(ends) == 1, f"one turn settled its inputs in several ways: {ends}"
        (answered, reason) = next(iter(ends))
        assert bool(answered) == bool(replies), f"settled {ends}, and there is {replies}"
        if reason in AT_LIMIT:
            self._tally["limit reached"] += 1

    def claimed(self, talk: int, epoch: int) -> None:
        assert (talk, epoch) not in self._claims, "two hold one lease"
        self._claims.add((talk, epoch))

    # ---- messages -------------------------------------------------------------------------------

    def _inbound(self, message: Any) -> None:
        done = self.now.talks[message["conversation_id"]]["answered_seq"] >= message["input_seq"]
        told = bool(message["answered"]) or "reason" in message["metadata"]
        assert done == told, f"neither a reply nor a reason, or too early: {message}"

    def _answered_once(self) -> None:
        answered = Counter(
            (m["conversation_id"], wamid)
            for m in self.now.messages.values()
            if m["direction"] == "outbound" and m["metadata"]["kind"] == "reply"
            for wamid in answered_by(m["text"])
        )
        assert not answered or max(answered.values()) == 1, f"answered twice: {answered}"

    def _outbound(self, m: Any) -> None:
        """A state that nothing would ever move on is a message that is lost."""
        assert (m["unknown_at"] is not None) == (m["status"] == "unknown"), m
        if m["status"] == "sending":
            assert m["send_owner"] is not None, f"nobody sends it and nobody will: {m}"
        if m["status"] not in ("queued", "sending"):
            assert m["send_owner"] is None, m
        assert m["unknown_count"] <= m["send_attempts"], m
        if m["status"] in ("failed", "cancelled"):
            assert m["usage_day"] is None, f"not sent, and it costs a unit: {m}"
        elif m["metadata"]["kind"] == "reply" and not self._ever_failed(m):
            assert m["usage_day"] is not None, f"on its way and outside the meter: {m}"

    def _ever_failed(self, m: Any) -> bool:
        return "failed" in m["metadata"].get("statuses", {}) or "reason" in m["metadata"]

    def _outbound_moved(self, was: Any, m: Any) -> None:
        if was is None:
            assert (m["status"], m["send_attempts"]) == ("queued", 0), m
            return
        attempt = was["send_attempts"]
        assert m["text"] == was["text"]
        if was["wamid"] is not None:
            assert m["wamid"] == was["wamid"], f"its id changed: {was} {m}"
        assert m["unknown_count"] - was["unknown_count"] in (0, 1), (was, m)
        if m["unknown_count"] > was["unknown_count"]:
            assert (was["status"], m["status"]) == ("sending", "unknown"), (was, m)
            self.went_unknown.add((m["id"], attempt))
        if m["send_attempts"] > attempt:
            assert m["send_attempts"] == attempt + 1
            assert (was["status"], m["status"]) == ("queued", "sending"), (was, m)
            self._may_go(was)
        elif m["status"] == "sending":
            assert was["status"] == "sending", (was, m)
        if was["status"] in RANK and m["status"] != was["status"]:
            assert RANK.index(m["status"]) > RANK.index(was["status"]), f"downwards: {was} {m}"
        if was["status"] == "cancelled":  # a send of it before may have arrived all the same
            assert m["status"] not in (*UNSETTLED, "failed"), (was, m)
        if was["usage_day"] is None:
            assert m["usage_day"] is None, f"a unit that was given back is spent again: {was} {m}"
        if m["status"] == "failed" and m["metadata"].get("reason") == "send_outcome_unknown":
            assert m["unknown_count"] == MAX_UNKNOWN, m

    def _may_go(self, was: Any) -> None:
        """Once more only if the send before certainly did not happen, or its outcome became unknown
        and no status had told of it."""
        attempt = was["send_attempts"]
        # A send that Meta gave up may be repeated; it is another one that counts.
        told = set(was["metadata"].get("statuses", ())) - {"failed"}
        assert not told, f"a status told that it had gone: {was}"
        if attempt:
            before = (was["id"], attempt)
            assert before in self.refused or before in self.went_unknown, (
                f"sent again while send {attempt} of it was under way: {was}"
            )
            self._tally["sent again"] += 1

    # ---- what the Graph API sees ----------------------------------------------------------------

    def called(self, job: Job) -> None:
        """At the moment at which the call is about to leave."""
        request: Request = job.asked
        m = self.now.messages[request.message_id]
        assert (m["status"], m["send_attempts"]) == ("sending", request.attempt), (
            f"a call before 'sending' was committed: {m}"
        )
        ahead = [
            e
            for e in self.now.of(m["conversation_id"], "outbound")
            if e["id"] < m["id"] and e["status"] in UNSETTLED
        ]
        assert not ahead, f"it overtakes {ahead}"
        silenced = self.silenced_at.get(m["conversation_id"])
        assert silenced is None or silenced >= job.began, f"it talks over a human: {m}"

    def accepts(self, request: Request) -> Acceptance:
        taken = [a for a in self.acceptances if a.request.message_id == request.message_id]
        assert all(a.request.attempt != request.attempt for a in taken)
        for earlier in taken:
            a, b = sorted((earlier.request.attempt, request.attempt))
            assert any((request.message_id, n) in self.went_unknown for n in range(a, b)), (
                f"sent twice, and its outcome was never unknown: {request}"
            )
            self._tally["doubled"] += 1
        acceptance = Acceptance(request, f"wamid.OURS{len(self.acceptances)}")
        self.acceptances.append(acceptance)
        return acceptance

    # ---- counters -------------------------------------------------------------------------------

    def _counted(self) -> None:
        sent: Counter[Any] = Counter()
        overage: Counter[Any] = Counter()
        received: Counter[int] = Counter()
        reserved: Counter[Any] = Counter()
        for m in self.now.messages.values():
            if m["direction"] == "inbound":
                received[m["user_id"]] += 1
            elif m["usage_day"] is not None:
                _both(overage if m["overage"] else sent, m["user_id"], m["usage_day"], 1)
        for hold in self.now.holds:
            if not hold["overage"]:  # it takes nothing from anybody
                _both(reserved, hold["user_id"], hold["usage_day"], hold["messages"])
        counted_received: Counter[int] = Counter()
        counted_sent: Counter[Any] = Counter()
        counted_overage: Counter[Any] = Counter()
        counted_reserved: Counter[Any] = Counter()
        for row in self.now.counters:
            key = (row["what"], row["user_id"], row["day"])
            counted_sent[key] += row["sent"]
            counted_overage[key] += row["overage"]
            counted_reserved[key] += row["reserved"]
            counted_received[row["user_id"]] += row["received"]
            limits = self.limits[row["user_id"]]
            limit = limits.daily if row["what"] == "day" else limits.monthly
            assert row["sent"] + row["reserved"] <= limit, f"over the limit: {row}"
        assert +counted_sent == sent, (counted_sent, sent)
        assert +counted_overage == overage, (counted_overage, overage)
        assert +counted_reserved == reserved, (counted_reserved, reserved)
        assert +counted_received == received, (counted_received, received)

    # ---- in the end -----------------------------------------------------------------------------

    def at_rest(self) -> list[str]:
        """What still waits for somebody; it is over when nothing does."""
        waits = [f"unanswered {t}" for t in self.now.talks.values() if _busy(t)]
        waits += [f"unsent {m}" for m in self.now.messages.values() if m["status"] in UNSETTLED]
        waits += [f"held {h}" for h in self.now.holds]
        return waits

    def nothing_lost(self, written: Iterable[tuple[Tenant, str]]) -> None:
        found = Counter(
            (m["user_id"], m["wamid"])
            for m in self.now.messages.values()
            if m["direction"] == "inbound"
        )
        assert found == Counter((tenant.user_id, wamid) for tenant, wamid in written)
        took: dict[int, list[Acceptance]] = defaultdict(list)
        for acceptance in self.acceptances:
            took[acceptance.request.message_id].append(acceptance)
        for m in self.now.messages.values():
            if m["direction"] == "outbound":
                self._told_alike(m, took[m["id"]])

    def _told_alike(self, m: Any, took: list[Acceptance]) -> None:
        """What the record says in the end is what Meta said, whichever send it spoke of."""
        told = {status for a in took for status in a.told}
        if m["status"] in ("accepted", *RANK[3:]):
            assert took, f"said to be sent, and Meta never took it: {m}"
        for status in ("read", "delivered"):
            if status in told:
                assert m["status"] == status, f"Meta told {told}: {m}"
                break
        else:
            if took and all(a.told == {"failed"} for a in took):
                assert m["status"] in ("failed", "cancelled"), f"none of its sends arrived: {m}"


def _both(counts: Counter[Any], user_id: int, day: Any, n: int) -> None:
    counts["day", user_id, day] += n
    counts["month", user_id, day.replace(day=1)] += n


def _busy(talk: Any) -> bool:
    return (
        talk["lease_owner"] is not None
        or talk["ready_at"] is not None
        or talk["input_seq"] > talk["answered_seq"]
    )
