"""What a chatbot was told: the only source of what its answers may name. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property

from handlers.checks.contacts import Named, Way
from handlers.rules.amounts import Amount, Numbers
from handlers.rules.orders import numbers_in
from handlers.rules.prices import PERCENT, percents_in, worded_in
from handlers.rules.sums import Operand, Sum

COUNTED_MAX = 100  # so many of a thing are counted though nobody named the number
_HUNDRED = Decimal(100)
_PARTS = (Decimal(1), _HUNDRED)  # of a percentage


@dataclass(frozen=True)
class Told:
    texts: Sequence[str] = ()  # rows, instructions, tools' results, the conversation
    effects: frozenset[str] = frozenset()  # that a row says were done
    by_customer: Sequence[str] = ()  # may be repeated, and lowers no price
    orders: Mapping[str, frozenset[str]] = field(default_factory=dict)  # by number: what they had

    def backs(self, effect: str, sentence: str) -> bool:
        """What became of an order is said of that order alone, by its number: a claim without one
        may be heard as of another, which nobody made."""
        numbers = numbers_in(sentence)
        return effect in self.effects or (
            bool(numbers) and all(effect in self.orders.get(one, ()) for one in numbers)
        )

    def leads(self, way: Way) -> bool:
        return self._named.have(way)

    def names(self, amount: Amount) -> bool:
        if amount.codes == PERCENT:
            return any(amount.may_equal(one) for one in self._percents)
        return (
            self._own.have(amount)
            or self._customers.have(amount)
            or any(amount.may_equal(one) for one in self._worded)
        )

    def adds_up(self, total: Sum) -> bool:
        """Whether it is an amount, and all that it is made of was told, a price among it: else
        anything could be made of nothing. What lowers it the business has said."""
        if total.value <= 0:
            return False
        is_part = any(one.divides or one.is_rate for one in total.operands)
        free = Decimal(0) if is_part else COUNTED_MAX  # so many parts are any amount
        counted = [one for one in total.operands if one.multiplies]
        others = [one for one in total.operands if not one.multiplies]
        prices = [one for one in others if self._is_price(one.value)]
        return (
            any(not one.divides and not one.is_rate for one in prices)
            and all(one.value in _PARTS or self._has(one.value) for one in others)
            and all(one.value <= free or self._has(one.value) for one in counted)
            and all(self._says(one.value) for one in others if one.is_taken)
            and (not is_part or self._is_told_part(total, prices))
        )

    def _is_told_part(self, total: Sum, prices: Sequence[Operand]) -> bool:
        """Of money, by what was told as a number and is no price: by a price it is no money any
        more, and a hundredth of a price is nobody's."""
        by = [one for one in total.operands if one.divides or one.is_rate]
        rates = [one for one in total.operands if one not in prices and self._says(one.value)]
        return all(one.value == _HUNDRED or one in rates for one in by) and bool(rates)

    def _is_price(self, value: Decimal) -> bool:
        return self._own.have_price(value) or self._customers.have_price(value)

    def _says(self, value: Decimal) -> bool:
        """The business."""
        return self._own.have(Amount(0, 0, frozenset([value]), frozenset()))

    def _has(self, value: Decimal) -> bool:
        return self.names(Amount(0, 0, frozenset([value]), frozenset()))

    @cached_property
    def _named(self) -> Named:
        return Named((*self.texts, *self.by_customer))

    @cached_property
    def _percents(self) -> list[Amount]:
        return [one for text in (*self.texts, *self.by_customer) for one in percents_in(text)]

    @cached_property
    def _worded(self) -> list[Amount]:
        return [one for text in (*self.texts, *self.by_customer) for one in worded_in(text)]

    @cached_property
    def _own(self) -> Numbers:
        return Numbers(self.texts)

    @cached_property
    def _customers(self) -> Numbers:
        return Numbers(self.by_customer)
