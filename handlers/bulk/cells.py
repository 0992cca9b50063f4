"""Values in cells of CSV, there and back. Pure."""

import csv
import io
import json
import re
from collections.abc import Sequence
from typing import Any

# A spreadsheet takes a cell that begins so for a formula; a number with its sign it does not. With
# one apostrophe more it is a text, and whoever reads it back takes one away.
_FORMULA = re.compile(r"'*(?:[=@\t\r]|[+-](?![0-9][0-9 ().-]*$))")


def guarded(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def cell(value: Any) -> str:
    if value is None:
        return ""
    return guarded(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def csv_lines(rows: Sequence[Sequence[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([[cell(value) for value in row] for row in rows])
    return text.getvalue().encode()


def json_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
