"""What becomes of a delivery after an attempt, and of its endpoint. Pure."""

import email.utils
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

# After the first attempt, the second, ...: nine in 25.6 hours, so that an endpoint that is away
# over night gets all. ±20 %, so that what failed together does not come together again.
SCHEDULE_S = (5.0, 60.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 28_800.0, 36_000.0)
JITTER = 0.2
RETRY_AFTER_MAX_S = 3_600.0  # or twice what the schedule says

# Nothing of an endpoint that fails is tried for a while; then one delivery tries. What waits
# meanwhile spends no attempt.
BREAK_TIMEOUTS = 4  # in a row without an answer: as many as are under way at once
BREAK_FAILURES = 10  # in a row
OPEN_FIRST_S, OPEN_MAX_S = 5.0, 1_800.0  # doubled each time
WIDTH = 4  # posts under way to one endpoint
# Days without a success, and so many attempts: a webhook with one event a week has not failed yet.
DISABLE_AFTER_S = 5 * 86_400.0
DISABLE_FAILURES = 20

GONE, FAILING = "gone", "failing"  # webhooks.disabled_reason
_GONE_STATUS = 410
_PAUSING = (429, 503)


@dataclass(frozen=True, slots=True)
class Health:
    """Of an endpoint; all in a row."""

    failures: int = 0
    timeouts: int = 0
    opened: int = 0
    failing_s: float = 0.0

    @property
    def width(self) -> int:
        """An endpoint that failed gets one at a time."""
        return 1 if self.failures or self.opened else WIDTH


@dataclass(frozen=True, slots=True)
class Attempt:
    status: int | None  # None: there was no answer
    retry_after_s: float | None = None

    @property
    def succeeded(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True, slots=True)
class Fate:
    """Of a delivery."""

    status: Literal["delivered", "pending", "failed"]
    after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Consequence:
    """For an endpoint. `open_s`: nothing is tried for so long."""

    health: Health
    open_s: float | None = None
    disable: str | None = None


def fate(attempt: Attempt, tries: int, dice: float) -> Fate:
    """`tries`: attempts before this one; `dice` 0 to 1."""
    if attempt.succeeded:
        return Fate("delivered")
    if tries >= len(SCHEDULE_S):
        return Fate("failed")
    planned = SCHEDULE_S[tries]
    wait = planned * (1 - JITTER + 2 * JITTER * dice)
    asked = attempt.retry_after_s
    if asked is not None:
        wait = max(wait, min(asked, max(RETRY_AFTER_MAX_S, 2 * planned)))
    return Fate("pending", wait)


def after(health: Health, attempt: Attempt) -> Consequence:
    if attempt.succeeded:
        return Consequence(Health())
    health = replace(
        health,
        failures=health.failures + 1,
        timeouts=0 if attempt.status is not None else health.timeouts + 1,
    )
    if attempt.status == _GONE_STATUS:
        return Consequence(health, 0.0, GONE)
    if health.failing_s >= DISABLE_AFTER_S and health.failures >= DISABLE_FAILURES:
        return Consequence(health, 0.0, FAILING)
    open_s: float | None = None
    if health.opened or health.timeouts >= BREAK_TIMEOUTS or health.failures >= BREAK_FAILURES:
        open_s = min(OPEN_FIRST_S * 2.0**health.opened, OPEN_MAX_S)
        health = replace(health, opened=min(health.opened + 1, 30))
    if attempt.status in _PAUSING and attempt.retry_after_s is not None:
        # Longer, never sooner: `Retry-After: 0` each time spent all attempts of all that waited.
        open_s = max(open_s or 0.0, min(attempt.retry_after_s, RETRY_AFTER_MAX_S))
    return Consequence(health, open_s)


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds or a date, as HTTP has it. None: nothing that can be followed."""
    if header is None:
        return None
    if header.strip().isascii() and header.strip().isdigit():
        return float(header.strip()[:9])
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
