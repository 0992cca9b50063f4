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
from tests.model.decisions import ACTIONS, check_actions
from tests.model.product import MAX_UNKNOWN, STOP, Request, answered_by, event_name
from tests.model.stepping import Job, Stepper

UNSETTLED = ("queued", "sending", "unknown")
RANK = ("accepted", "sent", "failed", "delivered", "read", "played")  # upwards only, once there

SAID_BY_PERSON = ("human", "echo")  # through the API, and on the phone
IN_CODE = ("opted_out", "opted_in")  # what is said without a model
AT_LIMIT = ("daily_message_limit", "monthly_message_limit")

TALKS = """
SELECT v.id, v.user_id, v.contact_id, c.marketing_choice, v.input_seq, v.answered_seq, v.ready_at,
       v.lease_owner, v.epoch, v.attempts, v.rebuild_thread, v.taken_over_by AS by,
       coalesce(v.taken_over_until > now(), false) AS taken_over,
       coalesce(v.taken_over_until > now() AND v.taken_over_by = 'human', false) AS human,
       c.wa_id AS phone
  FROM conversations v JOIN contacts c ON c.id = v.contact_id
"""
MESSAGES = """
SELECT id, user_id, conversation_id, direction, status, message_id AS wamid, content_text AS text,
       sent_at, input_seq, ai_processed AS answered, usage_day, send_owner, send_attempts,
       unknown_at, unknown_count, in_reply_to, metadata, overage, replayed_at, send_after,
       coalesce(metadata ->> 'kind', metadata ->> 'source') AS kind
  FROM messages ORDER BY id
"""
DEAD = "SELECT message_id, user_id FROM dead_sends"
EVENTS = """
SELECT id, conversation_id, input_seq, settled_at, reason, kind,
       (data ->> 'action_id')::bigint AS action
  FROM conversation_events
"""
HOLDS = """
SELECT user_id, conversation_id, usage_day, messages, overage, actions FROM usage_reservations
"""
COUNTERS = """
SELECT 'day' AS what, user_id, tracking_date AS day, daily_messages_sent AS sent,
       messages_reserved AS reserved, daily_overage_messages AS overage,
       daily_messages_received AS received, actions_created AS actions,
       actions_reserved FROM usage_tracking
UNION ALL
SELECT 'month', user_id, make_date(year, month, 1), total_messages_sent, messages_reserved,
       overage_messages, 0, 0, 0
  FROM monthly_usage_summary
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    talks: dict[int, Any]
    messages: dict[int, Any]
    holds: list[Any]
    counters: list[Any]
    dead: dict[int, int]  # message -> tenant
    events: dict[int, Any]
    actions: dict[int, Any]

    def of(self, talk: int, direction: str) -> list[Any]:
        return [
            m
            for m in self.messages.values()
            if m["conversation_id"] == talk and m["direction"] == direction
        ]


EMPTY = Snapshot({}, {}, [], [], {}, {}, {})


@dataclass(frozen=True, slots=True)
class Limits:
    daily: int
    monthly: int


@dataclass(slots=True)
class Acceptance:
    """Meta took a message; from now on the customer has it."""

    request: Request
    wamid: str
    told: dict[str, int] = field(default_factory=dict)  # its statuses, since which step in the log


class Judge:
    def __init__(self, stepper: Stepper, tally: Counter[str]) -> None:
        self.now = EMPTY
        self.limits: dict[int, Limits] = {}
        self.acceptances: list[Acceptance] = []
        self.refused: set[tuple[int, int]] = set()  # (message, attempt): certainly not sent
        self.went_unknown: set[tuple[int, int]] = set()
        self.silenced_at: dict[int, int] = {}  # conversation -> the step at which a human took over
        self.replays: dict[tuple[int, int], int] = {}  # (message, attempt before) -> the step
        self.answers: Counter[tuple[int, str]] = Counter()  # to each input of a conversation
        self._stops: set[str] = set()  # what customers wrote that was STOP when it was recorded
        self._claims: set[tuple[int, int]] = set()
        self._settled_by_person: set[int] = set()  # conversations that are leased for nothing
        self.idle: set[int] = set()  # in which a turn may find nothing to say
        self._free_since: dict[int, int] = {}  # conversation -> since when the bot may speak
        self._recorded: dict[int, int] = {}  # input -> the step
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
            {r["message_id"]: r["user_id"] for r in await look(DEAD)},
            {r["id"]: r for r in await look(EVENTS)},
            {r["id"]: r for r in await look(ACTIONS)},
        )
        for message_id in now.messages.keys() - before.messages.keys():
            self._recorded[message_id] = self._stepper.step
            if now.messages[message_id]["text"] == STOP:
                self._stops.add(now.messages[message_id]["wamid"])
        for talk in now.talks.values():
            self._talk_moved(before, before.talks.get(talk["id"]), talk)
            self._talk(talk)
        for message in now.messages.values():
            if message["direction"] == "inbound":
                self._inbound(message)
            elif message["kind"] != "echo":
                self._outbound(message)
                self._outbound_moved(before.messages.get(message["id"]), message)
        for message_id in now.dead:
            assert now.messages[message_id]["status"] in ("failed", "cancelled")
        assert before.messages.keys() <= now.messages.keys()
        self._answered_once()
        self._counted()
        told = Counter(e["action"] for e in now.events.values() if e["action"] is not None)
        check_actions(before.actions, now.actions, told, self._tally)
        for event in now.events.values():
            was = before.events.get(event["id"])
            if event["settled_at"] is not None and (was is None or was["settled_at"] is None):
                self._tally[f"event {event['kind']}: {event['reason'] or 'told'}"] += 1
                self._tally[f"event {event['kind']}"] += 1

    # ---- conversations --------------------------------------------------------------------------

    def _talk(self, talk: Any) -> None:
        unanswered = talk["input_seq"] > talk["answered_seq"]
        held = any(hold["conversation_id"] == talk["id"] for hold in self.now.holds)
        if talk["lease_owner"] is None:
            # A unit of a turn that died is given back by the next one, which may say nothing.
            assert (talk["ready_at"] is not None) == (unanswered or held), (
                f"a wake-up is lost: {talk}"
            )
            if held and not unanswered:
                self._settled_by_person.add(talk["id"])
                self.idle.add(talk["id"])
                return
            self._settled_by_person.discard(talk["id"])
        else:
            assert unanswered or talk["id"] in self._settled_by_person, (
                f"somebody answers a conversation without a question: {talk}"
            )

    def _talk_moved(self, before: Snapshot, was: Any, talk: Any) -> None:
        if was is None:
            return
        if not talk["human"]:
            self.silenced_at.pop(talk["id"], None)
        elif not was["human"]:
            self.silenced_at[talk["id"]] = self._stepper.step
            self._woken(before, talk)
        if was["taken_over"] and not talk["taken_over"]:
            self._free_since[talk["id"]] = self._stepper.step
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
        told = {
            event_name(e["id"])
            for e in self.now.events.values()
            if e["conversation_id"] == talk["id"]
            and e["settled_at"] is not None
            and (e["id"] not in before.events or before.events[e["id"]]["settled_at"] is None)
        }
        new = [m for m in self.now.of(talk["id"], "outbound") if m["id"] not in before.messages]
        said = [m for m in new if m["kind"] in SAID_BY_PERSON]
        moved = talk["answered_seq"] > was["answered_seq"]
        if moved and talk["lease_owner"] == was["lease_owner"]:
            assert said, f"settled by nobody: {was} {talk}"
            if talk["lease_owner"] is not None:
                self._settled_by_person.add(talk["id"])
                self.idle.add(talk["id"])
        if told:
            self.idle.add(talk["id"])
        for message in said:
            self._answered_by_person(was, talk, message)
        replies = [m for m in new if m not in said]
        assert len(replies) <= 1, replies
        assert not (said and replies), f"two at once: {new}"
        for reply in replies:
            assert settled or told, f"an answer to nothing: {reply}"
            assert not was["taken_over"], f"it was told to be silent: {was}"
            if reply["kind"] == "reply":
                self._replied(was, talk, reply, settled | told)
            else:
                assert reply["usage_day"] is None, "a notice that costs something"
                assert reply["in_reply_to"] is None or reply["in_reply_to"] in settled, reply
                reason = reply["metadata"]["reason"]
                self._tally[f"notice: {reason}"] += 1
                if reason not in (*AT_LIMIT, *IN_CODE):
                    assert talk["taken_over"], "an apology, and nobody was called"
        if settled and not said:
            answers = [r for r in replies if r["metadata"].get("reason") not in AT_LIMIT]
            self._settled_alike(talk, settled, answers)

    def _replied(self, was: Any, talk: Any, reply: Any, settled: set[str]) -> None:
        self.answers.update((talk["id"], name) for name in settled)
        assert reply["usage_day"] is not None, "an answer outside the meter"
        model = reply["metadata"]["model"]
        if model == "the model":
            named = answered_by(reply["text"])
            # What a choice about advertising says is answered by code, beside it.
            assert named <= settled <= named | self._stops, (reply, settled)
        else:
            self._tally[f"answered {model}"] += 1
        if talk["taken_over"] and not was["taken_over"]:
            assert talk["by"] == "bot", f"silenced by its own answer: {talk}"
            self._tally[f"handed over: {model}"] += 1

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
        free_since = self._free_since.get(talk["id"], 0)
        if reason == "taken_over" and not talk["taken_over"]:
            came = [m["id"] for m in self.now.of(talk["id"], "inbound") if m["wamid"] in settled]
            assert all(self._recorded[id] <= free_since for id in came), (
                f"not answered, though nobody has had the conversation since it came: {talk}"
            )

    def _answered_by_person(self, was: Any, talk: Any, message: Any) -> None:
        """What came before what a person says is answered by it."""
        self._tally[f"said by a person: {message['kind']}"] += 1
        waited = [
            m for m in self.now.of(talk["id"], "inbound") if m["input_seq"] > was["answered_seq"]
        ]
        for m in sorted(waited, key=lambda m: int(m["input_seq"])):
            if message["kind"] == "echo" and m["sent_at"] > message["sent_at"]:
                break
            assert m["input_seq"] <= talk["answered_seq"], f"a person answered it: {m} {message}"
            if m["input_seq"] > was["answered_seq"]:
                assert m["metadata"]["reason"] == "answered_by_person", m

    def _woken(self, before: Snapshot, talk: Any) -> None:
        """What the bot had queued is looked at now, and not when it was to be tried again."""
        if self._stepper.somebody_is_inside:  # of rows that are locked nobody is woken
            return
        for m in self.now.of(talk["id"], "outbound"):
            was = before.messages.get(m["id"])
            waits = m["status"] == "queued" and m["kind"] != "human" and not m["replayed_at"]
            if was is not None and waits:
                assert m["send_after"] is None, f"nobody wakes it: {m}"
                self._tally["silenced send woken"] += was["send_after"] is not None

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
            if m["direction"] == "outbound" and m["kind"] == "reply"
            for wamid in answered_by(m["text"])
        )
        assert not answered or max(answered.values()) == 1, f"answered twice: {answered}"
        twice = [name for name, times in self.answers.items() if times > 1]
        assert not twice, f"answered twice: {twice}"

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
        elif m["kind"] in ("reply", "human") and not self._ever_failed(m):
            assert m["usage_day"] is not None, f"on its way and outside the meter: {m}"

    def _ever_failed(self, m: Any) -> bool:
        return "failed" in m["metadata"].get("statuses", {}) or "reason" in m["metadata"]

    def _outbound_moved(self, was: Any, m: Any) -> None:
        if was is None:
            assert (m["status"], m["send_attempts"]) == ("queued", 0), m
            return
        attempt = was["send_attempts"]
        assert m["text"] == was["text"]
        if was["status"] in ("failed", "cancelled") and m["status"] == "queued":
            self._replayed(was, m)
            return
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
        before = (was["id"], attempt)
        replayed = any(message_id == was["id"] for message_id, _ in self.replays)
        told = set(was["metadata"].get("statuses", ()))
        told -= {"sent", "failed"} if replayed else {"failed"}
        assert not told, f"a status told that it had gone: {was}"
        if attempt:
            assert before in self.refused | self.went_unknown | self.replays.keys(), (
                f"sent again while send {attempt} of it was under way: {was}"
            )
            self._tally["sent again"] += 1

    def _replayed(self, was: Any, m: Any) -> None:
        """One replay, one send, one unit."""
        self._tally["replayed"] += 1
        assert m["id"] not in self.now.dead, f"it can be replayed once more: {m}"
        assert (m["wamid"], m["unknown_count"], m["send_owner"]) == (None, 0, None), m
        assert m["send_attempts"] == was["send_attempts"], (was, m)
        assert (m["usage_day"] is None) == (m["kind"] == "notice"), m
        assert m["replayed_at"] is not None, f"nothing holds it back: {m}"
        self.replays[m["id"], m["send_attempts"]] = self._stepper.step

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
            if e["id"] < m["id"] and e["status"] in UNSETTLED and not self._late(e, job)
        ]
        assert not ahead, f"it overtakes {ahead}"
        silenced = self.silenced_at.get(m["conversation_id"])
        assert m["kind"] == "human" or silenced is None or silenced >= job.began, (
            f"it talks over a human: {m}"
        )
        self._not_delivered(request)

    def _late(self, e: Any, job: Job) -> bool:
        """Replayed when the job's message was claimed already."""
        at = self.replays.get((e["id"], e["send_attempts"]))
        return at is not None and at >= job.claimed

    def _not_delivered(self, request: Request) -> None:
        """What the log had when it was replayed is merged before it leaves."""
        replayed = [at for (id, _), at in self.replays.items() if id == request.message_id]
        for a in self.acceptances:
            if a.request.message_id == request.message_id and replayed:
                told = [at for status, at in a.told.items() if status in ("delivered", "read")]
                assert not told or min(told) > max(replayed), f"it was delivered: {a} {replayed}"

    def accepts(self, request: Request) -> Acceptance:
        taken = [a for a in self.acceptances if a.request.message_id == request.message_id]
        assert all(a.request.attempt != request.attempt for a in taken)
        for earlier in taken:
            a, b = sorted((earlier.request.attempt, request.attempt))
            again = self.went_unknown | self.replays.keys()
            assert any((request.message_id, n) in again for n in range(a, b)), (
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
        self._counted_actions()
        assert +counted_received == received, (counted_received, received)

    def _counted_actions(self) -> None:
        created = Counter((a["user_id"], a["usage_day"]) for a in self.now.actions.values())
        reserved: Counter[Any] = Counter()
        for hold in self.now.holds:
            reserved[hold["user_id"], hold["usage_day"]] += hold["actions"]
        days = [row for row in self.now.counters if row["what"] == "day"]
        counted = Counter({(r["user_id"], r["day"]): r["actions"] for r in days})
        held = Counter({(r["user_id"], r["day"]): r["actions_reserved"] for r in days})
        assert +counted == created, (counted, created)
        assert +held == +reserved, (held, reserved)

    # ---- in the end -----------------------------------------------------------------------------

    def at_rest(self) -> list[str]:
        """What still waits for somebody; it is over when nothing does."""
        waits = [f"unanswered {t}" for t in self.now.talks.values() if _busy(t)]
        waits += [f"unsent {m}" for m in self.now.messages.values() if m["status"] in UNSETTLED]
        waits += [f"held {h}" for h in self.now.holds]
        waits += [f"undecided {a}" for a in self.now.actions.values() if a["status"] == "pending"]
        waits += [f"with nobody {t}" for t in self.now.talks.values() if t["by"] == "bot"]
        waits += [f"untold {e}" for e in self.now.events.values() if e["settled_at"] is None]
        return waits

    def nothing_lost(self, written: Iterable[tuple[Tenant, str]]) -> None:
        found = Counter(
            (m["user_id"], m["wamid"])
            for m in self.now.messages.values()
            if m["direction"] == "inbound"
        )
        assert found == Counter((tenant.user_id, wamid) for tenant, wamid in written)
        messages = self.now.messages.values()
        stopped = {m["conversation_id"] for m in messages if m["wamid"] in self._stops}
        for talk in (self.now.talks[id] for id in stopped):
            assert talk["marketing_choice"] == "stop", f"a STOP is lost: {talk}"
        took: dict[int, list[Acceptance]] = defaultdict(list)
        for acceptance in self.acceptances:
            took[acceptance.request.message_id].append(acceptance)
        for m in self.now.messages.values():
            if m["direction"] == "outbound" and m["kind"] != "echo":
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
            if took and all(a.told.keys() == {"failed"} for a in took):
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
