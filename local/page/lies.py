"""What WhatsApp does on bad days, as switches. The settings are the simulator's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from simulator.client import Simulator


@dataclass(frozen=True, slots=True)
class Lie:
    name: str
    title: str
    about: str
    on: Mapping[str, Any]
    off: Mapping[str, Any]


def _share(name: str, title: str, about: str, share: float = 1.0, **more: Any) -> Lie:
    return Lie(name, title, about, {name: share, **more}, {name: 0.0})


LIES: tuple[Lie, ...] = (
    _share(
        "duplicates", "Duplicates", "Every webhook comes three times, at once.", duplicate_times=2
    ),
    _share(
        "swaps", "Wrong order", "A message may be overtaken by the next one.", 0.6, swap_ms=1_500
    ),
    _share("delays", "Late webhooks", "Up to three seconds on their way.", delay_ms=3_000),
    _share("hidden_numbers", "No phone number", "Customers are known by a BSUID alone."),
    Lie(
        "too_fast",
        "Too fast, says Meta (131056)",
        "Half of the sends are refused; they go again after 1, 4, 16 s.",
        {"refusals": {"131056": 0.5}},
        {"refusals": {}},
    ),
    _share(
        "server_errors",
        "Errors of Meta's servers (502)",
        "Half of the sends. Whether they arrived is unknown, so they wait.",
        0.5,
    ),
    _share("lost_answers", "Lost answers", "Meta takes the message and hangs up."),
    _share("statuses_late", "Late statuses", "Four seconds after the message.", late_ms=4_000),
    _share("statuses_never", "No statuses", "Nobody tells what became of a message."),
    _share("statuses_shuffled", "Mixed-up statuses", "Read before delivered before sent."),
)


class Lies:
    """Which of them are on."""

    def __init__(self) -> None:
        self._on: set[str] = set()

    @property
    def on(self) -> list[str]:
        return sorted(self._on)

    async def switch(self, simulator: Simulator, name: str, on: bool) -> bool:
        """False: there is no such switch."""
        lie = next((each for each in LIES if each.name == name), None)
        if lie is None:
            return False
        await simulator.config(lies=lie.on if on else lie.off)
        (self._on.add if on else self._on.discard)(name)
        return True
