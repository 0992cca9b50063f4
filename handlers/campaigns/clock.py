"""When a campaign may send: moments of a zone's wall clock, and the hours of a day. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from zoneinfo import ZoneInfo


def moment_of(wall: datetime, zone: tzinfo) -> datetime:
    """Of a wall clock's time, in UTC. One that is left out in spring is the next that there is; of
    one that comes twice in autumn it is the first."""
    early = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if early.astimezone(zone).replace(tzinfo=None) == wall:
        return early
    # In a gap: the clock jumps between these two.
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), early
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return (after + timedelta(milliseconds=500)).replace(microsecond=0)


@dataclass(frozen=True, slots=True)
class Window:
    """Days of the week, 1 is Monday, and the hours of them, the end not included."""

    days: tuple[int, ...]
    opens: time
    closes: time | None  # None: midnight
    zone: ZoneInfo

    def is_open(self, now: datetime) -> bool:
        here = now.astimezone(self.zone)
        return (
            here.isoweekday() in self.days
            and self.opens <= here.time()
            and (self.closes is None or here.time() < self.closes)
        )

    def next_opening(self, now: datetime) -> datetime:
        """After `now`."""
        today = now.astimezone(self.zone).date()
        moments = (moment_of(_at(day, self.opens), self.zone) for day in _days(today, self.days))
        return next(one for one in moments if one > now)


def _at(day: date, when: time) -> datetime:
    return datetime.combine(day, when)


def _days(first: date, days: Sequence[int]) -> Sequence[date]:
    found = [first + timedelta(days=n) for n in range(15)]
    return [day for day in found if day.isoweekday() in days]


def window_of(given: dict[str, object] | None, zone: ZoneInfo) -> Window | None:
    """Of a campaign's `send_window`, which was checked when it was written."""
    if given is None:
        return None
    days, opens, closes = given["days"], str(given["from"]), str(given["to"])
    assert isinstance(days, list)
    return Window(
        days=tuple(int(day) for day in days),
        opens=time.fromisoformat(opens),
        closes=None if closes == "24:00" else time.fromisoformat(closes),
        zone=zone,
    )
