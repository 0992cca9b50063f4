"""A recorded conversation, turn by turn, as it was when each was answered. Pure.

Before each turn stands what was really said, not what a replay says: what the customer wrote next
was an answer to that. So each turn is compared under the same circumstances.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from db.conversation_events import Event
from db.conversations import TurnContext
from db.ids import MessageId
from db.messages import TurnMessage
from db.recorded import RecordedAction, RecordedFact, RecordedMessage, RecordedTalk
from handlers.agent.window import KEPT_MESSAGES
from handlers.evals.outcome import Outcome, Use
from handlers.evals.record import Record
from handlers.evals.recorded import Person, Step, Wrote, kind_of, steps_of, text_of
from handlers.evals.talk import OPEN_ACTIONS, Talk

# Of who did not want the bot to answer: then it is not asked now.
BY_PERSON = frozenset({"taken_over", "conversation_paused", "blocked", "contact_erased"})
TURNS_MAX = 200
MESSAGES_MAX = 1_000
EVENTS_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Tape:
    """All that is recorded of it."""

    talk: RecordedTalk
    messages: Sequence[RecordedMessage]
    actions: Sequence[RecordedAction] = ()
    facts: Sequence[RecordedFact] = ()
    events: Sequence[Event] = ()
    questions: Mapping[int, str] = field(default_factory=dict)
    record: Record = field(default_factory=Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Then:
    """What the bot did."""

    answers: Sequence[str]
    model: str | None = None
    cited: Sequence[str] = ()  # questions of rows that are still there
    tools: Sequence[Use] | None = None  # None: not kept any more
    tokens: int | None = None
    handed_over: bool = False

    @property
    def answer(self) -> str:
        return "\n\n".join(self.answers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A turn of the record. `skipped`: a word, why it is not asked again."""

    said: Sequence[str]
    at: datetime
    message_id: MessageId
    then: Then
    inputs: Sequence[RecordedMessage] = ()
    before: Sequence[RecordedMessage] = ()
    events: Sequence[Event] = ()
    skipped: str | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    turn: Asked
    now: Outcome | None  # None: it was not asked

    @property
    def is_same(self) -> bool | None:
        """In its words. None: there is nothing to compare."""
        return None if self.now is None else self.now.text == self.turn.then.answer


def turns_of(tape: Tape) -> list[Asked]:
    """Oldest first."""
    found: list[Asked] = []
    waiting = list(tape.events)
    for step in steps_of(tape.messages):
        until = _ended(step)
        told = [event for event in waiting if event.created_at <= until]
        waiting = waiting[len(told) :]
        if (one := _asked(tape, step, told)) is not None:
            found.append(one)
    return found


def _ended(step: Step) -> datetime:
    rows = [*step.inputs, *step.answers] if isinstance(step, Wrote) else [step.message]
    return max(row.created_at for row in rows)


def _asked(tape: Tape, step: Step, events: Sequence[Event]) -> Asked | None:
    if isinstance(step, Wrote):
        said = [text for row in step.inputs if (text := text_of(row))]
        first, answers = step.inputs[0], step.answers
        is_persons = not answers and step.reason in BY_PERSON
        return Asked(
            said=said,
            at=max(row.created_at for row in step.inputs),
            message_id=step.inputs[-1].id,
            then=_then(tape, answers, step.inputs[-1].id),
            inputs=step.inputs,
            before=_before(tape, first.id),
            events=events,
            skipped=step.reason if is_persons else None,
        )
    message = step.message
    if isinstance(step, Person) or not events or kind_of(message) != "reply":
        return None
    return Asked(
        said=[],
        at=max(event.created_at for event in events),
        message_id=message.id,
        then=_then(tape, [message], None),
        before=_before(tape, message.id),
        events=events,
    )


def _before(tape: Tape, first: MessageId) -> list[RecordedMessage]:
    return [row for row in tape.messages if row.id < first][-KEPT_MESSAGES:]


def _then(tape: Tape, answers: Sequence[RecordedMessage], last: MessageId | None) -> Then:
    reply = next((one for one in answers if kind_of(one) == "reply"), None)
    metadata: Mapping[str, Any] = {} if reply is None else reply.metadata
    ids, tokens = metadata.get("kb_cited"), metadata.get("tokens")
    known = tape.questions
    return Then(
        answers=[one.content_text or "" for one in answers],
        model=metadata.get("model"),
        cited=[known[n] for n in ids if n in known] if isinstance(ids, list) else [],
        tools=None if last is None else tape.record.uses.get(last),
        tokens=_sum(tokens),
        handed_over=any(one.handed_over for one in answers),
    )


def _sum(tokens: object) -> int | None:
    if not isinstance(tokens, dict):
        return None
    parts = [tokens.get(kind) for kind in ("input", "output")]
    return sum(part for part in parts if isinstance(part, int))


# ---- as it was -----------------------------------------------------------------------------------


def talk_at(tape: Tape, turn: Asked, bot: TurnContext) -> Talk:
    """`bot`: as it is today, with nobody as its customer. What is recorded is as it was then."""
    talk = tape.talk
    context = replace(
        bot,
        contact_id=talk.contact_id,
        contact_name=talk.contact_name,
        contact_language=talk.contact_language,
        instructions=talk.instructions,
        now=turn.at,
        last_inbound_at=turn.inputs[-1].sent_at if turn.inputs else turn.at,
        answered_seq=0,
        open_actions=list(_open_at(tape.actions, turn.at)),
        facts=[[one.about, one.text] for one in tape.facts if one.created_at < turn.at],
    )
    rows = [_as_of(row, turn.at) for row in turn.before]
    inputs = [_unanswered(row, place) for place, row in enumerate(turn.inputs, start=1)]
    last = len(inputs)
    events = [replace(event, input_seq=last + n) for n, event in enumerate(turn.events, start=1)]
    return Talk(context, rows=[*rows, *inputs], events=events, seq=last + len(events))


def _open_at(actions: Sequence[RecordedAction], at: datetime) -> Iterator[list[Any]]:
    was = [
        one
        for one in actions
        if one.created_at < at and (one.resolved_at is None or one.resolved_at > at)
    ]
    for one in was[-OPEN_ACTIONS:]:
        amount = None if one.amount is None else f"{one.amount:.2f}"
        yield [one.id, one.request_type, one.details, amount, one.currency]


def _as_of(row: RecordedMessage, at: datetime) -> TurnMessage:
    """Without what became known of it later: an edit, a reaction."""
    metadata = dict(row.metadata)
    reactions = metadata.get("reactions")
    if isinstance(reactions, dict) and not _is_before(_reacted(reactions), at):
        del metadata["reactions"]
    edited = row.answered_text is not None and _is_before(metadata.get("edited_at"), at)
    return replace(
        row,
        metadata=metadata,
        input_seq=None,
        content_text=row.content_text if edited else text_of(row),
        answered_text=row.answered_text if edited else None,
    )


def _unanswered(row: RecordedMessage, seq: int) -> TurnMessage:
    metadata = {name: value for name, value in row.metadata.items() if name != "reason"}
    return replace(
        row, metadata=metadata, input_seq=seq, content_text=text_of(row), answered_text=None
    )


def _reacted(reactions: Mapping[str, Any]) -> object:
    customer = reactions.get("customer")
    return customer.get("at") if isinstance(customer, dict) else None


def _is_before(given: object, at: datetime) -> bool:
    try:
        moment = datetime.fromisoformat(str(given))
    except ValueError:
        return False
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) < at
