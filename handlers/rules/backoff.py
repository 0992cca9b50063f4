"""How long to wait before trying again. Pure; the caller brings the dice."""

from datetime import timedelta


def backoff(failures: int, *, base_s: float, cap_s: float, dice: float) -> timedelta:
    """Doubles with every failure up to the cap, and spreads over the upper half (`dice` 0..1)."""
    full = min(cap_s, base_s * 2.0 ** min(failures, 30))
    return timedelta(seconds=full * (0.5 + dice / 2))
