"""What a turn found in the record, and what of it wants an answer. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from db.conversation_events import DECIDED, HANDED_BACK, Event
from db.conversations import TurnContext
from db.ids import Wamid
from db.messages import TurnMessage
from handlers.agent.events import decided_text
from handlers.agent.graph import INPUTS_MAX
from handlers.fixed.languages import TEXTS_MAX
from handlers.fixed.voice import Voice
from handlers.plans import Plan
from handlers.rules.opaque import why_unanswered
from handlers.rules.window import is_stale

STALE = "stale"  # messages.metadata.reason of what came too late to be answered
# An event that could not be told comes up again later; after this WhatsApp would not take it.
EVENT_AGE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Found:
    context: TurnContext
    rows: Sequence[TurnMessage]
    inputs: Sequence[TurnMessage]  # unanswered, in the order of G4: WhatsApp's time, then arrival
    stale: Sequence[TurnMessage]  # unanswered too, and too old to be answered: history
    events: Sequence[Event]
    silence: str | None  # why no answer will be given, as far as the record says

    @property
    def plan(self) -> Plan:
        return Plan(self.context.plan)

    @property
    def read_seq(self) -> int:
        read = (*self.inputs, *self.stale)
        seqs = [*(i.input_seq or 0 for i in read), *(e.input_seq for e in self.events)]
        return max([self.context.answered_seq, *seqs])

    def since_inbound(self, elapsed_s: float) -> timedelta | None:
        """At most so long ago the customer wrote last: they may have written since."""
        last = self.context.last_inbound_at
        return None if last is None else self.context.now - last + timedelta(seconds=elapsed_s)

    @property
    def asks(self) -> bool:
        """Whether there is something to say."""
        return has_to_say(self.inputs, self.events, self.history)

    @property
    def quotable(self) -> Wamid | None:
        """The last input that is still there."""
        left = [i.wamid for i in self.inputs if "revoked" not in i.metadata]
        return left[-1] if left else None

    @property
    def trace(self) -> dict[str, Any]:
        """For the reply's metadata: the webhook that brought the last input."""
        trace_id = self.inputs[-1].metadata.get("trace_id") if self.inputs else None
        return {"trace_id": trace_id} if trace_id else {}

    @property
    def voice(self) -> Voice:
        context = self.context
        said = (*self.history, *self.inputs)
        wrote = [r.content_text for r in said if r.direction == "inbound" and r.content_text]
        return Voice(
            own=context.texts,
            chosen=context.contact_language,
            wrote=wrote[: -TEXTS_MAX - 1 : -1],
            otherwise=(context.chatbot_language, context.tenant_language),
        )

    @property
    def history(self) -> list[TurnMessage]:
        """What was said before, in the order of the record."""
        late = {row.id: row for row in self.stale}
        return [late.get(r.id, r) for r in self.rows if r.id in late or not self._is_input(r)]

    def _is_input(self, row: TurnMessage) -> bool:
        return row.input_seq is not None and row.input_seq > self.context.answered_seq


def found(context: TurnContext, rows: Sequence[TurnMessage], waiting: Sequence[Event]) -> Found:
    """`rows`: history and unanswered inputs; `waiting`: events that nobody was told of."""
    unread, events = first_inputs(unanswered(rows, context.answered_seq), waiting)
    silence = why_silent(context)
    if silence is not None:
        return Found(context, rows, unread, [], events, silence)
    stale = [marked_stale(i) for i in unread if is_stale(context.now - i.sent_at)]
    inputs = [i for i in unread if not is_stale(context.now - i.sent_at)]
    if not events:
        late = STALE if stale and not inputs else None
        silence = late or why_unanswered([i.metadata for i in inputs])
    return Found(context, rows, inputs, stale, events, silence)


def unanswered(rows: Sequence[TurnMessage], answered_seq: int) -> list[TurnMessage]:
    """In the order in which they are answered: WhatsApp's timestamp, then arrival."""
    inputs = [r for r in rows if r.input_seq is not None and r.input_seq > answered_seq]
    return sorted(inputs, key=lambda r: (r.sent_at, r.id))


def first_inputs(
    inputs: Sequence[TurnMessage], events: Sequence[Event]
) -> tuple[list[TurnMessage], list[Event]]:
    """The first INPUTS_MAX of both: what is beyond the last of them was not read by this turn."""
    places = sorted([*(i.input_seq or 0 for i in inputs), *(e.input_seq for e in events)])
    last = places[:INPUTS_MAX][-1] if places else 0
    return (
        [i for i in inputs if (i.input_seq or 0) <= last],
        [e for e in events if e.input_seq <= last],
    )


def has_to_say(
    inputs: Sequence[TurnMessage], events: Sequence[Event], history: Sequence[TurnMessage]
) -> bool:
    """A hand-back alone wants an answer if the customer wrote last."""
    if inputs or any(event.kind != HANDED_BACK for event in events):
        return True
    return bool(events and history and history[-1].direction == "inbound")


def in_fixed_words(found: Found) -> str | None:
    """What a customer who asked nothing is told when there is no model to tell it."""
    voice = found.voice
    decided = [decided_text(event.data, voice) for event in found.events if event.kind == DECIDED]
    return "\n\n".join(decided) if decided and not found.inputs else None


def tells_later(event: Event, silence: str, by_human: bool, now: datetime) -> bool:
    """Whether an event that a silent turn read is kept for another. A person who has the
    conversation tells it."""
    if silence == "conversation_paused" or (silence == "taken_over" and by_human):
        return False
    return event.created_at > now - EVENT_AGE


def marked_stale(row: TurnMessage) -> TurnMessage:
    """As the record will have it."""
    return replace(row, metadata=row.metadata | {"reason": STALE})


def why_silent(context: TurnContext) -> str | None:
    """A word for messages.metadata.reason, or None when the bot may speak."""
    if not context.chatbot_active:
        return "chatbot_inactive"
    if context.paused:
        return "conversation_paused"
    if context.taken_over:
        return "taken_over"
    return None
