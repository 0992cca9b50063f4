"""Sums as a tool does them: a few operators over decimals, and nothing else. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Context, Decimal, DecimalException, localcontext

from handlers.rules.amounts import readings
from handlers.rules.seen import plain

MAX_CHARS = 200
MAX_DEPTH = 20
MAX_DIGITS = 18  # of a result before the point
_CONTEXT = Context(prec=40)
_TOKEN = re.compile(r"\s*(?:(\d[\d.,]*)|([-+*/()%]))")
_SIGNS = str.maketrans({"\u00d7": "*", "\u00b7": "*", "\u00f7": "/", "\u2212": "-", ":": "/"})


class NoSum(ValueError):
    """What is wrong with it."""


@dataclass(frozen=True, slots=True)
class Operand:
    value: Decimal
    multiplies: bool = False  # it only counts how often
    divides: bool = False
    is_rate: bool = False  # so many hundredths
    is_taken: bool = False  # from what stands before it


@dataclass(frozen=True, slots=True)
class Sum:
    value: Decimal
    operands: tuple[Operand, ...]

    @property
    def text(self) -> str:
        """With six decimals at most, and none that say nothing."""
        text = f"{self.value.quantize(Decimal('0.000001'), context=_CONTEXT):f}"
        return text.rstrip("0").rstrip(".") or "0"

    @property
    def cents(self) -> str:
        return f"{self.value.quantize(Decimal('0.01'), context=_CONTEXT):f}"


def calculated(expression: str) -> Sum:
    """Of numbers, + - * / ( ) and % (a hundredth). Raises NoSum."""
    if len(expression) > MAX_CHARS:
        raise NoSum(f"it is longer than {MAX_CHARS} characters")
    parser = _Parser(list(_tokens(plain(expression).translate(_SIGNS))))
    try:
        with localcontext(_CONTEXT):
            value = parser.sum(0)
    except DecimalException:
        raise NoSum("it divides by zero, or is too big") from None
    if parser.rest:
        raise NoSum("it does not end where it should")
    if value and value.adjusted() >= MAX_DIGITS:
        raise NoSum("the result is too big")
    return Sum(value, tuple(parser.operands))


def _tokens(text: str) -> Iterator[str]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NoSum("only numbers, + - * / ( ) and % can be calculated")
        yield match[1] or match[2]
        at = match.end()


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens
        self.operands: list[Operand] = []

    def _next(self, among: str) -> str | None:
        if self.rest and self.rest[0] in among:
            return self.rest.pop(0)
        return None

    def sum(self, depth: int) -> Decimal:
        value = self._product(depth)
        while (sign := self._next("+-")) is not None:
            first = len(self.operands)
            other = self._product(depth)
            value = value + other if sign == "+" else value - other
            if sign == "-":
                self.operands[first:] = [
                    replace(one, is_taken=True) for one in self.operands[first:]
                ]
        return value

    def _product(self, depth: int) -> Decimal:
        factors = [len(self.operands)]
        value = self._factor(depth)
        while (sign := self._next("*/")) is not None:
            if sign == "*":
                factors.append(len(self.operands))
                value *= self._factor(depth)
            else:
                first = len(self.operands)
                value /= self._factor(depth)
                for n in range(first, len(self.operands)):
                    self.operands[n] = replace(self.operands[n], divides=True)
        if len(factors) > 1:
            self._count(factors)
        return value

    def _count(self, factors: list[int]) -> None:
        """Whole numbers that something else is multiplied by."""
        ends = [*factors[1:], len(self.operands)]
        single = [n for n, end in zip(factors, ends, strict=True) if end == n + 1]
        single = [n for n in single if not self.operands[n].is_rate]
        whole = [n for n in single if self.operands[n].value % 1 == 0]
        if len(whole) == len(factors):  # one of them is what is counted
            whole.remove(max(whole, key=lambda n: self.operands[n].value))
        for n in whole:
            self.operands[n] = replace(self.operands[n], multiplies=True)

    def _factor(self, depth: int) -> Decimal:
        if depth > MAX_DEPTH:
            raise NoSum("too many brackets")
        if (sign := self._next("+-")) is not None:
            value = self._factor(depth + 1)
            return -value if sign == "-" else value
        if self._next("("):
            value = self.sum(depth + 1)
            if not self._next(")"):
                raise NoSum("a bracket is not closed")
        else:
            value = self._number()
        while self._next("%"):
            self.operands[-1] = replace(self.operands[-1], is_rate=True)
            value /= 100
        return value

    def _number(self) -> Decimal:
        if not self.rest or not self.rest[0][0].isdigit():
            raise NoSum("a number is missing")
        text = self.rest.pop(0)
        if text.count(".") == 1 and "," not in text:  # as models write them
            value = Decimal(text)
        else:
            found = readings(text)
            if len(found) != 1:
                raise NoSum(f"{text} is no number: write it like 1234.50")
            (value,) = found
        self.operands.append(Operand(value))
        return value
