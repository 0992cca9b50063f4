"""What came of one turn of a case, as checks look at it. Pure values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

How: TypeAlias = Literal["said", "told", "apologised", "silent"]


@dataclass(frozen=True, slots=True)
class Use:
    """Of a tool."""

    name: str
    arguments: Mapping[str, Any]
    refused: bool = False  # nothing came of it: there is no such tool, or its arguments were wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`said`: by the agent, or as it would have been in fixed words; `told`: by code, without a
    model; `apologised`: there was no answer, and a person takes over."""

    how: How
    text: str = ""  # all that the customer reads
    reason: str | None = None  # a word, why code spoke or the bot is silent
    failure: str | None = None  # a word: the model gave no answer
    model: str | None = None
    cited: Sequence[str] = ()  # questions of the rows
    tools: Sequence[Use] = ()
    actions: Sequence[Mapping[str, Any]] = ()  # requested: type, details, amount, currency
    orders: Sequence[Mapping[str, Any]] = ()  # made: items
    handed_over: str | None = None  # to a person, and why
    tokens: int = 0  # input and output
    ms: int = 0
    sources: Mapping[str, Sequence[str]] = field(default_factory=dict)  # of amounts, by kind


@dataclass(frozen=True, slots=True)
class Failed:
    """A check that did not hold."""

    check: str
    why: str


@dataclass(frozen=True, slots=True)
class Judged:
    """By a model; `held` is None where there was none to ask."""

    held: bool | None
    why: str
