"""When a shop is open, by the clock on its wall."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from handlers.rules.hours import DAYS, merged, opening, openness, problems

HOURS: dict[str, Any] = {
    "mon": [["09:00", "12:00"], ["13:00", "18:00"]],
    "fri": [["20:00", "02:00"]],
    "sat": [["00:00", "24:00"]],
    "closed": ["2026-12-25", "2027-01-01"],
}


@pytest.mark.parametrize(
    ("at", "is_open", "until"),
    [
        ("2026-11-30T08:59", False, "2026-11-30T09:00"),
        ("2026-11-30T09:00", True, "2026-11-30T12:00"),
        ("2026-11-30T12:00", False, "2026-11-30T13:00"),
        ("2026-11-30T17:59", True, "2026-11-30T18:00"),
        ("2026-11-30T18:00", False, "2026-12-04T20:00"),
        ("2026-12-04T23:00", True, "2026-12-06T00:00"),  # past midnight, and on
        ("2026-12-05T01:59", True, "2026-12-06T00:00"),
        ("2026-12-06T00:00", False, "2026-12-07T09:00"),
        ("2026-12-25T21:00", False, "2026-12-26T00:00"),  # closed that Friday
        ("2026-12-26T01:00", True, "2026-12-27T00:00"),
        ("2027-01-02T01:00", True, "2027-01-03T00:00"),  # Saturday's own
    ],
)
def test_open_and_closed(at: str, *, is_open: bool, until: str) -> None:
    found = openness(HOURS, datetime.fromisoformat(at))
    assert found is not None
    assert (found.open_now, found.until) == (is_open, datetime.fromisoformat(until))


def test_a_closed_date_lets_the_night_before_end() -> None:
    hours = {"thu": [["20:00", "02:00"]], "fri": [["20:00", "02:00"]], "closed": ["2026-12-25"]}
    found = openness(hours, datetime(2026, 12, 25, 1, 0))  # noqa: DTZ001 - the wall's
    assert found is not None
    assert found.open_now


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
def test_the_wall_s_clock_counts_when_it_is_put_forward_or_back(zone: str) -> None:
    """On 25 October 2026 it is 02:30 twice in Berlin; on 28 March 2027 never."""
    hours = {day: [["02:00", "03:00"]] for day in DAYS}
    moments = [
        *(datetime(2026, 10, 25, hour, 30, tzinfo=UTC) for hour in range(24)),
        *(datetime(2027, 3, 28, hour, 30, tzinfo=UTC) for hour in range(24)),
        *(datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in range(24)),
    ]
    for moment in moments:
        local = moment.astimezone(ZoneInfo(zone))
        found = openness(hours, local)
        assert found is not None
        assert found.open_now == (local.hour == 2)


def test_always_and_never_open() -> None:
    at = datetime(2026, 11, 30, 12, 0)  # noqa: DTZ001 - the wall's
    always = openness({day: [["00:00", "24:00"]] for day in DAYS}, at)
    never = openness({"mon": []}, at)
    assert always is not None
    assert never is not None
    assert (always.open_now, always.until) == (True, None)
    assert (never.open_now, never.until) == (False, None)
    for unsaid in (None, {}, {"mon": "wrong"}):
        assert openness(unsaid, at) is None


def test_what_a_model_and_a_customer_are_told() -> None:
    at = datetime(2026, 11, 30, 10, 0)  # noqa: DTZ001 - the wall's
    found = opening(HOURS, at)
    assert found is not None
    assert found.note.startswith("open_now: true, until Monday, 2026-11-30 12:00. Opening hours: {")
    assert found.spelt == "10:00\u201312:00"
    closed = opening(HOURS, at.replace(hour=20))
    assert closed is not None
    assert (closed.open_now, closed.spelt) == (False, "2026-12-04 20:00")


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"monday": []},
        {"mon": None},
        {"mon": ["09:00", "18:00"]},
        {"mon": [["9:00", "18:00"]]},
        {"mon": [["09:00", "24:01"]]},
        {"mon": [["24:00", "08:00"]]},
        {"mon": [["09:00", "13:00"], ["12:00", "14:00"]]},
        {"mon": [["09:00"]]},
        {"mon": [["09:00", "10:00"]] * 7},
        {"closed": ["2026-02-30"]},
        {"closed": ["25.12.2026"]},
        {"closed": "2026-12-25"},
    ],
)
def test_what_are_no_hours(wrong: object) -> None:
    assert problems(wrong)


def test_hours_are_merged_by_day() -> None:
    assert problems(HOURS) == []
    assert merged(None, {"mon": []}) == {"mon": []}
    assert merged({"mon": [], "tue": []}, {"mon": None}) == {"tue": []}
    assert merged({"mon": []}, {"mon": None}) is None
