"""A model and those that answer when it is away.

The next one is asked for what time, another server or another model may help against: an outage,
too many requests, no credit left, an answer without a word. Not for a request that was refused as
such (400) or a key that is wrong (401, 403), nor for a model that is not there (404): that would be
refused again, or somebody has to mend it. docs/models.md has the list.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from langchain_core.messages import AIMessage, AnyMessage

from handlers.agent.answerer import (
    EMPTY_ANSWER,
    ONLY_THOUGHT,
    THOUGHT_TOO_LONG,
    Answerer,
    Kind,
    NoAnswer,
)
from handlers.agent.prompt import Briefing
from handlers.agent.tools import Toolbox

CHAIN_S = 42.0  # of a run's 45: what all its questions together may take
LINK_MIN_S, LINK_MAX_S = 5.0, 25.0  # of one question to one that has another behind it
NO_CREDIT = ("http_402", "http_429")
_SPEECHLESS = (EMPTY_ANSWER, ONLY_THOUGHT, THOUGHT_TOO_LONG)


def falls_back(none: NoAnswer) -> bool:
    return none.kind is Kind.LATER or none.word in (*NO_CREDIT, *_SPEECHLESS)


@dataclass(slots=True)
class Chain:
    """Of one run. What answered once is asked for the rest of it."""

    links: Sequence[Answerer]
    least_s: float = LINK_MIN_S
    most_s: float = LINK_MAX_S
    _at: int = 0
    _ends: float = field(default_factory=lambda: time.monotonic() + CHAIN_S)

    @property
    def name(self) -> str:
        return self.links[self._at].name

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        """Raises the NoAnswer of the first that was asked, since time may help against that."""
        first: NoAnswer | None = None
        while True:
            try:
                async with asyncio.timeout(self._patience_s()):
                    return await self.links[self._at].answer(briefing, messages, tools, may_call)
            except TimeoutError:
                none = NoAnswer("timeout")
                none.billed = False
            except NoAnswer as error:
                none = error
            first = first or none
            if not falls_back(none) or self._at + 1 == len(self.links):
                raise first from none
            self._at += 1

    def _patience_s(self) -> float | None:
        """None: the run's own time bounds the last."""
        behind = len(self.links) - 1 - self._at
        if not behind:
            return None
        left = self._ends - time.monotonic()
        return min(max(left / (behind + 1), self.least_s), self.most_s)
