"""What a chatbot was told: the only source of what its answers may name. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

from handlers.checks.contacts import Named, Way
from handlers.rules.amounts import Amount, Numbers
from handlers.rules.sums import Sum

COUNTED_MAX = 100  # so many of a thing are counted though nobody named the number
_PARTS = (Decimal(1), Decimal(100))  # of a percentage


_APART = "\n\n\n"  # between texts: nothing that is looked for goes across


class _Source:
    """All the texts of a run, each looked at once."""

    def __init__(self, text: str) -> None:
        self.named = Named(text)
        self.numbers = Numbers(text)


@lru_cache(maxsize=8)
def _source(text: str) -> _Source:
    """An answer is looked through before it is taken and before it leaves, one soon after the
    other."""
    return _Source(text)


@dataclass(frozen=True, slots=True)
class Told:
    texts: Sequence[str] = ()  # rows, instructions, tools' results, the conversation
    effects: frozenset[str] = frozenset()  # that a row says were done

    def leads(self, way: Way) -> bool:
        return self._source.named.has(way)

    def names(self, amount: Amount) -> bool:
        return self._source.numbers.have(amount)

    @property
    def _source(self) -> _Source:
        return _source(_APART.join(self.texts))

    def adds_up(self, total: Sum) -> bool:
        """Whether all that a sum is made of was told, a price among it: else anything could be made
        of nothing."""
        counted = [one.value for one in total.operands if one.multiplies]
        others = [one.value for one in total.operands if not one.multiplies]
        return (
            any(self._source.numbers.have_price(value) for value in others)
            and all(value in _PARTS or self._has(value) for value in others)
            and all(value <= COUNTED_MAX or self._has(value) for value in counted)
        )

    def _has(self, value: Decimal) -> bool:
        return self.names(Amount(0, 0, frozenset([value]), frozenset()))
