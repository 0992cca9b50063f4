"""A suite: what a tenant's bot is asked, and what its answers have to be. Pure values;
docs/evals.md says what each means, reading.py makes them of YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, TypeAlias

from handlers.evals.patterns import Pattern

CASES_MAX = 200
TURNS_MAX = 30  # of a case
REPEAT_MAX = 10
ANSWERS_MAX = 3_000  # that a run asks for in all: turns, times how often
NAME_CHARS = 200
TEXTS_MAX = 20  # of one check, of one burst
CHECK_UNITS = 500  # of a text in a check
FACTS_MAX = 20
HISTORY_MAX = 40
AFTER_MAX = timedelta(days=366)

Source: TypeAlias = Literal["kb", "instructions", "catalogue", "customer", "tools"]
SOURCES: Final = ("kb", "instructions", "catalogue", "customer", "tools")
Who: TypeAlias = Literal["customer", "bot", "colleague"]
WHO: Final = ("customer", "bot", "colleague")


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """Of a tool: with these arguments among others."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Of a person: an action."""

    type: str
    details: str | None = None  # stands in them
    amount: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """An order: these items, by SKU and quantity."""

    items: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expect:
    """Of one turn. None, or nothing in a list: that is not looked at."""

    line: int = 0
    contains_all: tuple[str, ...] = ()
    contains_any: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    regex: tuple[Pattern, ...] = ()
    language: str | None = None
    cites: tuple[str, ...] | None = None  # questions of rows; (): it cites none
    tool: tuple[Called, ...] = ()
    no_tool: tuple[str, ...] = ()
    actions: tuple[Asked, ...] | None = None  # all that were requested in the turn
    orders: tuple[Ordered, ...] | None = None
    silent: bool | None = None
    handed_over: bool | None = None
    max_tokens: int | None = None
    max_ms: int | None = None
    amounts_from: tuple[Source, ...] | None = None
    judge: str | None = None  # told apart: no case passes or fails by it

    @property
    def checks(self) -> bool:
        """Whether anything decides."""
        given = (self.cites, self.actions, self.orders, self.silent, self.handed_over)
        some = (self.contains_all, self.contains_any, self.not_contains, self.regex, self.tool)
        return (
            any(one is not None for one in (*given, self.max_tokens, self.max_ms))
            or any((*some, self.no_tool, self.language))
            or self.amounts_from is not None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What the customer writes, as one burst; or only time that passes."""

    line: int = 0
    say: tuple[str, ...] = ()
    after: timedelta | None = None  # since the last; None: a minute
    expect: Expect = field(default_factory=Expect)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """Before the case begins."""

    who: Who
    text: str
    ago: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    name: str | None = None  # that the customer gives themselves
    language: str | None = None
    facts: tuple[tuple[str, str], ...] = ()  # about what, and what
    history: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    line: int = 0
    setup: Setup = field(default_factory=Setup)
    turns: tuple[Turn, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    name: str  # by which its runs are compared
    repeat: int
    now: datetime | None  # on the wall of the tenant; None: as it is
    cases: tuple[Case, ...]

    def answers(self, repeat: int) -> int:
        """How many a run asks for."""
        return repeat * sum(len(case.turns) for case in self.cases)
