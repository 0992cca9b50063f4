"""The test tokens of a case: before each question to a model so many are held as it may cost,
within the plan's day and the run's budget, and what those before it cost is counted. So no crowd of
cases passes a limit, and whoever dies leaves one question uncounted at most, which who comes after
counts as it was held."""

import asyncio
import random
import time
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

from db.asks import Bill, count_test_calls
from db.embeddings import count_embedding_calls
from db.evals import Running, Wanted, drop_hold, reserve_eval_tokens, settle_eval_tokens
from db.ids import ChatbotId
from db.model_calls import Calls
from db.pool import CONFLICT, UNAVAILABLE, Conn, Pool, tenant
from handlers.agent.spending import Spent, Tally
from handlers.exports.work import Lost
from handlers.rules.backoff import backoff

LEAST_ANSWER_TOKENS = 100  # with fewer left nothing is asked
LOOK_S = 0.25  # while others hold what is left
HELD_S = 20.0  # so long; then the case comes again later
PATIENCE_S = 20.0  # what was paid for is counted, also when the database restarts

Why: TypeAlias = Literal["limit_reached", "budget_reached", "limit_held"]
_WHY: dict[str, Why] = {"reached": "limit_reached", "budget": "budget_reached"}


class NoTokens(Exception):
    """Nothing more may be asked; the case is not run."""

    def __init__(self, why: Why) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class EvalPurse:
    """Of one case, all its repetitions."""

    pool: Pool
    run: Running
    chatbot_id: ChatbotId
    place: int
    model: str
    spent: Spent = field(default_factory=Spent)
    _counted: dict[str, Tally] = field(default_factory=dict)
    _step: int = 0
    _holds: bool = False

    async def afford(self, prompt_tokens: int, answer_tokens: int) -> int:
        """How many the answer may have. Who waits here holds nothing."""
        await self.settle()
        wanted = Wanted(
            model=self.model,
            asked=prompt_tokens,
            least=prompt_tokens + min(LEAST_ANSWER_TOKENS, answer_tokens),
            most=prompt_tokens + answer_tokens,
        )
        deadline = time.monotonic() + HELD_S
        while True:
            async with tenant(self.pool, self.run.user_id) as conn:
                held = await reserve_eval_tokens(conn, self.run, self.place, wanted)
            match held.outcome:
                case "granted":
                    self._holds = True
                    return held.granted - prompt_tokens
                case "lost":
                    raise Lost
                case "held" if time.monotonic() < deadline:
                    await asyncio.sleep(LOOK_S)
                case outcome:
                    raise NoTokens(_WHY.get(outcome, "limit_held"))

    async def settle(self) -> None:
        """What was spent since is counted, once; what is held is given back. Repeats what the
        database's absence cut short."""
        if not self._holds:
            return
        deadline = time.monotonic() + PATIENCE_S
        for failures in range(1_000):
            try:
                async with tenant(self.pool, self.run.user_id) as conn:
                    await self._settle(conn)
            except (*UNAVAILABLE, *CONFLICT):
                if time.monotonic() > deadline:
                    raise
                wait = backoff(failures, base_s=0.1, cap_s=2.0, dice=random.random())
                await asyncio.sleep(wait.total_seconds())
            else:
                break
        self._holds = False
        self._step += 1
        for model, tally in self.spent.by_model.items():
            self._counted[model] = Tally(**asdict(tally))

    async def _settle(self, conn: Conn) -> None:
        calls = self._since()
        tokens = sum(one.input_tokens + one.output_tokens for one in calls)
        day = await settle_eval_tokens(conn, self.run, self.place, self._step, tokens)
        if day is None:
            return
        bill = Bill(chatbot_id=self.chatbot_id, usage_day=day)
        for one in calls:
            count_test_calls(conn, self.run.user_id, bill, one, "eval")

    def _since(self) -> list[Calls]:
        """What was asked and is not counted."""
        found = []
        for model, now in self.spent.by_model.items():
            before = asdict(self._counted.get(model, Tally()))
            more = {name: value - before[name] for name, value in asdict(now).items()}
            if any(more.values()):
                found.append(Calls(model=model, **more))
        return found

    async def close(self) -> None:
        """Nothing of it is held any more."""
        await self.settle()
        async with tenant(self.pool, self.run.user_id) as conn:
            await drop_hold(conn, self.run, self.place)
            for model, tally in self.spent.embeddings.items():
                spent = (model, tally.calls, tally.input_tokens)
                count_embedding_calls(conn, self.run.user_id, self.chatbot_id, spent)
