"""What belongs to one turn."""

import time
from dataclasses import dataclass, field
from typing import Any

from db.conversations import Claim
from db.ids import ChatbotId, ToolCallId, WorkerId
from db.pool import Pool
from db.usage import Reserving
from handlers.agent.graph import Agent
from handlers.agent.spending import Spent
from handlers.turns.presence import Presence


@dataclass(slots=True)
class Bill:
    """What the turn's model calls are paid for, and by whose chatbot."""

    spent: Spent = field(default_factory=Spent)
    chatbot_id: ChatbotId | None = None  # None: nobody was asked
    bounded: bool = False  # the plan bounds the tokens of a contact's day


@dataclass(slots=True)
class Report:
    """The turn's log line."""

    outcome: str = "lost_lease"
    reason: str | None = None
    inputs: int = 0
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Heard:
    """Of calls of the tenant's own tools, what the agent was told of."""

    before: list[ToolCallId] = field(default_factory=list)
    input_seq: int | None = None  # that its own are kept under; None: it has no such tools


@dataclass(frozen=True, slots=True)
class Turn:
    pool: Pool
    agent: Agent
    worker_id: WorkerId
    claim: Claim
    presence: Presence | None
    started: float = field(default_factory=time.monotonic)
    report: Report = field(default_factory=Report)
    bill: Bill = field(default_factory=Bill)
    heard: Heard = field(default_factory=Heard)

    @property
    def reserving(self) -> Reserving:
        claim = self.claim
        return Reserving(claim.user_id, claim.conversation_id, self.worker_id, claim.epoch)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started
