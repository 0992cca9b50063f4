"""A file of any length as rows, a window at a time. Pure.

A row is read only where the window shows enough behind it, so that what a spreadsheet's cells mean
is decided as it would be with all of the file in sight.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handlers.bulk.spreadsheet import Columns, Reader, Shape, Unreadable, row_of

ROW_CHARS = 100_000  # of a line or a record; more is rejected
AHEAD_CHARS = 128 * 1024  # that have to be seen behind where a row begins
WINDOW_CHARS = 4 * AHEAD_CHARS
_UNSURE_CHARS = 20_000  # what is read up to here may look another way with more in sight
TOO_LONG = f"longer than {ROW_CHARS:,} characters"


@dataclass(frozen=True, slots=True)
class Form:
    """How a file is to be read."""

    columns: Columns
    delimiter: str | None  # None: JSONL
    names: Sequence[str]  # of its columns


@dataclass(frozen=True, slots=True)
class Read:
    rows: list[tuple[int, Any]]  # each with its line, the first of the text is 1; or Unreadable
    end: int  # where the next begins
    line: int  # and which line that is
    is_last: bool = False  # nothing behind it can be read


def read_some(text: str, form: Form, most: int, *, is_all: bool) -> Read:
    """The first `most` rows of a text. Unless it `is_all` of what there is, only those that are
    certain."""
    if form.delimiter is None:
        return _json_lines(text, most, is_all=is_all)
    reader, shape = Reader(text, form.delimiter), Shape(list(form.names), form.columns)
    rows: list[tuple[int, Any]] = []
    end, sure = 0, len(text) if is_all else len(text) - AHEAD_CHARS
    for record in reader.read(0, shape):
        if len(rows) >= most or record.end == end or (not is_all and end > sure):
            break
        if not is_all and record.end > len(text) - _UNSURE_CHARS:
            why = f"{TOO_LONG}, or a quote that is never closed; all that follows is left out"
            rows.append((record.line, Unreadable(why)))
            return Read(rows, len(text), reader.line_of(len(text)), is_last=True)
        if record.end - end > ROW_CHARS and record.broken is None:
            found: Any = Unreadable(TOO_LONG)
        else:
            found = row_of(record, shape)
        if found is not None:
            rows.append((record.line, found))
        end = record.end
    return Read(rows, end, reader.line_of(end))


def _json_lines(text: str, most: int, *, is_all: bool) -> Read:
    rows: list[tuple[int, Any]] = []
    at, line = 0, 1
    while at < len(text) and len(rows) < most:
        end = text.find("\n", at)
        if end < 0 and not is_all:
            if len(text) - at <= ROW_CHARS:
                break
            rows.append((line, Unreadable(f"{TOO_LONG}; all that follows is left out")))
            return Read(rows, len(text), line, is_last=True)
        said = text[at:] if end < 0 else text[at:end]
        if said.strip():
            rows.append((line, _json_value(said)))
        at = len(text) if end < 0 else end + 1
        line += end >= 0
    return Read(rows, at, line)


def _json_value(said: str) -> Any:
    if len(said) > ROW_CHARS:
        return Unreadable(TOO_LONG)
    try:
        return json.loads(said, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return Unreadable(f"not JSON: {error}"[:200])


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two values of one name, some parsers take the first and some the last."""
    given = dict(pairs)
    if len(given) < len(pairs):
        raise ValueError("a name is given more than once")
    return given


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
