"""Fields of a suite, each read as what it has to be; what is not is a mistake with its line, and
reading goes on. Pure."""

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation

from handlers.evals.document import Listed, Mapped, Mistake, Node, Scalar, shown
from handlers.fixed.texts import MAX_TAG_CHARS, is_language
from handlers.rules.cutting import units
from handlers.rules.texts import storable

_AFTER = re.compile(r"([0-9]{1,5})\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?|w|weeks?)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_TRUE, _FALSE = ("true", "yes"), ("false", "no")
AFTER = "a time, like 30s, 20m, 3h, 2d or 1w"


@dataclass(slots=True)
class Reader:
    mistakes: list[Mistake] = field(default_factory=list)

    def wrong(self, line: int, text: str) -> None:
        self.mistakes.append(Mistake(line, text))

    def mapping(self, node: Node, where: str, known: Collection[str]) -> dict[str, Node]:
        """Those of its fields that are known."""
        if not isinstance(node, Mapped):
            self.wrong(node.line, f"{where} has to be a mapping of names and values")
            return {}
        for name in node.items.keys() - set(known):
            close = difflib.get_close_matches(name, known, n=1)
            did = f"; did you mean {close[0]}?" if close else f": there are {', '.join(known)}"
            self.wrong(node.lines[name], f"{where} has no field {shown(name)}{did}")
        return {name: node.items[name] for name in known if name in node.items}

    def listed(self, node: Node, where: str, most: int) -> list[Node]:
        if not isinstance(node, Listed):
            self.wrong(node.line, f"{where} has to be a list")
            return []
        if len(node.items) > most:
            self.wrong(node.line, f"{where} has {len(node.items)} entries, and {most} at most")
        return node.items[:most]

    def one_or_more(self, node: Node, where: str, most: int) -> list[Node]:
        """A list of one may be written without being one."""
        return self.listed(node, where, most) if isinstance(node, Listed) else [node]

    def text(self, node: Node, where: str, most: int, *, lines: bool = True) -> str | None:
        """As it is written: of a plain `8:00` or `no` too."""
        if not isinstance(node, Scalar):
            self.wrong(node.line, f"{where} has to be a text")
            return None
        if not node.text.strip() or (node.plain and node.text in ("null", "~", "Null", "NULL")):
            self.wrong(node.line, f"{where} is empty")
            return None
        if storable(node.text) != node.text:
            self.wrong(node.line, f"{where} has a character that no text has")
            return None
        if not lines and not node.text.isprintable():
            self.wrong(node.line, f"{where} has to be one line of plain text")
            return None
        if (size := units(node.text)) > most:
            self.wrong(node.line, f"{where} has {size:,} characters, and {most:,} at most")
            return None
        return node.text

    def texts(self, node: Node, where: str, most: int, longest: int) -> tuple[str, ...]:
        found = self._each(node, where, most)
        return tuple(t for at, one in found if (t := self.text(one, at, longest)) is not None)

    def language(self, node: Node, where: str) -> str | None:
        tag = self.text(node, where, MAX_TAG_CHARS, lines=False)
        if tag is None or is_language(tag):
            return tag
        self.wrong(node.line, f"{where} has to be a language tag, like es or pt-BR")
        return None

    def _each(self, node: Node, where: str, most: int) -> Iterator[tuple[str, Node]]:
        for place, one in enumerate(self.one_or_more(node, where, most)):
            yield (f"{where}[{place}]" if isinstance(node, Listed) else where), one

    def whole(self, node: Node, where: str, low: int, high: int) -> int | None:
        given = node.text if isinstance(node, Scalar) and node.plain else ""
        if re.fullmatch("[0-9]{1,9}", given) and low <= int(given) <= high:
            return int(given)
        self.wrong(node.line, f"{where} has to be a whole number from {low} to {high:,}")
        return None

    def truth(self, node: Node, where: str) -> bool | None:
        given = node.text.lower() if isinstance(node, Scalar) and node.plain else ""
        if given in (*_TRUE, *_FALSE):
            return given in _TRUE
        self.wrong(node.line, f"{where} has to be true or false")
        return None

    def amount(self, node: Node, where: str) -> Decimal | None:
        given = node.text if isinstance(node, Scalar) else ""
        try:
            if re.fullmatch(r"[0-9]{1,16}(\.[0-9]{1,2})?", given):
                return Decimal(given)
        except InvalidOperation:
            pass
        self.wrong(node.line, f"{where} has to be an amount, like 38.50")
        return None

    def duration(self, node: Node, where: str, most: timedelta) -> timedelta | None:
        given = node.text.strip().lower() if isinstance(node, Scalar) else ""
        if (match := _AFTER.fullmatch(given)) is not None:
            passed = timedelta(seconds=int(match[1]) * _SECONDS[match[2][0]])
            if timedelta(0) < passed <= most:
                return passed
        self.wrong(node.line, f"{where} has to be {AFTER}, {most.days} days at most")
        return None

    def one_of(self, node: Node, where: str, known: Collection[str]) -> str | None:
        given = node.text if isinstance(node, Scalar) else ""
        if given in known:
            return given
        self.wrong(node.line, f"{where} has to be one of {', '.join(known)}")
        return None
