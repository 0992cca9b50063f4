"""Whether a turn's budget of money lets its model go on calling tools. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from db.prices import Rate
from handlers.agent.spending import Spent, Tally

MILLION = 1_000_000


@dataclass(slots=True)
class Cost:
    most: Decimal | None
    rates: Mapping[str, Rate]  # by model; what has none costs nothing that anybody knows
    _by_now: Decimal = Decimal(0)
    _last: Decimal = Decimal(0)  # what the last call did cost

    def allows_more(self, spent: Spent | None) -> bool:
        """Asked before each call, as often as one likes: one with tools is followed by another, and
        both will cost what the last one did. If that is too much the next one answers."""
        if self.most is None or spent is None:
            return True
        by_now = sum((self._of(m, tally) for m, tally in spent.by_model.items()), Decimal(0))
        if by_now != self._by_now:
            self._last, self._by_now = by_now - self._by_now, by_now
        return by_now + 2 * self._last <= self.most

    def _of(self, model: str, tally: Tally) -> Decimal:
        rate = self.rates.get(model)
        if rate is None:
            return Decimal(0)
        fresh = max(0, tally.input_tokens - tally.cached_tokens)
        return (
            fresh * rate.input_price
            + tally.cached_tokens * rate.cached_price
            + tally.output_tokens * rate.output_price
        ) / MILLION
