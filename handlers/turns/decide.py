"""What a turn does, decided from what it read and what the agent thought. Pure.

Five things can come of a turn, and the last transaction writes one of them. Whether a person came
in meanwhile is known only inside that transaction: unsaid() is what becomes of a decision then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeAlias

from db.usage import Reservation
from handlers.actions import Request
from handlers.agent.answerer import CONTENT_FILTER, REFUSED
from handlers.agent.graph import Reply
from handlers.agent.memory import Slot
from handlers.agent.remembering import Remembered
from handlers.fixed.texts import Kind
from handlers.rules import opaque
from handlers.rules.choices import Layout
from handlers.rules.formatting import whatsapp
from handlers.rules.quotes import Quoted
from handlers.rules.reply import fits, fitted
from handlers.rules.unanswered import question_of
from handlers.turns.inputs import Found, decisions, in_fixed_words
from handlers.turns.ladder import Failing, NoThought, rung
from handlers.turns.pace import LOOP
from handlers.turns.sale import What
from handlers.turns.saying import spoken

MAX_FAILURES = 6  # turns that failed, or died with their worker, one after the other
TURN_FAILED = "turn_failed"  # the reason then
FIXED = "fixed"  # in the place of the model's name: a decision in fixed words
# Reasons of what code says without a model.
OFF_TOPIC, OPTED_OUT, OPTED_IN = "off_topic", "opted_out", "opted_in"
CONTACT_DAY = ("max_messages_per_contact_day", "max_tokens_per_contact_day")


@dataclass(frozen=True, slots=True)
class Read:
    """What the first transaction found, and what came of asking for a unit."""

    found: Found
    slot: Slot
    reserved: Reservation | None  # None: none was asked for

    @property
    def silence(self) -> str | None:
        """Why no answer will be given."""
        if self.found.silence is not None or self.reserved is None:
            return self.found.silence
        return None if self.reserved.outcome == "granted" else self.reserved.outcome

    @property
    def speaks(self) -> bool:
        """Whether the agent is asked."""
        return self.found.asks and self.silence is None and not self.found.in_code

    @property
    def failed_too_often(self) -> bool:
        return self.found.context.attempts >= MAX_FAILURES


@dataclass(frozen=True, slots=True)
class Declined:
    """The agent was not asked: it is off-topic again."""


Thought: TypeAlias = Reply | NoThought | Declined


@dataclass(frozen=True, slots=True)
class Say:
    """The reply, and what it brings along. It costs a unit."""

    text: str
    metadata: dict[str, Any]
    unit: Reservation
    requests: tuple[Request, ...] = ()  # to become actions
    facts: tuple[Remembered, ...] = ()  # to be kept about the customer
    handed_over: str | None = None  # a person takes over with it, and why
    slot: Slot | None = None  # the thread as the run left it; None: it does not know of this
    reason: str | None = None  # why it is said in fixed words
    unanswered: str | None = None  # what was asked, and the knowledge base does not have
    off_topic: bool = False  # it declines
    confidence: float | None = None  # of the search behind it
    layout: Layout | None = None  # of what can be chosen under the text
    quoted: Quoted | None = None  # what its button orders
    files: tuple[int, ...] = ()  # of the chatbot's, that go out behind it


@dataclass(frozen=True, slots=True)
class Apologise:
    """The customer is told that a person will answer, and the bot is silent for a while."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """The turn comes again after `wait`. `text`: the customer is told that it takes longer."""

    wait: timedelta
    reason: str
    paid: bool  # the model worked for it
    failing_for: timedelta  # by now
    text: str | None


@dataclass(frozen=True, slots=True)
class Notice:
    """No answer, and the customer is told why, unless they were told not long ago."""

    text: str
    reason: str
    usage_day: date | None  # a limit's notice comes once on it; None: one about media


@dataclass(frozen=True, slots=True)
class Told:
    """In fixed words, without a model and outside the meter: that is the answer."""

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class StopLoop:
    """The bot is silent for a while, and the tenant hears of it."""

    text: str
    reason: str = LOOP


@dataclass(frozen=True, slots=True)
class Sale:
    """What the customer orders by a press or a cart. Outside the meter: no limit keeps an order
    from being made that they agreed to. What is said is known when it is done."""

    what: What
    reason: str = "sale"


@dataclass(frozen=True, slots=True)
class Silent:
    reason: str | None  # None: there was nothing to say
    by_human: bool  # a person has the conversation, and tells what has to be told


Decision: TypeAlias = Say | Apologise | Later | Notice | Told | StopLoop | Sale | Silent


def decide(read: Read, thought: Thought | None) -> Decision:
    """`thought` is None when the agent was not asked."""
    match thought:
        case None:
            return _unanswered(read)
        case NoThought():
            return _unthought(read, thought)
        case Declined():
            return Told(read.found.voice.says(Kind.OFF_TOPIC), OFF_TOPIC)
        case Reply():
            line = _choice_line(read)
            said = spoken(read.found, thought, "" if line is None else line[0])
            metadata = _metadata(read, thought.model, thought.kb_shown, thought.kb_cited)
            if said.findings:
                metadata["findings"] = said.findings
            if thought.finish_reason is not None:
                metadata["finish_reason"] = thought.finish_reason
            asked = [row.content_text for row in read.found.inputs if row.content_text]
            return Say(
                text=said.text
                if said.layout is not None
                else _with_choice(_one_message(said.text, read, cut=said.is_cut), read),
                metadata=metadata,
                unit=_unit(read),
                requests=thought.requests,
                facts=thought.facts,
                slot=thought.slot if said.is_thought else None,
                unanswered=question_of(asked) if thought.found_nothing else None,
                handed_over=thought.handed_over,
                off_topic=thought.off_topic,
                confidence=thought.confidence,
                layout=said.layout,
                quoted=said.quoted,
                files=thought.files,
            )


def _unthought(read: Read, thought: NoThought) -> Say | Apologise | Later | Notice:
    voice, context = read.found.voice, read.found.context
    # What a tool promised is kept, and what a person decided is told, in fixed words.
    told = [Kind.REQUEST_KEPT] if thought.requests else []
    told += [Kind.HANDOVER] if thought.handed_over is not None else []
    kept = "\n\n".join([*decisions(read.found), *map(voice.says, told)]) if told else ""
    # What a model or a filter declines once it will decline again: that is an answer too.
    declined = None
    if thought.none.word in (REFUSED, CONTENT_FILTER):
        declined = "\n\n".join([*decisions(read.found), voice.says(Kind.REFUSED)])
    if text := kept or in_fixed_words(read.found) or declined:
        text = _with_choice(_one_message(whatsapp(text), read), read)
        return Say(
            text=text,
            metadata=_metadata(read, FIXED),
            unit=_unit(read),
            requests=thought.requests,
            handed_over=thought.handed_over,
            reason=thought.reason,
        )
    if thought.none.word in CONTACT_DAY:
        return _contact_day(read, thought.none.word)
    since = context.now - context.failing_since if context.failing_since else timedelta(0)
    failing = Failing(since=since, paid=context.model_tries, told_slow=context.told_slow)
    step = rung(thought, failing)
    if step is None:
        return Apologise(voice.says(Kind.APOLOGY), thought.reason)
    return Later(
        wait=step.wait,
        reason=thought.reason,
        paid=thought.none.asked and thought.none.billed,
        failing_for=since + thought.took,
        text=voice.says(Kind.SLOW) if step.say_slow else None,
    )


def unsaid(decision: Decision, read: Read, reason: str = "taken_over") -> Silent:
    """A person came in while the turn was under way: what it would say stays unsaid."""
    match decision:
        case Silent():
            return decision
        case Notice():
            return Silent(decision.reason, read.found.context.by_human)
        case Say() | Apologise() | Later() | Told() | StopLoop() | Sale():
            return Silent(reason, by_human=True)


def _in_code(read: Read) -> Told | StopLoop | Sale | None:
    if read.silence is not None or not read.found.in_code:
        return None
    if read.found.circles:
        return StopLoop(read.found.voice.says(Kind.LOOP))
    if read.found.sale is not None:
        return Sale(read.found.sale)
    line = _choice_line(read)
    return None if line is None else Told(*line)


def _choice_line(read: Read) -> tuple[str, str] | None:
    """What is said to a choice about advertising, and the reason."""
    match read.found.choice:
        case "stop":
            return read.found.voice.says(Kind.OPTED_OUT), OPTED_OUT
        case "resume":
            return read.found.voice.says(Kind.OPTED_IN), OPTED_IN
        case None:
            return None


def _with_choice(text: str, read: Read) -> str:
    """And what is said to a choice: of an answer that leaves no room for it less is said."""
    line = _choice_line(read)
    if line is None:
        return text
    if fits(both := f"{text}\n\n{line[0]}"):
        return both
    return fitted(text, f"{read.found.voice.says(Kind.SHORTENED)}\n\n{line[0]}", cut=True)


def _contact_day(read: Read, reason: str) -> Notice:
    """The customer has had as much as the plan gives one of them a day."""
    voice, reserved = read.found.voice, _unit(read)
    text = voice.own_text(Kind.LIMIT) or reserved.notice or voice.says(Kind.LIMIT)
    return Notice(_one_message(text, read), reason, reserved.usage_day)


def _unanswered(read: Read) -> Notice | Told | StopLoop | Sale | Silent:
    at_limit, silence = read.reserved, read.silence
    if (told := _in_code(read)) is not None:
        return told
    if at_limit is not None and at_limit.outcome in CONTACT_DAY and read.found.inputs:
        return _contact_day(read, at_limit.outcome)
    if (
        at_limit is not None
        and at_limit.notice is not None
        and read.found.inputs  # who only would have heard a decision asked nothing
    ):
        # The plan has one text; the chatbot may have the customer's language.
        text = read.found.voice.own_text(Kind.LIMIT) or at_limit.notice
        return Notice(_one_message(text, read), at_limit.outcome, at_limit.usage_day)
    if silence == opaque.LATER:
        return Told(read.found.voice.says(Kind.MEDIA_LATER), silence)
    if silence == opaque.MEDIA:
        return Notice(read.found.voice.says(Kind.MEDIA), silence, None)
    return Silent(silence, read.found.context.by_human)


def _one_message(text: str, read: Read, *, cut: bool = False) -> str:
    if fits(text) and not cut:
        return text
    return fitted(text, read.found.voice.says(Kind.SHORTENED), cut=cut)


def _unit(read: Read) -> Reservation:
    assert read.reserved is not None, "whoever thinks has a unit"
    return read.reserved


def _metadata(
    read: Read, model: str, kb_shown: Sequence[int] = (), kb_cited: Sequence[int] = ()
) -> dict[str, Any]:
    rows = {"kb_shown": list(kb_shown), "kb_cited": list(kb_cited)}
    return {"kind": "reply", "model": model, **rows, **read.found.trace}
