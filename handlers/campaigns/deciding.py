"""What a look at a campaign leads to. Pure.

Each look has its row locked. A campaign that is held up is looked at again at `resume_at`; what
holds it up then is the newest reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from handlers.campaigns.clock import Window
from handlers.templates.anatomy import SENDABLE

Reason = Literal[
    "person", "template", "message_limit", "messaging_limit", "number", "window", "plan"
]
LOOK_AGAIN = timedelta(seconds=30)
BULK_MAX = 32  # messages of a number that wait at once: so many are too late for a cancel
SHARE = 0.7  # of a number's rate, where every template is green
SLOW_RATE = 10.0  # a second, where one is not


@dataclass(frozen=True, slots=True)
class Hold:
    reason: Reason
    until: datetime | None  # None: a person has to resume it


@dataclass(frozen=True, slots=True)
class Go:
    """So many messages may be made now."""

    messages: int


@dataclass(frozen=True, slots=True)
class Over:
    """Its time is over: who is left is not asked any more."""


Decision: TypeAlias = Hold | Go | Over


@dataclass(frozen=True, slots=True)
class Variant:
    template_id: int
    parameters: Mapping[str, object]
    weight: int
    category: str | None = None  # at the start


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """How things stand when it is looked at."""

    at: datetime
    allowed: bool  # a plan in force, with campaigns; tenant and chatbot active
    templates: Mapping[int, tuple[str, str]]  # status and category of each that there is
    number_held: bool
    room: int  # of the plan's messages
    day_ends_at: datetime
    outstanding: int
    rate: float
    full_at: datetime


def held(
    variants: Sequence[Variant], ends_at: datetime | None, window: Window | None, now: Now
) -> Hold | Over | None:
    """What keeps it from sending; None: nothing does."""
    if ends_at is not None and ends_at <= now.at:
        return Over()
    if not now.allowed:
        return Hold("plan", now.at + LOOK_AGAIN)
    for one in variants:
        status, category = now.templates.get(one.template_id, ("DELETED", ""))
        if one.category is not None and category and category != one.category:
            return Hold("template", None)  # another price, and other rules: a person decides
        if status != SENDABLE:
            return Hold("template", now.at + LOOK_AGAIN)
    if window is not None and not window.is_open(now.at):
        return Hold("window", window.next_opening(now.at))
    if now.number_held:
        return Hold("number", now.at + LOOK_AGAIN)
    if now.room <= 0:
        return Hold("message_limit", now.day_ends_at)
    return None


def decide(
    variants: Sequence[Variant], ends_at: datetime | None, window: Window | None, now: Now
) -> Decision:
    hold = held(variants, ends_at, window, now)
    if hold is not None:
        return hold
    most = min(BULK_MAX, max(1, int(2 * now.rate)))
    return Go(max(0, min(now.room, most - now.outstanding, allowance(now))))


def allowance(now: Now) -> int:
    """Of a bucket that holds a second's worth, or one message."""
    holds = max(1.0, now.rate)
    lacks = max(0.0, (now.full_at - now.at).total_seconds()) * now.rate
    return int(holds - lacks + 1e-9)


def spent(now: Now, messages: int) -> datetime:
    """When the bucket is full again."""
    return max(now.full_at, now.at) + timedelta(seconds=messages / now.rate)


def drawn(variants: Sequence[Variant], dice: int) -> int:
    """By weight; the same dice draw the same."""
    place = dice % sum(one.weight for one in variants)
    for n, one in enumerate(variants):
        place -= one.weight
        if place < 0:
            return n
    raise AssertionError("unreachable: the place is below the sum")
