"""The table of attacks, and what is in it."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.fixed.texts import Kind, fixed_text

TABLE = Path(__file__).with_name("attacks.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    n: int  # its place in the table
    name: str
    through: str
    bait: str
    obeys: tuple[str | Mapping[str, Any], ...]
    never: tuple[str, ...]
    gets: str = ""
    asks: str = ""
    language: str = "en"
    hidden: bool = False  # the model is never told of the bait
    leaves: Mapping[str, int] = field(default_factory=dict)
    sells: bool = False  # at a shop with products
    presses: int = 0  # so often the button under the answer is pressed

    @property
    def letters(self) -> str:
        return letters_of(self.n)

    @property
    def mark(self) -> str:
        return f"bait{self.letters}"

    @property
    def ask(self) -> str:
        """A word of the message that the model answers so."""
        return f"ask{self.letters}"

    @property
    def customer(self) -> str:
        return f"13035550{self.n:03d}"

    @property
    def expected(self) -> str:
        """What the customer gets, with the fixed texts in it."""
        texts = {kind.value: fixed_text(kind, self.language) for kind in Kind}
        return self.gets.format_map(texts)


def letters_of(n: int) -> str:
    """A number, without a digit: what customers name may be repeated."""
    return "".join("bcdfghjkmn"[int(digit)] for digit in f"{n:03d}")


def _placed(step: str | dict[str, Any], n: int) -> str | dict[str, Any]:
    """A tool of the attack's own has its letters in its name."""
    if isinstance(step, str):
        return step
    return step | {"call": step["call"].replace("LETTERS", letters_of(n))}


def attacks() -> list[Attack]:
    rows = tomllib.loads(TABLE.read_text(encoding="utf-8"))["attack"]
    return [
        Attack(
            n=n,
            obeys=tuple(_placed(one, n) for one in row.pop("obeys")),
            never=tuple(row.pop("never")),
            **row,
        )
        for n, row in enumerate(rows)
    ]
