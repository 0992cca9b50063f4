"""How many rows go at a time, and how long everybody else has then. Pure.

By how long the last transaction took, since what a row costs depends on the machine and on who else
uses it: with fifteen processes wanting two cores 500 rows took 250 ms.
"""

from dataclasses import dataclass

WANTED_S = 0.02  # of a transaction: its locks are held for as long
LEAST, MOST = 100, 1_000  # rows; fewer take hardly less, since a transaction has its own cost
REST_S = 0.02  # after a transaction, at least
REST_TIMES = 4  # what it took: a fifth of one connection's time is spent on what is old


@dataclass(slots=True)
class Pace:
    rows: int = 100

    def after(self, took_s: float) -> float:
        """The rest, in seconds."""
        if took_s > WANTED_S * 1.5:
            self.rows = max(LEAST, self.rows // 2)
        elif took_s < WANTED_S / 2:
            self.rows = min(MOST, self.rows * 2)
        return max(REST_S, took_s * REST_TIMES)
