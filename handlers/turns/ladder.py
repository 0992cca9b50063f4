"""What becomes of a turn whose model gave no answer, rung by rung. Pure.

The client has asked twice by then. The turn comes again after seconds, growing, with whatever the
customer has written meanwhile; after SLOW_AFTER they are told once that it takes longer; only when
patience ends does the conversation go to a person, and the tenant hears of it.
"""

from dataclasses import dataclass
from datetime import timedelta

from handlers.actions import Request
from handlers.agent.answerer import EMPTY_ANSWER, ONLY_THOUGHT, Kind, NoAnswer

WAIT_MIN, WAIT_MAX = timedelta(seconds=2), timedelta(seconds=15)
SERVERS_WAIT_MAX = timedelta(seconds=60)  # of what the server asks for
SLOW_AFTER = timedelta(seconds=20)
PATIENCE = {
    Kind.LATER: timedelta(minutes=5),
    Kind.BROKEN: timedelta(minutes=2),
    Kind.NEVER: timedelta(0),
}
BILLED_TRIES = 3  # of answers that nothing could be made of
CHANCE_TRIES = 2  # of answers without a word, each asked for twice
BY_CHANCE = (EMPTY_ANSWER, ONLY_THOUGHT)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoThought:
    """The agent had nothing that could be said."""

    reason: str  # a fixed word
    none: NoAnswer
    took: timedelta
    requests: tuple[Request, ...] = ()  # that its tools made before
    handed_over: str | None = None  # likewise: to a person, and why


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """Of one conversation, since it was answered last."""

    since: timedelta  # how long the model has been failing, this turn left out
    paid: int  # questions that were paid for in vain, this one left out
    told_slow: bool


@dataclass(frozen=True, slots=True)
class Wait:
    wait: timedelta
    say_slow: bool


def rung(thought: NoThought, failing: Failing) -> Wait | None:
    """None: there is nothing more to wait for."""
    none, since = thought.none, failing.since + thought.took
    if _in_vain(none, since, failing.paid + 1):
        return None
    asks = timedelta(seconds=none.retry_after_s or 0)
    if not none.asked:
        wait = asks
    else:
        own = min(max(WAIT_MIN, failing.since), WAIT_MAX)
        wait = max(own, min(asks, SERVERS_WAIT_MAX))
    return Wait(wait, since >= SLOW_AFTER and not failing.told_slow)


def _in_vain(none: NoAnswer, since: timedelta, paid: int) -> bool:
    """What an outage refused cost nothing, and is no reason to give up at the first answer after
    it that is none."""
    if none.word in BY_CHANCE:
        return paid >= CHANCE_TRIES
    return since >= PATIENCE[none.kind] or (none.billed and paid >= BILLED_TRIES)
