"""How much of a prompt equals the one before, which is what providers cache: a conversation with a
question every two minutes, in characters. `python -m bench.prompts`; no server is asked."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median

from langchain_core.messages import AIMessage, AnyMessage

from db.ids import MessageId
from db.messages import TurnMessage
from handlers.agent.graph import Agent, Task
from handlers.agent.knowledge import Knowledge
from handlers.agent.memory import Slot
from handlers.agent.prompt import Briefing, Row
from handlers.agent.told import tell
from handlers.agent.tools import Toolbox

TURNS = 80
EVERY = timedelta(minutes=2)
BEGAN = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
QUESTION = "And how much would a lemon cake be for twelve people, number {n}?"
ANSWER = "A lemon cake for twelve is 38 EUR; we need two days' notice. That was question {n}."
KNOWN = Knowledge(
    1,
    tuple(Row(n, None, f"How much is cake {n}?", f"Cake {n} is {n} EUR. " * 8) for n in range(40)),
)


@dataclass(slots=True)
class Reader:
    """Answers, and keeps what it was told."""

    name: str = "m"
    told: list[str] = field(default_factory=list)

    async def answer(
        self,
        briefing: Briefing,
        messages: Sequence[AnyMessage],
        tools: Toolbox,
        may_call: bool,  # noqa: ARG002 - the protocol's
    ) -> AIMessage:
        read = tell(briefing, messages, tools.schemas, 1.0).messages
        self.told.append("\n".join(f"{m.type}: {m.text}" for m in read))
        return AIMessage(ANSWER.format(n=len(self.told)))


async def conversation() -> list[str]:
    """The prompts of its turns."""
    reader, slot = Reader(), Slot(None)
    agent = Agent(reader)
    for n in range(TURNS):
        at = BEGAN + n * EVERY
        briefing = Briefing(
            chatbot_name="Luma",
            general_instructions="Be brief. Never promise a discount.",
            knowledge=KNOWN.rows,
            conversation_instructions=(),
            customer_name="Ada",
            now=at,
            timezone="Europe/Madrid",
        )
        asked = TurnMessage(
            id=MessageId(n + 1),
            direction="inbound",
            is_from_human=False,
            status="received",
            content_text=QUESTION.format(n=n),
            sent_at=at,
            created_at=at,
            input_seq=n + 1,
            wamid=None,
            metadata={},
        )
        task = Task(
            thread_id="t",
            slot=slot,
            history=[],
            inputs=[asked],
            events=[],
            briefing=briefing,
            tools=Toolbox(KNOWN, None),
        )
        await agent.run(task)
        slot = Slot(agent.saver.packed(slot))
    return reader.told


def shares(prompts: Sequence[str]) -> list[float]:
    """Of each but the first."""
    return [_same(a, b) / len(b) for a, b in itertools.pairwise(prompts)]


def _same(one: str, other: str) -> int:
    """Characters at the beginning of both."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(one), len(other)))


def main() -> None:
    found = shares(asyncio.run(conversation()))
    for name, some in (("turns 2 to 20", found[:19]), (f"turns 21 to {TURNS}", found[19:])):
        print(f"{name}: {median(some):.3f} (median), {min(some):.3f} to {max(some):.3f}")
    print(f"all together: {sum(found) / len(found):.3f}")


if __name__ == "__main__":
    main()
