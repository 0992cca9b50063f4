"""A defence of the product: what is taken out, and which tests have to notice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """`old` stands in the file exactly once, or the defence has moved."""

    file: str
    old: str
    new: str = ""


@dataclass(frozen=True, slots=True)
class Defence:
    name: str
    removed: str  # in words, for the table
    changes: tuple[Change, ...]
    tests: tuple[str, ...]  # pytest's node ids
