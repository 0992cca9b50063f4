"""How many turns are begun, by what those under way leave room for.

A turn costs some 10 ms of the loop and some 5 ms of the database, in pieces between its waits.
Whatever else needs these (a message that is to be recorded, a reply on its way out) waits behind
the pieces of all turns under way. So their number is not fixed: it is what keeps the loop on time
and leaves few waiting for a connection. A turn that waits for its model takes neither, and does not
count; what other processes take of the CPU does, because it makes the loop late too.
"""

import asyncio
from dataclasses import dataclass

from handlers.process import telemetry

LOOK_S = 0.02
LATE_S = 0.04  # from here on nothing new is begun
WEIGHT = 0.25  # of the newest look
AT_ONCE = 16  # and as many again a moment later
WAITING_MAX = 16  # for a connection
LEAST_EVERY_S = 0.05  # one, however late: others may take the CPU for long


@dataclass(slots=True)
class Admission:
    late_s: float = 0.0
    began_at: float = float("-inf")  # when something was last begun

    def saw(self, late_s: float) -> None:
        """How much later than asked for the loop came back."""
        self.late_s += WEIGHT * (max(0.0, late_s) - self.late_s)

    def room(self, now: float, waiting: int) -> int:
        """How many may be begun at this moment, when so many wait for a connection."""
        room = min(int(AT_ONCE * (1 - self.late_s / LATE_S)), WAITING_MAX - waiting)
        return max(room, int(now - self.began_at >= LEAST_EVERY_S))

    def began(self, count: int, now: float) -> None:
        if count:
            self.began_at = now


async def watch(admission: Admission) -> None:
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LOOK_S
        await asyncio.sleep(LOOK_S)
        admission.saw(loop.time() - due)
        telemetry.LOOP_LATE.set(admission.late_s)
