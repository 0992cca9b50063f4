"""A suite's YAML as nodes that know their lines. Pure, and bounded: a tenant wrote it.

No tag, anchor or alias means anything here, so none is taken: nothing is expanded and nothing made
but texts, lists and mappings. What a plain scalar is (a number, a truth) is for who reads the
field: `no` is a language and `8:00` a time where a text is wanted.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

BYTES_MAX = 256 * 1024
NODES_MAX = 20_000
DEPTH_MAX = 12
MISTAKES_MAX = 50  # that are told; all are counted

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    line: int  # the first is 1
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class Invalid(Exception):
    """All that is wrong with a suite."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self.total = len(mistakes)
        self.mistakes = sorted(mistakes)[:MISTAKES_MAX]
        super().__init__("; ".join(map(str, self.mistakes)))

    @property
    def lines(self) -> list[str]:
        """For people, one a mistake."""
        left_out = self.total - len(self.mistakes)
        more = [f"and {left_out} more"] if left_out else []
        return [*map(str, self.mistakes), *more]


@dataclass(frozen=True, slots=True)
class Scalar:
    line: int
    text: str
    plain: bool  # without quotes


@dataclass(frozen=True, slots=True)
class Listed:
    line: int
    items: "list[Node]"


@dataclass(frozen=True, slots=True)
class Mapped:
    line: int
    items: "dict[str, Node]"
    lines: dict[str, int] = field(default_factory=dict)  # of the keys


Node: TypeAlias = Scalar | Listed | Mapped


def document(text: str, mistakes: list[Mistake]) -> Node | None:
    """None: there is none, and a mistake says why. Duplicate keys are mistakes; the first stays."""
    if len(text.encode("utf-8", "surrogatepass")) > BYTES_MAX:
        mistakes.append(Mistake(1, f"the suite has more than {BYTES_MAX // 1024} KiB: divide it"))
        return None
    try:
        events = list(_bounded(yaml.parse(text, Loader=_Loader), mistakes))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        told = " ".join(filter(None, (error.context, error.problem)))
        mistakes.append(Mistake(mark.line + 1 if mark else 1, f"this is no YAML: {told}"))
        return None
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        mistakes.append(Mistake(1, f"this is no YAML: {_first_line(error)}"))
        return None
    if mistakes:
        return None
    starts = [e for e in events if isinstance(e, yaml.DocumentStartEvent)]
    if len(starts) != 1:
        two = Mistake(_line(starts[-1]), "a suite is one document") if starts else None
        mistakes.append(two or Mistake(1, "the suite is empty"))
        return None
    nodes = iter([event for event in events if isinstance(event, yaml.NodeEvent | _ENDS)])
    return _node(next(nodes), nodes, mistakes)


_ENDS = yaml.SequenceEndEvent | yaml.MappingEndEvent


def _bounded(events: Any, mistakes: list[Mistake]) -> Iterator[Any]:
    """Up to the first that no suite has. The parser makes one at a time."""
    depth = 0
    for count, event in enumerate(events):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        why = None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            why = "anchors and aliases (& and *) are not taken: put such a text in quotes"
        elif str(getattr(event, "tag", None) or "!") not in ("!", ""):
            why = "tags (!) are not taken: put such a text in quotes"
        elif depth > DEPTH_MAX:
            why = f"more than {DEPTH_MAX} levels"
        elif count > NODES_MAX:
            why = f"more than {NODES_MAX:,} parts: divide the suite"
        if why is not None:
            mistakes.append(Mistake(_line(event), why))
            return
        yield event


def _node(event: Any, rest: Iterator[Any], mistakes: list[Mistake]) -> Node:
    line = _line(event)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Node] = []
        while not isinstance(begun := next(rest), yaml.SequenceEndEvent):
            items.append(_node(begun, rest, mistakes))
        return Listed(line, items)
    if isinstance(event, yaml.MappingStartEvent):
        mapped = Mapped(line, {})
        while not isinstance(begun := next(rest), yaml.MappingEndEvent):
            key = _node(begun, rest, mistakes)
            value = _node(next(rest), rest, mistakes)
            if not isinstance(key, Scalar):
                mistakes.append(Mistake(key.line, "a name is a text, no list and no mapping"))
            elif key.text in mapped.items:
                before = mapped.lines[key.text]
                mistakes.append(
                    Mistake(key.line, f"{shown(key.text)} stands here twice: also in line {before}")
                )
            else:
                mapped.items[key.text] = value
                mapped.lines[key.text] = key.line
        return mapped
    return Scalar(line, event.value, plain=event.style in (None, ""))


def shown(text: str) -> str:
    """What somebody wrote, in a message."""
    return repr(text if len(text) <= 60 else f"{text[:60]}\u2026")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:200]
