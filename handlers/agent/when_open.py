"""Whether a customer asks nothing but when the business is open, and of which days. Pure;
when_open.toml has the words."""

import tomllib
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from enum import Enum
from functools import cache
from pathlib import Path
from typing import TypeAlias

from handlers.agent.phrases import Phrases, divided
from handlers.fixed.texts import Kind
from handlers.fixed.voice import Voice
from handlers.rules.hours import DAYS, Opening

TODAY, TOMORROW, WEEKEND = "today", "tomorrow", "weekend"
CLOSED = "\u2013"  # of a day, in a list
_OPEN, _SHUT, _WHEN, _AROUND, _NOW = "open", "shut", "when", "around", "now"


class Moment(Enum):
    NOW = "now"
    ANY = "any"  # in general


Days: TypeAlias = frozenset[str]  # as when_open.toml calls them
Asked: TypeAlias = Moment | Days


def asked_open(text: str, former: str | None = None) -> Asked | None:
    """None: something else is asked. A day alone is asked of what was asked before."""
    for language in _known().values():
        kinds = language.read(text)
        if kinds is None:
            continue
        days = frozenset(kinds - {_OPEN, _SHUT, _WHEN, _AROUND, _NOW})
        if kinds & {_OPEN, _SHUT}:
            return days or _moment(kinds)
        if days and former is not None and asked_open(former) is not None:
            return days
    return None


def _moment(kinds: set[str]) -> Asked:
    """Of no day. "Are you closed?" is told of today: "yes" and "no" would say the opposite."""
    if _WHEN in kinds:
        return Moment.ANY
    return Moment.NOW if _OPEN in kinds else frozenset([TODAY])


def told_of_now(opening: Opening, voice: Voice) -> str:
    kind = Kind.OPEN_NOW if opening.open_now else Kind.CLOSED_NOW
    return voice.says(kind, hours=opening.spelt)


def told_of_days(days: Days, opening: Opening, voice: Voice) -> str:
    """Each with its date: hours that are closed for once are told, too."""
    names = _names(voice.languages)
    return "\n".join(_told_of(day, names, opening, voice) for day in _dates(days, opening.local))


def told_of_week(opening: Opening, voice: Voice) -> str:
    names = _names(voice.languages)
    lines = []
    for first, last, spans in opening.week():
        to = "" if first == last else f"\u2013{names[last]}"
        lines.append(f"{names[first]}{to}: {spans or CLOSED}")
    return voice.says(Kind.OPENING_HOURS, hours="\n".join(lines))


def _told_of(day: date, names: Sequence[str], opening: Opening, voice: Voice) -> str:
    spelt_day, spans = f"{names[day.weekday()]} {day}", opening.on(day)
    if not spans:
        return voice.says(Kind.CLOSED_ON, day=spelt_day)
    return voice.says(Kind.OPEN_ON, day=spelt_day, hours=spans)


def _dates(days: Days, local: datetime) -> list[date]:
    """The next ones, today counted."""
    today = local.date()
    wanted = {today} if TODAY in days else set()
    if TOMORROW in days:
        wanted.add(today + timedelta(days=1))
    named = {DAYS.index(day) for day in days if day in DAYS}
    named |= {5, 6} if WEEKEND in days else set()
    wanted |= {today + timedelta(days=(day - today.weekday()) % 7) for day in named}
    return sorted(wanted)


def _names(languages: Sequence[str]) -> tuple[str, ...]:
    """From Monday on."""
    known = _day_names()
    tags = (tag.split("-")[0].casefold() for tag in (*languages, "en"))
    return next(known[tag] for tag in tags if tag in known)


@cache
def _told() -> dict[str, dict[str, str]]:
    told = Path(__file__).parent / "when_open.toml"
    return tomllib.loads(told.read_text(encoding="utf-8"))


@cache
def _known() -> dict[str, Phrases]:
    return {language: Phrases(kinds) for language, kinds in _told().items()}


@cache
def _day_names() -> dict[str, tuple[str, ...]]:
    return {tag: tuple(next(divided(of[day])) for day in DAYS) for tag, of in _told().items()}
