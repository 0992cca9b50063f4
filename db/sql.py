"""Named SQL: `-- name: x` in a .sql file becomes `queries["x"]`."""

import re
from pathlib import Path

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


def load(module_file: str) -> dict[str, str]:
    """The queries of the .sql file beside a module."""
    parts = _NAME.split(Path(module_file).with_suffix(".sql").read_text())
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
