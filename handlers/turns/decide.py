"""What a turn does, decided from what it read and what the agent thought. Pure.

Five things can come of a turn, and the last transaction writes one of them. Whether a person came
in meanwhile is known only inside that transaction: unsaid() is what becomes of a decision then.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, TypeAlias

from db.usage import Reservation
from handlers.actions import Request
from handlers.agent.graph import Reply
from handlers.agent.memory import Slot
from handlers.agent.offline import OFFLINE
from handlers.fixed.texts import Kind
from handlers.rules import opaque
from handlers.rules.formatting import whatsapp
from handlers.rules.reply import fits, fitted
from handlers.turns.inputs import Found, in_fixed_words
from handlers.turns.ladder import Failing, NoThought, rung

MAX_FAILURES = 6  # turns that failed, or died with their worker, one after the other
TURN_FAILED = "turn_failed"  # the reason then
FIXED = "fixed"  # in the place of the model's name: a decision in fixed words


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
        return self.found.asks and self.silence is None

    @property
    def failed_too_often(self) -> bool:
        return self.found.context.attempts >= MAX_FAILURES


Thought: TypeAlias = Reply | NoThought


@dataclass(frozen=True, slots=True)
class Say:
    """The reply, and what it brings along. It costs a unit."""

    text: str
    metadata: dict[str, Any]
    unit: Reservation
    requests: tuple[Request, ...] = ()  # to become actions
    slot: Slot | None = None  # the thread as the run left it; None: it does not know of this
    reason: str | None = None  # why it is said in fixed words


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
class Silent:
    reason: str | None  # None: there was nothing to say
    by_human: bool  # a person has the conversation, and tells what has to be told


Decision: TypeAlias = Say | Apologise | Later | Notice | Silent


def decide(read: Read, thought: Thought | None) -> Decision:
    """`thought` is None when the agent was not asked."""
    match thought:
        case None:
            return _unanswered(read)
        case NoThought():
            return _unthought(read, thought)
        case Reply():
            # Stored answers are sent word for word.
            text = thought.text if thought.model == OFFLINE else whatsapp(thought.text)
            metadata = _metadata(read, thought.model, thought.kb_ids)
            text = _one_message(text, read, cut=thought.cut)
            return Say(text, metadata, _unit(read), thought.requests, thought.slot)


def _unthought(read: Read, thought: NoThought) -> Say | Apologise | Later:
    voice, context = read.found.voice, read.found.context
    # What a tool promised is kept, and what a person decided is told, in fixed words.
    kept = voice.says(Kind.REQUEST_KEPT) if thought.requests else None
    if (text := kept or in_fixed_words(read.found)) is not None:
        metadata = _metadata(read, FIXED, ())
        text = _one_message(whatsapp(text), read)
        return Say(text, metadata, _unit(read), thought.requests, reason=thought.reason)
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


def unsaid(decision: Decision, read: Read) -> Silent:
    """A person came in while the turn was under way: what it would say stays unsaid."""
    match decision:
        case Silent():
            return decision
        case Notice():
            return Silent(decision.reason, read.found.context.by_human)
        case Say() | Apologise() | Later():
            return Silent("taken_over", by_human=True)


def _unanswered(read: Read) -> Notice | Silent:
    at_limit, silence = read.reserved, read.silence
    if (
        at_limit is not None
        and at_limit.notice is not None
        and read.found.inputs  # who only would have heard a decision asked nothing
    ):
        # The plan has one text; the chatbot may have the customer's language.
        text = read.found.voice.own_text(Kind.LIMIT) or at_limit.notice
        return Notice(_one_message(text, read), at_limit.outcome, at_limit.usage_day)
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


def _metadata(read: Read, model: str, kb_ids: tuple[int, ...]) -> dict[str, Any]:
    return {"kind": "reply", "model": model, "kb_ids": list(kb_ids), **read.found.trace}
