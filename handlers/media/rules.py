"""What follows when a medium could not be fetched. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from handlers.media.kinds import IDS_LIVE
from handlers.rules.window import STALE_AFTER

FIRST_WAIT = timedelta(seconds=2)
LONGEST_WAIT = timedelta(minutes=30)
# Of these the same would be said again.
FINAL: Final = frozenset(["too_large", "wrong_type", "foreign_host", "not_drawn"])
# These may be a moment's fault, and are believed after some tries.
DOUBTED: Final = frozenset(["gone", "hash", "truncated", "redirected", "unreadable", "too_slow"])
DOUBTED_TRIES = 4
OF_THE_SOUND: Final = frozenset(["not_understood", "answer_too_big"])
DIED = "died"  # the worker, or our own mistake
DEATHS_MAX = 5
TOO_OLD = "too_old"


@dataclass(frozen=True, slots=True)
class GiveUp:
    reason: str


@dataclass(frozen=True, slots=True)
class Again:
    wait: timedelta


Next: TypeAlias = GiveUp | Again


def after(problem: str, tries: int, age: timedelta) -> Next:
    """`tries` are those before this one; `age` is the message's."""
    if problem in FINAL:
        return GiveUp(problem)
    if problem in DOUBTED and tries + 1 >= DOUBTED_TRIES:
        return GiveUp(problem)
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 20))
    if age + wait >= IDS_LIVE:
        return GiveUp(problem)
    return Again(wait)


def after_hearing(problem: str, tries: int, age: timedelta) -> Next:
    """A server that is away is asked again while an answer would still be given."""
    if problem in OF_THE_SOUND or (problem in DOUBTED and tries + 1 >= DOUBTED_TRIES):
        return GiveUp(problem)
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries, 20))
    return GiveUp(problem) if age + wait >= STALE_AFTER else Again(wait)


def before(deaths: int, age: timedelta) -> GiveUp | None:
    """Whether it need not be tried at all: one that takes its worker down again and again is left
    alone."""
    if age >= IDS_LIVE:
        return GiveUp(TOO_OLD)
    return GiveUp(DIED) if deaths >= DEATHS_MAX else None
