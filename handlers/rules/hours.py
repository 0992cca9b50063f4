"""When a business is open, by the clock on its wall. Pure.

{"mon": [["09:00", "18:00"]], ..., "closed": ["2026-12-25"]}: a day that is not there is closed, a
`to` that is not after its `from` is on the next day, and "24:00" is its end. A closed date closes
what begins on it. Where the clock goes forward or back, the wall's times count.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any, Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CLOSED: Final = "closed"
SPANS_MAX = 6  # of a day
CLOSED_MAX = 400  # dates
CLOSED_SHOWN = 10  # of the dates
LOOKS_AHEAD = 400  # days, for when it opens again
TIME: Final = r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$"
END: Final = r"^(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)$"
DATE: Final = r"^(?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}$"
_DAY = timedelta(days=1)


def problems(given: object) -> list[str]:
    """All that keeps hours from being stored, each with its place."""
    if not isinstance(given, dict):
        return ["not an object of days"]
    return [problem for day, value in given.items() for problem in _of_day(day, value)]


def _of_day(day: str, value: object) -> Iterator[str]:
    if day == CLOSED:
        yield from _of_closed(value)
    elif day not in DAYS:
        yield f"{day!r} is no day: there are {', '.join(DAYS)} and {CLOSED}"
    elif not isinstance(value, list) or len(value) > SPANS_MAX:
        yield f"{day} is not a list of at most {SPANS_MAX} pairs"
    else:
        spans = [_span(pair) for pair in value]
        if None in spans:
            yield f'{day} has what is no pair of times, like ["09:00", "18:00"]'
        elif _overlap([one for one in spans if one is not None]):
            yield f"{day} has times that overlap"


def _of_closed(value: object) -> Iterator[str]:
    if not isinstance(value, list) or len(value) > CLOSED_MAX:
        yield f"{CLOSED} is not a list of at most {CLOSED_MAX} dates"
    elif any(_date(one) is None for one in value):
        yield f"{CLOSED} has what is no date, like 2026-12-25"


@dataclass(frozen=True, slots=True)
class _Span:
    begins: int  # minutes after midnight
    ends: int  # of the same midnight: more than a day's when it ends on the next


def _span(pair: object) -> _Span | None:
    if not isinstance(pair, list) or len(pair) != 2:
        return None
    begin, end = pair
    if not isinstance(begin, str) or not isinstance(end, str):
        return None
    if not re.fullmatch(TIME, begin) or not re.fullmatch(END, end):
        return None
    begins, ends = _minutes(begin), _minutes(end)
    return _Span(begins, ends if ends > begins else ends + 24 * 60)


def _minutes(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])


def _overlap(spans: list[_Span]) -> bool:
    in_order = sorted(spans, key=lambda one: one.begins)
    return any(one.ends > after.begins for one, after in pairwise(in_order))


def _date(text: object) -> date | None:
    if not isinstance(text, str) or not re.fullmatch(DATE, text):
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Openness:
    open_now: bool
    until: datetime | None  # of the wall: when that changes; None: not in sight


def openness(hours: Mapping[str, Any] | None, local: datetime) -> Openness | None:
    """At a time of the business's own zone. None: nobody said when it is open."""
    if not hours or problems(hours):
        return None
    now = local.replace(tzinfo=None)
    closed = {_date(one) for one in hours.get(CLOSED, ())}
    opens: datetime | None = None
    until: datetime | None = None
    for n in range(-1, LOOKS_AHEAD):
        day = now.date() + n * _DAY
        midnight = datetime.combine(day, time())
        for begins, ends in _spans_of(hours, day, closed):
            begin, end = (midnight + timedelta(minutes=at) for at in (begins, ends))
            if until is None and begin <= now < end:
                until = end
            elif until is not None and begin <= until < end:
                until = end  # one that goes on where another ends
            elif until is None and begin > now:
                opens = begin if opens is None else min(opens, begin)
        if opens is not None or (until is not None and midnight > until):
            break
    if until is not None:
        return Openness(True, until if until - now < timedelta(days=LOOKS_AHEAD - 2) else None)
    return Openness(False, opens)


@dataclass(frozen=True, slots=True)
class Opening:
    """Of one moment."""

    open_now: bool
    note: str  # for a model, which is bad at it
    spelt: str  # for a customer of any language: until when, or when it opens
    hours: Mapping[str, Any]  # that it is of
    local: datetime

    def on(self, day: date) -> str:
        """What begins then, for a customer; empty: it is closed."""
        closed = {_date(one) for one in self.hours.get(CLOSED, ())}
        return _spelt(_spans_of(self.hours, day, closed))

    def week(self) -> Iterator[tuple[int, int, str]]:
        """Days that follow each other and have the same hours: the first, the last, the hours."""
        monday = date(2001, 1, 1)  # of no year in particular
        of_days = [_spelt(_spans_of(self.hours, monday + n * _DAY, set())) for n in range(7)]
        first = 0
        for day, spans in enumerate(of_days):
            if day == len(of_days) - 1 or of_days[day + 1] != spans:
                yield first, day, spans
                first = day + 1


def opening(hours: Mapping[str, Any] | None, local: datetime) -> Opening | None:
    found = openness(hours, local)
    if found is None or hours is None:
        return None
    days = {day: hours[day] for day in (*DAYS, CLOSED) if hours.get(day)}
    if CLOSED in days:
        ahead = sorted(day for day in days[CLOSED] if day >= f"{local:%Y-%m-%d}")
        days[CLOSED] = ahead[:CLOSED_SHOWN]
    until = f" {found.until:%A, %Y-%m-%d %H:%M}" if found.until else None
    if found.open_now:
        now = "open_now: true" + (f", until{until}" if until else "")
        spelt = f"{local:%H:%M}\u2013{found.until:%H:%M}" if found.until else "24/7"
    else:
        now = "open_now: false" + (f", opens{until}" if until else "")
        spelt = f"{found.until:%Y-%m-%d %H:%M}" if found.until else "\u2013"
    note = f"{now}. Opening hours: {json.dumps(days)}"
    return Opening(found.open_now, note, spelt, hours, local)


def _spelt(spans: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{_clock(begins)}\u2013{_clock(ends)}" for begins, ends in spans)


def _clock(minutes: int) -> str:
    """24:00 is a day's end; later ones are of the next day."""
    within = minutes if minutes <= 24 * 60 else minutes - 24 * 60
    return f"{within // 60:02}:{within % 60:02}"


def _spans_of(
    hours: Mapping[str, Any], day: date, closed: set[date | None]
) -> list[tuple[int, int]]:
    if day in closed:
        return []
    spans = [_span(pair) for pair in hours.get(DAYS[day.weekday()], ())]
    return sorted((one.begins, one.ends) for one in spans if one is not None)


def merged(has: Mapping[str, Any] | None, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """By day; null takes a day away. Of no day at all nothing is left."""
    after = {**(has or {}), **given}
    return {day: value for day, value in after.items() if value is not None} or None
