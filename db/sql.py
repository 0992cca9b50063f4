"""Named SQL: `-- name: x` in a .sql file becomes `queries["x"]`; rows go in as values of ours."""

import re
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(module_file: str) -> dict[str, str]:
    """The queries of the .sql file beside a module."""
    parts = _NAME.split(Path(module_file).with_suffix(".sql").read_text())
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def columns(kind: type, rows: Sequence[Any]) -> list[Sequence[Any]]:
    """Of rows of one dataclass, a list a field, in their order: what a query's `unnest` takes."""
    if not rows:
        return [() for _ in fields(kind)]
    return list(zip(*map(attrgetter(*_names(kind)), rows), strict=True))


def values(row: Any) -> tuple[Any, ...]:
    """A dataclass's fields, in their order, as parameters."""
    found: tuple[Any, ...] = attrgetter(*_names(type(row)))(row)
    return found


def _names(kind: type) -> list[str]:
    names = [field.name for field in fields(kind)]
    assert len(names) > 1, "attrgetter gives no tuple for a single name"
    return names
