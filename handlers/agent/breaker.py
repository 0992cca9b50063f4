"""Whether a model's server is asked at all: one that is away is asked by one turn at a time, and
the others come back when that was answered.

Without it an outage costs every waiting conversation its own requests and timeouts, and a server
that comes back is met by all of them at once. With it the outage ends for everybody seconds after
it ends: each turn that is refused is told when to come again, those of one worker in RETURNS_PER_S.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from handlers.agent.answerer import Kind, NoAnswer
from handlers.process import telemetry

log: structlog.stdlib.BoundLogger = structlog.get_logger()

FAILURES = 3  # one after the other, of whatever turns: then the server is away
FAILURES_WITHIN_S = 60.0
TRIAL_MIN_S, TRIAL_MAX_S = 1.0, 5.0  # from a trial that failed to the next one
BROKEN_TRIAL_MAX_S = 15.0  # the same, where a person has to mend something
RETRY_AFTER_MAX_S = 60.0  # of the server's own wish
RETURNS_PER_S = 50.0  # a turn that comes back for nothing costs the database some ms
WAIT_MAX_S = 20.0
# Questions at once after a trial that was answered, doubled by each answer until there is no bound.
ROOM, ALL = 2, 256


class NotAsked(NoAnswer):
    """The server is away, as others have found out."""

    asked = False
    billed = False


@dataclass(slots=True)
class Breaker:
    """Of one endpoint and key, in one process."""

    clock: Callable[[], float] = time.monotonic
    ours: bool = True  # the operator's: whether it is away is in the metrics
    _failures: list[float] = field(default_factory=list)
    _away: NoAnswer | None = None  # why, while it is
    _trials: int = 0  # failed in this outage
    _trial_at: float = 0.0
    _trying: bool = False
    _room: int = ALL
    _running: int = 0
    _next_return: float = 0.0

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Around a question. Raises NotAsked instead of letting it be asked."""
        trial = self._admit()
        began = self.clock()
        self._running += 1
        try:
            yield
        except NoAnswer as none:
            self._heard(none if none.kind is not Kind.NEVER else None, trial)
            raise
        except asyncio.CancelledError:
            # The turn's time was up, or the process ends.
            if trial or self.clock() - began > TRIAL_MAX_S:
                self._heard(NoAnswer("timeout"), trial)
            raise
        else:
            self._heard(None, trial)
        finally:
            self._running -= 1
            if trial:
                self._trying = False

    def _admit(self) -> bool:
        """Whether it is the one that tries."""
        if self._away is None:
            if self._room < ALL and self._running >= self._room:
                raise self._refusal(NoAnswer("away"))
            return False
        if self._trying or self.clock() < self._trial_at:
            raise self._refusal(self._away)
        self._trying = True
        return True

    def _refusal(self, why: NoAnswer) -> NotAsked:
        now = self.clock()
        earliest = now if self._away is None else self._trial_at
        self._next_return = max(self._next_return + 1 / RETURNS_PER_S, earliest, now + TRIAL_MIN_S)
        return NotAsked(why.word, why.kind, min(self._next_return - now, WAIT_MAX_S))

    def _heard(self, none: NoAnswer | None, trial: bool) -> None:
        if none is None:
            self._answered()
        elif self._away is None or trial:
            self._failed(none)

    def _answered(self) -> None:
        self._failures.clear()
        if self._away is not None:
            log.info("model.back", trials=self._trials, ours=self.ours)
            self._away, self._trials, self._room = None, 0, ROOM
            self._show(0)
        else:
            self._room = min(ALL, self._room * 2)

    def _failed(self, none: NoAnswer) -> None:
        now = self.clock()
        self._failures = [at for at in self._failures if at > now - FAILURES_WITHIN_S] + [now]
        if self._away is None and self._room == ALL and len(self._failures) < FAILURES:
            return
        if self._away is None:
            log.warning("model.away", word=none.word, kind=none.kind, ours=self.ours)
            self._show(1)
        longest = BROKEN_TRIAL_MAX_S if none.kind is Kind.BROKEN else TRIAL_MAX_S
        pause = min(longest, TRIAL_MIN_S * 2.0 ** min(self._trials, 10))
        self._trials += 1
        self._away = none
        self._trial_at = now + max(pause, min(none.retry_after_s or 0.0, RETRY_AFTER_MAX_S))
        self._room = ROOM

    def _show(self, away: int) -> None:
        if self.ours:
            telemetry.MODEL_AWAY.set(away)
