"""When a campaign may send, how fast, and which variant."""

from collections import Counter
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from handlers.campaigns.clock import Window, moment_of
from handlers.campaigns.deciding import (
    BULK_MAX,
    Go,
    Hold,
    Now,
    Over,
    Variant,
    allowance,
    decide,
    drawn,
    spent,
)

AT = datetime(2030, 5, 20, 12, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
ONE = [Variant(1, {}, 1, "MARKETING")]


def now(**more: Any) -> Now:
    given: dict[str, Any] = {
        "at": AT,
        "allowed": True,
        "templates": {1: ("APPROVED", "MARKETING")},
        "number_held": False,
        "room": 1_000,
        "day_ends_at": AT + timedelta(hours=3),
        "outstanding": 0,
        "rate": 10.0,
        "full_at": AT,
    }
    return Now(**(given | more))


@pytest.mark.parametrize(
    ("wall", "utc"),
    [
        ("2030-06-01T10:00", "2030-06-01T08:00"),
        ("2030-03-31T02:30", "2030-03-31T01:00"),  # left out: the next is 3 o'clock
        ("2030-03-31T02:00", "2030-03-31T01:00"),
        ("2030-03-31T03:00", "2030-03-31T01:00"),
        ("2030-03-31T01:59", "2030-03-31T00:59"),
        ("2030-10-27T02:30", "2030-10-27T00:30"),  # twice: the first
        ("2030-10-27T03:00", "2030-10-27T02:00"),
    ],
)
def test_a_wall_clocks_time_is_a_moment(wall: str, utc: str) -> None:
    moment = moment_of(datetime.fromisoformat(wall), BERLIN)
    assert moment == datetime.fromisoformat(utc).replace(tzinfo=UTC)


def test_a_window_opens_on_its_days_and_hours() -> None:
    window = Window((1, 2, 3, 4, 5), time(9), time(19), BERLIN)
    assert window.is_open(datetime(2030, 5, 20, 7, 0, tzinfo=UTC))  # Monday, 9:00
    assert not window.is_open(datetime(2030, 5, 20, 6, 59, tzinfo=UTC))
    assert not window.is_open(datetime(2030, 5, 20, 17, 0, tzinfo=UTC))
    assert not window.is_open(datetime(2030, 5, 25, 10, 0, tzinfo=UTC))  # Saturday
    friday = datetime(2030, 5, 24, 18, tzinfo=UTC)
    assert window.next_opening(friday) == datetime(2030, 5, 27, 7, tzinfo=UTC)
    early = datetime(2030, 5, 20, 3, tzinfo=UTC)
    assert window.next_opening(early) == datetime(2030, 5, 20, 7, tzinfo=UTC)
    night = Window((7,), time(0), None, BERLIN)
    assert night.is_open(datetime(2030, 5, 26, 21, 59, tzinfo=UTC))
    assert not night.is_open(datetime(2030, 5, 26, 22, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("more", "reason", "by_itself"),
    [
        ({"allowed": False}, "plan", True),
        ({"templates": {}}, "template", True),
        ({"templates": {1: ("PAUSED", "MARKETING")}}, "template", True),
        ({"templates": {1: ("APPROVED", "UTILITY")}}, "template", False),
        ({"number_held": True}, "number", True),
        ({"room": 0}, "message_limit", True),
    ],
)
def test_what_holds_it_up(more: Any, reason: str, by_itself: bool) -> None:
    found = decide(ONE, None, None, now(**more))
    assert isinstance(found, Hold)
    assert (found.reason, found.until is not None) == (reason, by_itself)


def test_its_end_comes_before_whatever_holds_it() -> None:
    assert decide(ONE, AT, None, now(allowed=False)) == Over()


def test_so_many_at_once() -> None:
    assert decide(ONE, None, None, now(rate=1_000.0)) == Go(BULK_MAX)
    assert decide(ONE, None, None, now(rate=1_000.0, outstanding=30)) == Go(2)
    assert decide(ONE, None, None, now(outstanding=40)) == Go(0)
    assert decide(ONE, None, None, now(room=3)) == Go(3)


@pytest.mark.parametrize("rate", [0.2, 1.0, 7.0, 56.0])
def test_the_pace_is_kept_whenever_it_is_looked_at(rate: float) -> None:
    full_at, sent, seconds = AT, 0, 600
    for n in range(seconds * 2):
        look = now(at=AT + timedelta(seconds=n / 2), rate=rate, full_at=full_at)
        free = allowance(look)
        if free:
            sent, full_at = sent + free, spent(look, free)
    assert rate * seconds * 0.9 <= sent <= rate * (seconds + 2) + 1


def test_variants_are_drawn_by_weight() -> None:
    variants = [Variant(1, {}, 3), Variant(2, {}, 1)]
    found = Counter(drawn(variants, n) for n in range(4_000))
    assert found == {0: 3_000, 1: 1_000}
