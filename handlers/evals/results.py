"""What a case came to, and a run: as JSON for programs and rows. Pure, and bounded: it is kept, and
models wrote half of it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.evals.outcome import Failed, Judged, Outcome, Use
from handlers.evals.suite import Case, Turn
from handlers.rules.cutting import head
from handlers.rules.texts import storable

FINDINGS_MAX = 50  # of a case
SAID_UNITS = 500  # of what a customer wrote, in a result
WHY_UNITS = 500
ARGUMENTS_UNITS = 1_000  # of a tool's use, as JSON
USES_MAX = 20  # of a turn


@dataclass(frozen=True, slots=True)
class TurnRun:
    turn: Turn
    outcome: Outcome
    failed: Sequence[Failed]
    judged: Judged | None = None


@dataclass(frozen=True, slots=True)
class CaseRun:
    """Once."""

    turns: Sequence[TurnRun]

    @property
    def passed(self) -> bool:
        return not any(one.failed for one in self.turns)


@dataclass(frozen=True, slots=True)
class CaseResult:
    case: Case
    runs: Sequence[CaseRun]

    @property
    def passed(self) -> bool:
        """Once is not enough: a model is asked again, and says something else."""
        return all(run.passed for run in self.runs)

    @property
    def tokens(self) -> int:
        return sum(one.outcome.tokens for run in self.runs for one in run.turns)

    @property
    def ms(self) -> int:
        return sum(one.outcome.ms for run in self.runs for one in run.turns)


@dataclass(frozen=True, slots=True)
class Counted:
    """A case that is done, in a run's sum."""

    name: str
    passed: bool
    skipped: str | None = None  # a word: it was not run


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Of a whole suite."""

    cases: Sequence[Counted] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return bool(self.cases) and all(one.passed for one in self.cases)


def fell(now: Sequence[Counted], before: Mapping[str, bool]) -> list[str]:
    """Cases that passed before and do not now. One that was not run has not fallen."""
    return [
        one.name
        for one in now
        if not one.passed and one.skipped is None and before.get(one.name, False)
    ]


def case_json(result: CaseResult) -> dict[str, Any]:
    """As it is kept and shown, beside its name and whether it passed."""
    first_bad = next((run for run in result.runs if not run.passed), result.runs[0])
    findings = [
        {
            "run": number,
            "turn": place,
            "line": one.turn.expect.line or one.turn.line,
            "check": failed.check,
            "why": head(failed.why, WHY_UNITS),
        }
        for number, run in enumerate(result.runs, start=1)
        for place, one in enumerate(run.turns, start=1)
        for failed in one.failed
    ]
    judged = [
        {
            "run": number,
            "turn": place,
            "judge": one.turn.expect.judge,
            "held": one.judged.held,
            "why": head(one.judged.why, WHY_UNITS),
        }
        for number, run in enumerate(result.runs, start=1)
        for place, one in enumerate(run.turns, start=1)
        if one.judged is not None
    ]
    shown: dict[str, Any] = plain(
        {
            "runs": len(result.runs),
            "passed_runs": sum(run.passed for run in result.runs),
            "tokens": result.tokens,
            "ms": result.ms,
            "findings": findings[:FINDINGS_MAX],
            "judged": judged[:FINDINGS_MAX],
            "turns": [_turn(one) for one in first_bad.turns],
        }
    )
    return shown


def _turn(one: TurnRun) -> dict[str, Any]:
    after = one.turn.after
    return {
        "say": [head(text, SAID_UNITS) for text in one.turn.say],
        "after_s": None if after is None else round(after.total_seconds()),
        **outcome_json(one.outcome),
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "answer": outcome.text,
        "how": outcome.how,
        "reason": outcome.reason,
        "model": outcome.model,
        "cited": [head(text, SAID_UNITS) for text in outcome.cited[:USES_MAX]],
        "tools": uses_json(outcome.tools),
        "actions": list(outcome.actions),
        "orders": list(outcome.orders),
        "handed_over": outcome.handed_over,
        "tokens": outcome.tokens,
        "ms": outcome.ms,
    }


def uses_json(uses: Sequence[Use]) -> list[dict[str, Any]]:
    return [
        {"name": head(use.name, SAID_UNITS), "arguments": _arguments(use.arguments)}
        | ({"refused": True} if use.refused else {})
        for use in uses[:USES_MAX]
    ]


def _arguments(given: Mapping[str, Any]) -> Any:
    text = json.dumps(given, ensure_ascii=False, default=str)
    return dict(given) if len(text) <= ARGUMENTS_UNITS else head(text, ARGUMENTS_UNITS)


def plain(value: Any) -> Any:
    """What any reader of JSON takes, and PostgreSQL: a model writes arguments as it likes."""
    match value:
        case str():
            return storable(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {storable(str(key)): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
        case _:
            return value
