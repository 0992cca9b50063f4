"""The roles of a worker, each with what it runs and what that needs.

Nothing is imported before a worker has the role: the command reads the names for its help, and some
roles take seconds to load.
"""

import importlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from worker.process import Worker

Run: TypeAlias = "Callable[[Worker], Coroutine[Any, Any, None]]"
# What /readyz waits for beside the beat. `log`: subscriptions to the ingest log. `model`: libraries
# that take seconds to load, which nothing else of the worker waits for.
Need = Literal["log", "model"]


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    runs: str  # module:function, until the worker's `stop`; then it finishes what it holds
    needs: frozenset[Need] = frozenset()

    def load(self) -> Run:
        module, _, function = self.runs.partition(":")
        run: Run = getattr(importlib.import_module(module), function)
        return run


ROLES = {
    role.name: role
    for role in (
        Role("ingest", "worker.ingest:ingest", frozenset({"log"})),
        Role("turns", "worker.answering:turns", frozenset({"model"})),
        Role("sends", "worker.claims:sends"),
        Role("webhooks", "worker.webhooks:webhooks"),
        Role("jobs", "worker.jobs:jobs"),
        Role("scheduler", "worker.clock:scheduler"),
    )
}
