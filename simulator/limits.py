"""How fast Meta lets a number, and a number and one customer, send; and the 24-hour window."""

from collections import OrderedDict
from collections.abc import Hashable

from simulator.journal import remember

NUMBER_RATE = 80  # a second
PAIR_EVERY_S = 6.0
PAIR_BURST = 45
WINDOW_S = 24 * 3600
MAX_BUCKETS = 200_000


class Buckets:
    """Token buckets; each is the moment at which it is full again."""

    def __init__(self, every_s: float, burst: int) -> None:
        self._every_s = every_s
        self._room_s = (burst - 1) * every_s
        self._full_at: OrderedDict[Hashable, float] = OrderedDict()

    def take(self, key: Hashable, now: float) -> bool:
        full_at = max(self._full_at.get(key, now), now)
        if full_at - now > self._room_s:
            return False
        remember(self._full_at, key, full_at + self._every_s, MAX_BUCKETS)
        return True


class Limits:
    def __init__(self) -> None:
        self._numbers = Buckets(1 / NUMBER_RATE, NUMBER_RATE)
        self._pairs = Buckets(PAIR_EVERY_S, PAIR_BURST)
        self._wrote: OrderedDict[tuple[str, str], float] = OrderedDict()

    def exceeded(self, phone_number_id: str, customer: str, now: float) -> int | None:
        """The error's code."""
        if not self._pairs.take((phone_number_id, customer), now):
            return 131056
        if not self._numbers.take(phone_number_id, now):
            return 130429
        return None

    def wrote(self, phone_number_id: str, customer: str, at: float) -> None:
        key = (phone_number_id, customer)
        remember(self._wrote, key, max(at, self._wrote.get(key, 0.0)), MAX_BUCKETS)

    def in_window(self, phone_number_id: str, customer: str, now: float) -> bool:
        return now - self._wrote.get((phone_number_id, customer), 0.0) < WINDOW_S
