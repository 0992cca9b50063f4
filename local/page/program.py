"""What a tenant's own program got of the product's webhooks, and how it answers. The program is
played by the simulator's endpoint."""

import asyncio
import contextlib
import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from simulator.client import ControlRefused, Simulator
from simulator.journal import remember

LOOK_S = 0.4  # between two looks at the endpoint, however many pages are open
UNANSWERED_S = 30.0  # so long an arrival may still get its answer
MAX_EVENTS = 40
MAX_ARRIVALS = 12  # of an event: the first one and the newest
BODY_MAX = 6_000  # characters that are shown

# As they stand on the page.
MODES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "ok": ("answers 200", {}),
    "fail": ("answers 500", {}),
    "slow": ("answers 200 after four seconds", {"delay_ms": 4_000}),
    "dead": ("hangs up without an answer", {}),
}


@dataclass(slots=True)
class Told:
    """One event: all arrivals under its webhook-id, by the simulator's number."""

    webhook_id: str
    type: str
    body: str
    at: float
    arrivals: dict[int, dict[str, Any]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        arrivals = list(self.arrivals.values())
        shown = arrivals[:1] + arrivals[1:][-(MAX_ARRIVALS - 1) :]
        return {
            "id": self.webhook_id,
            "type": self.type,
            "body": self.body,
            "at": self.at,
            "arrivals": shown,
            "taken": any(200 <= (each["status"] or 0) < 300 for each in arrivals),
        }


class Program:
    """Of one tenant."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._mode = "ok"
        self._told: OrderedDict[str, Told] = OrderedDict()
        self._since = 0
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    async def look(self, simulator: Simulator) -> None:
        async with self._looking:
            if time.monotonic() - self._looked_at < LOOK_S:
                return
            with contextlib.suppress(aiohttp.ClientError, ControlRefused):
                self.take(await simulator.deliveries(self.name, since=self._since))
            self._looked_at = time.monotonic()

    def take(self, deliveries: list[dict[str, Any]]) -> None:
        """What came since, and again what had no answer yet."""
        for delivery in deliveries:
            webhook_id = str(delivery["webhook_id"])
            told = self._told.get(webhook_id)
            if told is None:
                told = _read(webhook_id, delivery)
                remember(self._told, webhook_id, told, MAX_EVENTS)
            told.arrivals[delivery["seq"]] = {
                "n": delivery["arrival"],
                "at": delivery["at"],
                "status": delivery["status"],
                "verified": delivery["verified"],
                "problem": delivery["problem"],
            }
        if deliveries:
            newest = deliveries[-1]
            waits = (
                d["seq"] - 1
                for d in deliveries
                if d["status"] is None and newest["at"] - d["at"] < UNANSWERED_S
            )
            self._since = min(waits, default=newest["seq"])

    async def switch(self, simulator: Simulator, mode: str) -> bool:
        """False: there is no such mode."""
        if mode not in MODES:
            return False
        await simulator.endpoint(self.name, mode=mode, **MODES[mode][1])
        self._mode = mode
        return True

    def as_json(self) -> dict[str, Any]:
        newest_first = reversed(self._told.values())
        return {"mode": self._mode, "events": [told.as_json() for told in newest_first]}


def _read(webhook_id: str, delivery: Mapping[str, Any]) -> Told:
    body = str(delivery["body"])
    kind: object = None
    with contextlib.suppress(ValueError):
        content = json.loads(body)
        body = json.dumps(content, indent=2, ensure_ascii=False)
        kind = content.get("type") if isinstance(content, dict) else None
    shown = body if len(body) <= BODY_MAX else body[:BODY_MAX] + "\n\N{HORIZONTAL ELLIPSIS}"
    return Told(webhook_id, str(kind or "no type"), shown, delivery["at"])
