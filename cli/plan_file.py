"""plan.json as it is read: what is wrong with its JSON, and with the plan, is told at once."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from handlers.plans import validate
from handlers.rules.texts import storable

PLAN_MAX_BYTES = 64 * 1024  # it is read with each message, claim and call


def read_plan_file(file: Path) -> tuple[dict[str, Any] | None, list[str]]:
    """The plan, and all that keeps it from being written."""
    try:
        with file.open("rb") as opened:
            data = opened.read(PLAN_MAX_BYTES + 1)
    except OSError as error:
        return None, [f"cannot read {file}: {error.strerror}"]
    if len(data) > PLAN_MAX_BYTES:
        return None, [f"{file} has more than {PLAN_MAX_BYTES:,} bytes"]
    found: list[str] = []
    try:
        plan = _parsed(data.decode("utf-8-sig"), found)
        problems = [*found, *validate(plan), *_unstorable(plan, "")]
    except (ValueError, RecursionError) as error:
        return None, [f"{file} is not JSON: {error}"]
    return plan, [f"{file}: " + "; ".join(problems)] if problems else []


def _parsed(text: str, found: list[str]) -> Any:
    """What json.loads takes and JSON, or the database, does not have goes into `found`."""

    def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        # Of two values one would act, and nobody said which.
        found.extend(
            f"{name} stands twice" for name in dict.fromkeys(names) if names.count(name) > 1
        )
        return dict(pairs)

    def no_constant(word: str) -> None:
        found.append(f"{word} is no JSON")

    def finite(digits: str) -> float:
        if not math.isfinite(number := float(digits)):
            found.append(f"{digits[:50]} is too big a number")
        return number

    return json.loads(
        text, object_pairs_hook=named_once, parse_constant=no_constant, parse_float=finite
    )


def _unstorable(value: object, path: str) -> Iterator[str]:
    """Texts that no column takes, which would be told without their place."""
    if isinstance(value, str) and storable(value) != value:
        yield f"{path} has a character that cannot be stored (NUL, or half of one)"
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _unstorable(inner, f"{path}.{at}")
    elif isinstance(value, dict):
        for name, inner in value.items():
            inner_path = f"{path}.{storable(name)}" if path else storable(name)
            if storable(name) != name:
                yield f"{inner_path} has a character in its name that cannot be stored"
            yield from _unstorable(inner, inner_path)
