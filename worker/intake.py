"""How taking in goes in this process, for /readyz, the metrics and the settling of unknown sends.

Times are those of time.monotonic().
"""

from dataclasses import dataclass, field

SUBSCRIPTIONS = ("messages", "statuses", "others", "dead")
# Longer than any batch takes: one statement takes 20 s at most, and a batch that the database
# refuses as a whole, then item by item, was never seen to take half of this.
STUCK_S = 120.0


@dataclass(slots=True)
class Intake:
    server: str  # that keeps the ingest log
    subscribed_since: dict[str, float] = field(default_factory=dict)
    # Of the try that runs now: waiting for the database between two tries is no hanging.
    trying_since: dict[str, float] = field(default_factory=dict)

    def problems(self, now: float) -> dict[str, str]:
        """What keeps the role `ingest` from its work, by what is to blame."""
        away = [what for what in SUBSCRIPTIONS if what not in self.subscribed_since]
        hanging = self.hanging(now)
        return {
            **({self.server: f"not subscribed to: {', '.join(away)}"} if away else {}),
            **({"ingest": f"a batch hangs: {', '.join(hanging)}"} if hanging else {}),
        }

    def hanging(self, now: float) -> list[str]:
        return [what for what, since in self.trying_since.items() if now - since > STUCK_S]

    def running_s(self, what: str, now: float) -> float:
        """How long its batch has been worked on; 0: there is none."""
        since = self.trying_since.get(what)
        return 0.0 if since is None else now - since


def has_listened(
    subscribed_since: float | None, steady_since: float | None, now: float, for_s: float
) -> bool:
    """Whether a status could be heard all this time, subscribed and with the database in reach.

    After an outage, those that Meta was refused meanwhile are still to be repeated.
    """
    if subscribed_since is None or steady_since is None:
        return False
    return now - max(subscribed_since, steady_since) >= for_s
