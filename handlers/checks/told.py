"""What a chatbot was told: the only source of what its answers may name. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from handlers.checks.contacts import Way, is_in
from handlers.rules.amounts import Amount, is_price_in, stands_in
from handlers.rules.prices import PERCENT, percents_in
from handlers.rules.sums import Sum

COUNTED_MAX = 100  # so many of a thing are counted though nobody named the number
_PARTS = (Decimal(1), Decimal(100))  # of a percentage


@dataclass(frozen=True, slots=True)
class Told:
    texts: Sequence[str] = ()  # rows, instructions, tools' results, the conversation
    effects: frozenset[str] = frozenset()  # that a row says were done

    def leads(self, way: Way) -> bool:
        return any(is_in(way, text) for text in self.texts)

    def names(self, amount: Amount) -> bool:
        if amount.codes == PERCENT:
            return any(amount.may_equal(one) for text in self.texts for one in percents_in(text))
        return any(stands_in(amount, text) for text in self.texts)

    def adds_up(self, total: Sum) -> bool:
        """Whether all that a sum is made of was told, a price among it: else anything could be made
        of nothing."""
        counted = [one.value for one in total.operands if one.multiplies]
        others = [one.value for one in total.operands if not one.multiplies]
        return (
            any(is_price_in(value, text) for value in others for text in self.texts)
            and all(value in _PARTS or self._has(value) for value in others)
            and all(value <= COUNTED_MAX or self._has(value) for value in counted)
        )

    def _has(self, value: Decimal) -> bool:
        return self.names(Amount(0, 0, frozenset([value]), frozenset()))
