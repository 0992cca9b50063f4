"""What a turn found in the record, and what of it wants an answer. Pure."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from db.conversation_events import DECIDED, HANDED_BACK, NOBODY_CAME, Event
from db.conversations import TurnContext
from db.ids import Wamid
from db.messages import TurnMessage
from handlers.agent.events import decided_text
from handlers.agent.graph import INPUTS_MAX
from handlers.fixed.choices import Choice, choice_of
from handlers.fixed.languages import TEXTS_MAX
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice
from handlers.media.words import awaited, seen
from handlers.plans import Plan
from handlers.rules.opaque import LATER, MEDIA, why_unanswered
from handlers.rules.quotes import cart_of
from handlers.rules.window import is_stale
from handlers.turns.pace import goes_in_circles
from handlers.turns.presses import looked_up
from handlers.turns.sale import Press, What

CONTACT_LIMIT = "contact_limit"
BLOCKED = "blocked"  # what comes meanwhile is never answered, also when it is undone
# Of these reasons the answer is only put off: db/waits.py.
PUT_OFF = frozenset(
    {"no_active_subscription", "tenant_inactive", "chatbot_inactive", CONTACT_LIMIT}
)
STALE = "stale"  # messages.metadata.reason of what came too late to be answered
# An event that could not be told comes up again later; after this WhatsApp would not take it.
EVENT_AGE = timedelta(hours=24)
PICTURES = frozenset(["image", "sticker"])
PICTURES_MAX = 3  # that a model is shown in a turn
MEDIA_WAIT = timedelta(seconds=15)  # of a turn, for what an input brought, since it came
MEDIA_WAIT_ALL = timedelta(seconds=30)  # since the first came, however many follow


@dataclass(frozen=True, slots=True)
class Found:
    context: TurnContext
    rows: Sequence[TurnMessage]
    inputs: Sequence[TurnMessage]  # unanswered, in the order of G4: WhatsApp's time, then arrival
    stale: Sequence[TurnMessage]  # unanswered too, and too old to be answered: history
    events: Sequence[Event]
    silence: str | None  # why no answer will be given, as far as the record says
    circles: bool = False  # another bot seems to answer
    sale: What | None = None  # what all of the inputs are: code answers
    held_until: datetime | None = None  # what an input brought may come until then

    @property
    def plan(self) -> Plan:
        return Plan(self.context.plan)

    @property
    def read_seq(self) -> int:
        read = (*self.inputs, *self.stale)
        seqs = [*(i.input_seq or 0 for i in read), *(e.input_seq for e in self.events)]
        return max([self.context.answered_seq, *seqs])

    @property
    def begun_by(self) -> int:
        """The first of what it read: a turn that is repeated is begun by it too."""
        read = (*self.inputs, *self.stale)
        return min([*(i.input_seq or 0 for i in read), *(e.input_seq for e in self.events)])

    def since_inbound(self, elapsed_s: float) -> timedelta | None:
        """At most so long ago the customer wrote last: they may have written since."""
        last = self.context.last_inbound_at
        return None if last is None else self.context.now - last + timedelta(seconds=elapsed_s)

    @property
    def asks(self) -> bool:
        """Whether there is something to say."""
        return has_to_say(self.inputs, self.events, self.history)

    @property
    def customer_waits(self) -> bool:
        """Whether something that they wrote is answered: now, or before a person handed back."""
        return bool(self.inputs) or _wrote_last(self.history)

    @property
    def choice(self) -> Choice | None:
        """The last one about advertising that the customer made with nothing but a word. It was
        taken down as it came in, and what was not is not confirmed; a `resume` only of who had
        stopped."""
        context = self.context
        for row in reversed(self.inputs):
            choice = self._choice_of(row)
            if choice == context.marketing_choice and (
                choice == "stop" or row.sent_at == context.marketing_choice_at
            ):
                return choice
        return None

    @property
    def asked(self) -> Sequence[TurnMessage]:
        """The inputs that want an answer."""
        if self.choice is None:
            return self.inputs
        return [row for row in self.inputs if self._choice_of(row) is None]

    @property
    def in_code(self) -> bool:
        """What is said needs no model and no unit."""
        if self.circles or self.sale is not None:
            return True
        return self.choice is not None and not self.asked and not self.events

    def _choice_of(self, row: TurnMessage) -> Choice | None:
        return choice_of(row.content_text, self.context.opt_out_words)

    @property
    def pictures(self) -> list[str]:
        """Files, of a model that sees them: the first of this turn."""
        if not (self.context.model or {}).get("sees_images"):
            return []
        found = [row.medium for row in self.inputs if row.medium and "revoked" not in row.metadata]
        files = [one["small_file"] for one in found if one["stored"] and one["small_file"]]
        return files[:PICTURES_MAX]

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


def found(
    context: TurnContext,
    rows: Sequence[TurnMessage],
    waiting: Sequence[Event],
    quotes: Collection[str] = (),
    awaits: frozenset[str] = frozenset(),
) -> Found:
    """`rows`: history and unanswered inputs; `waiting`: events that nobody was told of; `quotes`:
    of what was pressed that which is a quote's of this conversation; `awaits`: kinds of media that
    become words."""
    rows = looked_up(rows)
    unread, events = first_inputs(unanswered(rows, context.answered_seq), waiting)
    silence = why_silent(context)
    sale = None
    if silence is None and (quotes or context.sells):
        unread, events, sale = apart(unread, events, quotes)
        if sale is not None:  # no unit is asked for, and so nobody else looks
            silence = why_unserved(context)
    if silence is not None:
        return Found(context, rows, unread, [], events, silence)
    stale = [marked_stale(i) for i in unread if is_stale(context.now - i.sent_at)]
    inputs = [i for i in unread if not is_stale(context.now - i.sent_at)]
    sees = bool((context.model or {}).get("sees_images"))
    if sees:
        awaits |= PICTURES
    open_ = [i for i in inputs if _is_awaited(i, awaits)]
    held_until = waits_until(open_, inputs, context.now)
    inputs = [_shown_open(i) if i in open_ else _seen(i) if sees else i for i in inputs]
    if not events:
        late = STALE if stale and not inputs else None
        silence = late or why_unanswered([i.metadata for i in inputs])
        if silence == MEDIA and open_:
            silence = LATER
    circles = silence is None and bool(inputs) and not events
    if circles:
        circles = goes_in_circles(rows, context.turns_lately, context.loop_stopped_at)
    return Found(
        *(context, rows, inputs, stale, events, silence, circles),
        sale=sale if inputs and silence is None and not circles else None,
        held_until=held_until,
    )


def _seen(row: TurnMessage) -> TurnMessage:
    """Of a model that sees pictures."""
    if row.medium is None or not row.medium["stored"] or not row.medium["small_file"]:
        return row
    metadata = {key: value for key, value in row.metadata.items() if key != "opaque"}
    return replace(row, content_text=seen(row.content_text or ""), metadata=metadata)


def waits_until(
    open_: Sequence[TurnMessage], inputs: Sequence[TurnMessage], now: datetime
) -> datetime | None:
    """For media that are not done with. None: no longer, or for nothing."""
    if not open_:
        return None
    # The first of all, open or not, so that who sends one after the other is answered between them.
    until = min(max(_came(open_)) + MEDIA_WAIT, min(_came(inputs)) + MEDIA_WAIT_ALL)
    return until if until > now else None


def _came(rows: Sequence[TurnMessage]) -> list[datetime]:
    """Their media."""
    return [datetime.fromisoformat(row.medium["since"]) for row in rows if row.medium]


def _is_awaited(row: TurnMessage, awaits: frozenset[str]) -> bool:
    return row.medium is not None and row.medium["open"] and row.medium["kind"] in awaits


def _shown_open(row: TurnMessage) -> TurnMessage:
    return replace(row, content_text=awaited(row.content_text or ""))


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


def apart(
    inputs: Sequence[TurnMessage], events: Sequence[Event], quotes: Collection[str]
) -> tuple[list[TurnMessage], list[Event], What | None]:
    """What code answers is a turn of its own, and what came before it one before: the first of
    these. Of one button pressed several times all."""
    in_order = sorted(inputs, key=lambda row: row.input_seq or 0)
    first_event = min((event.input_seq for event in events), default=None)
    sales = [(row, what) for row in in_order if (what := _sale(row, quotes)) is not None]
    if not sales:
        return list(inputs), list(events), None
    first, what = sales[0]
    place = first.input_seq or 0
    if in_order[0] is not first or (first_event is not None and first_event < place):
        before = [row for row in inputs if (row.input_seq or 0) < place]
        return before, [event for event in events if event.input_seq < place], None
    same = [first]
    for row in in_order[1:]:
        if row.pressed is None or row.pressed != first.pressed:
            break
        same.append(row)
    if first_event is not None:
        same = [row for row in same if (row.input_seq or 0) < first_event]
    return same, [], what


def _sale(row: TurnMessage, quotes: Collection[str]) -> What | None:
    if row.pressed is not None and row.pressed in quotes:
        return Press(row.pressed, row.id)
    # Who writes something beside a cart asks a model; so does who could not have made it.
    said = row.cart is not None and str(row.cart.get("text") or "").strip()
    return None if said else cart_of(row.cart)


def has_to_say(
    inputs: Sequence[TurnMessage], events: Sequence[Event], history: Sequence[TurnMessage]
) -> bool:
    """A hand-back alone wants an answer if the customer wrote last."""
    if inputs or any(event.kind != HANDED_BACK for event in events):
        return True
    return bool(events) and _wrote_last(history)


def _wrote_last(history: Sequence[TurnMessage]) -> bool:
    return bool(history) and history[-1].direction == "inbound"


def nobody_came(event: Event) -> bool:
    return event.kind == NOBODY_CAME


def in_fixed_words(found: Found) -> str | None:
    """What a customer who asked nothing is told when there is no model to tell it."""
    decided = decisions(found)
    return "\n\n".join(decided) if decided and not found.inputs else None


def asks_nothing(found: Found) -> bool:
    """All there is to say is that nobody came: the customer has not written since."""
    return (
        not found.inputs
        and all(nobody_came(event) for event in found.events)
        and bool(found.events)
        and not _wrote_last(found.history)
    )


def decisions(found: Found) -> list[str]:
    """Each in fixed words; and that nobody came."""
    told = verdicts(found)
    if any(nobody_came(event) for event in found.events):
        told.append(found.voice.says(Kind.HANDBACK))
    return told


def verdicts(found: Found) -> list[str]:
    """What people or time decided, each in fixed words."""
    voice = found.voice
    return [decided_text(event.data, voice) for event in found.events if event.kind == DECIDED]


def decided(found: Found) -> dict[str, Any]:
    """Of a reply that tells of a decision: outside the window a template of its own may."""
    told = [event.data.get("action_id") for event in found.events if event.kind == DECIDED]
    return {"decided": told[-1]} if told and told[-1] is not None else {}


def tells_later(event: Event, silence: str, by_human: bool, now: datetime) -> bool:
    """Whether an event that a silent turn read is kept for another. A person who has the
    conversation tells it."""
    if silence in ("conversation_paused", BLOCKED) or (silence == "taken_over" and by_human):
        return False
    return event.created_at > now - EVENT_AGE


def marked_stale(row: TurnMessage) -> TurnMessage:
    """As the record will have it."""
    return replace(row, metadata=row.metadata | {"reason": STALE})


def why_unserved(context: TurnContext) -> str | None:
    """As who asks for a unit is told."""
    if not context.tenant_active:
        return "tenant_inactive"
    return None if context.plan_in_force else "no_active_subscription"


def why_silent(context: TurnContext) -> str | None:
    """A word for messages.metadata.reason, or None when the bot may speak."""
    if context.blocked:
        return BLOCKED
    if not context.chatbot_active:
        return "chatbot_inactive"
    if context.paused:
        return "conversation_paused"
    if context.taken_over:
        return "taken_over"
    if context.over_limit:
        return CONTACT_LIMIT
    return None
