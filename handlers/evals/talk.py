"""A conversation that is nowhere but in memory: what a turn would find in the record, and what
becomes of it when the turn ends, as handlers/turns/write.py does it in the database. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from db.conversation_events import DECIDED, NOBODY_CAME, Event
from db.conversations import TurnContext
from db.ids import EventId, MessageId
from db.messages import TurnMessage
from handlers.actions import Request
from handlers.agent.memory import Slot
from handlers.evals.suite import Setup
from handlers.facts import FACTS_MAX
from handlers.fixed.choices import choice_of
from handlers.handovers import BY_BOT
from handlers.plans import ACTION_EXPIRY_HOURS, RESPONSE_TIME_HOURS, Plan
from handlers.turns.decide import (
    Apologise,
    Decision,
    Later,
    Notice,
    Sale,
    Say,
    Silent,
    StopLoop,
    Told,
)
from handlers.turns.inputs import Found, found, tells_later
from handlers.turns.pace import SILENCE
from handlers.turns.write import HANDOVER

PAUSE = timedelta(minutes=1)  # before the customer writes again; quicker is how bots write
BURST = timedelta(seconds=1)  # between two messages of one burst
LATELY = timedelta(minutes=10)  # in which what the bot said is counted: read_turn
OPEN_ACTIONS = 10  # that a turn reads


@dataclass(slots=True)
class Talk:
    context: TurnContext  # as it is now; its `now` is the conversation's clock
    rows: list[TurnMessage] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    slot: Slot = field(default_factory=lambda: Slot(None))
    requested: int = 0  # actions, in all
    orders: list[dict[str, Any]] = field(default_factory=list)
    until: datetime | None = None  # somebody else than the bot has it
    taken_by: str | None = None
    expires: dict[int, datetime] = field(default_factory=dict)  # actions that nobody decided
    seq: int = 0

    @property
    def now(self) -> datetime:
        return self.context.now

    @property
    def plan(self) -> Plan:
        return Plan(self.context.plan)

    # ---- what happens ----------------------------------------------------------------------------

    def pass_time(self, passed: timedelta) -> None:
        """A person who was called does not come, and nobody decides what was requested."""
        now = self.now + passed
        self._set(now=now)
        if self.until is not None and self.until <= now:
            if self.taken_by == BY_BOT:
                self._happened(NOBODY_CAME, {}, self.until)
            self._taken(None, None)
        for action_id, expires in list(self.expires.items()):
            if expires <= now:
                self._expired(action_id, expires)

    def wrote(self, texts: Sequence[str]) -> None:
        """The customer, one message after the other."""
        for place, text in enumerate(texts):
            if place:
                self.pass_time(BURST)
            self.seq += 1
            self._row("inbound", text, input_seq=self.seq)
            self._chose(text)
        self._set(last_inbound_at=self.now)

    def _chose(self, text: str) -> None:
        choice = choice_of(text, self.context.opt_out_words)
        if choice == "stop" or (choice == "resume" and self.context.marketing_choice == "stop"):
            self._set(marketing_choice=choice, marketing_choice_at=self.now)

    def found(self) -> Found:
        since = max(self.now - LATELY, self.context.loop_stopped_at or self.now - LATELY)
        said = [row for row in self.rows if _is_bots(row) and row.created_at > since]
        self._set(turns_lately=len(said))
        return found(self.context, list(self.rows), list(self.events))

    # ---- what becomes of it ----------------------------------------------------------------------

    def settle(self, this: Found, decision: Decision, slot: Slot | None) -> None:
        """`slot`: the thread, as it is stored and loaded again."""
        reason = getattr(decision, "reason", None)
        match decision:
            case Say():
                self._said(decision, slot)
            case Apologise():
                self._noted(decision.text)
                self._taken(self.now + HANDOVER, "product")
            case Notice() | Told():
                self._noted(decision.text)
            case StopLoop():
                self._noted(decision.text)
                self._taken(self.now + SILENCE, "product")
                self._set(loop_stopped_at=self.now)
            case Silent() | Later() | Sale():  # nobody presses a button or sends a cart here
                pass
        self._set(
            answered_seq=max(this.read_seq, self.context.answered_seq),
            failing_since=None,
            model_tries=0,
            told_slow=False,
        )
        done = {event.id for event in this.events}
        if isinstance(decision, Silent) and reason is not None:
            kept = [e for e in this.events if tells_later(e, reason, decision.by_human, self.now)]
            done -= {event.id for event in kept}
        self.events = [event for event in self.events if event.id not in done]

    def put_off(self, later: Later) -> None:
        """The turn comes again."""
        self._set(
            failing_since=self.context.failing_since or self.now,
            model_tries=self.context.model_tries + later.paid,
            told_slow=self.context.told_slow or later.text is not None,
        )
        self.pass_time(later.wait)

    def _said(self, say: Say, slot: Slot | None) -> None:
        self._row("outbound", say.text, metadata=say.metadata)
        self.slot = slot if slot is not None and say.slot is not None else Slot(None)
        for request in say.requests:
            self._requested(request)
        facts = dict(self.context.facts)
        for fact in say.facts:
            facts.pop(fact.about, None)
            facts[fact.about] = fact.text
        kept = [[about, text] for about, text in facts.items()][-FACTS_MAX:]
        count = self.context.off_topic + 1 if say.off_topic else 0
        self._set(facts=kept, off_topic=count, off_topic_at=self.now if count else None)
        if say.handed_over is not None:
            hours = self.plan.get(RESPONSE_TIME_HOURS)
            self._taken(self.now + timedelta(hours=hours), BY_BOT)

    def _requested(self, request: Request) -> None:
        self.requested += 1
        money = request.money
        amount = (f"{money.amount:.2f}", money.currency) if money is not None else (None, None)
        action = [self.requested, request.request_type, request.details, *amount]
        self.expires[self.requested] = self.now + timedelta(
            hours=self.plan.get(ACTION_EXPIRY_HOURS)
        )
        self._set(open_actions=[*self.context.open_actions, action][-OPEN_ACTIONS:])

    def _expired(self, action_id: int, at: datetime) -> None:
        del self.expires[action_id]
        for action in self.context.open_actions:
            if action[0] == action_id:
                told = {"action_id": action_id, "request_type": action[1], "details": action[2]}
                self._happened(DECIDED, told | {"status": "expired", "response": None}, at)
        left = [action for action in self.context.open_actions if action[0] != action_id]
        self._set(open_actions=left)

    def _happened(self, kind: str, data: dict[str, Any], at: datetime) -> None:
        self.seq += 1
        event = Event(id=EventId(self.seq), input_seq=self.seq, kind=kind, data=data, created_at=at)
        self.events.append(event)

    def _noted(self, text: str) -> None:
        self._row("outbound", text, metadata={"kind": "notice"})

    def _taken(self, until: datetime | None, by: str | None) -> None:
        self.until, self.taken_by = until, by
        self._set(taken_over=until is not None, by_human=False)

    def _row(
        self,
        direction: str,
        text: str,
        *,
        metadata: dict[str, Any] | None = None,
        input_seq: int | None = None,
        by_human: bool = False,
    ) -> None:
        self.rows.append(
            TurnMessage(
                id=MessageId(len(self.rows) + 1),
                direction=direction,
                is_from_human=by_human,
                status="received" if direction == "inbound" else "delivered",
                content_text=text,
                sent_at=self.now,
                created_at=self.now,
                input_seq=input_seq,
                wamid=None,
                metadata=metadata or {},
            )
        )

    def _set(self, **now: Any) -> None:
        self.context = replace(self.context, **now)

    # ---- how it begins ---------------------------------------------------------------------------

    def begun_with(self, setup: Setup) -> "Talk":
        self._set(
            contact_name=setup.name,
            contact_language=setup.language,
            facts=[[about, text] for about, text in setup.facts],
        )
        begins = self.now
        for said in setup.history:
            self._set(now=begins - said.ago)
            self._row(
                "inbound" if said.who == "customer" else "outbound",
                said.text,
                metadata={} if said.who == "customer" else {"kind": "reply"},
                by_human=said.who == "colleague",
            )
        self._set(now=begins, last_inbound_at=begins)
        return self


def _is_bots(row: TurnMessage) -> bool:
    return row.direction == "outbound" and not row.is_from_human
