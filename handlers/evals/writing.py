"""YAML that reading.py reads back as it was, whatever the texts are. Pure.

Every text of somebody's stands in double quotes, which take all characters; what cannot be seen, or
turns the direction of what is read, is written by its number.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

INDENT = "  "
_JOINER = "\u200d"  # within emoji


def quoted(text: str) -> str:
    return "".join(_char(char) for char in json.dumps(text, ensure_ascii=False))


def remark(text: str) -> str:
    """A comment, which nothing in it can end."""
    return "# " + "".join(char if char.isprintable() else " " for char in text)


def mapping(items: Mapping[str, Any], level: int) -> list[str]:
    """Lines. Names are ours."""
    lines: list[str] = []
    for name, value in items.items():
        lines += _field(name, value, level)
    return lines


def item(lines: Sequence[str], level: int) -> list[str]:
    """A mapping's lines, one deeper, as an entry of a list."""
    begun = f"{INDENT * level}- {lines[0].lstrip()}"
    return [begun, *lines[1:]]


def flow(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return quoted(value)
        case Mapping():
            return "{" + ", ".join(f"{name}: {flow(one)}" for name, one in value.items()) + "}"
        case _:
            return "[" + ", ".join(map(flow, value)) + "]"


def _field(name: str, value: Any, level: int) -> list[str]:
    margin = INDENT * level
    if isinstance(value, Mapping) and value:
        return [f"{margin}{name}:", *mapping(value, level + 1)]
    if isinstance(value, list) and value and not any(isinstance(one, Mapping) for one in value):
        return [f"{margin}{name}:", *(f"{margin}{INDENT}- {flow(one)}" for one in value)]
    return [f"{margin}{name}: {flow(value)}"]


def _char(char: str) -> str:
    if char.isprintable() or char == _JOINER:
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
