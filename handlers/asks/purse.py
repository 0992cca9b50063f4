"""The day's test tokens: so many are held before a model is asked as it may cost, and what it did
cost is counted when the ask ends. So no crowd of asks passes the plan's limit."""

import asyncio
from dataclasses import dataclass, field

from db.asks import AskClaim, reserve_test_tokens
from db.pool import Pool, tenant
from handlers.agent.spending import Spent
from handlers.asks.answer import Failure

ANSWER_TOKENS = 800  # of one answer, as the model's client has it
# With fewer than so many left for an answer nothing is asked.
LEAST_ANSWER_TOKENS = 100
LOOK_S = 0.25  # while others hold what is left


class NoTokens(Exception):
    """The plan has none left, or `why` else nothing may be spent. None: the ask is lost."""

    def __init__(self, why: Failure | None) -> None:
        super().__init__(why)
        self.why = why


@dataclass(slots=True)
class AskPurse:
    pool: Pool
    claim: AskClaim
    spent: Spent = field(default_factory=Spent)
    held_by_others: bool = False

    async def open(self, prompt_tokens: int) -> None:
        """Before the run, with nothing held: waits for what others may give back."""
        while (await self._hold(prompt_tokens, ANSWER_TOKENS, waits=True)) is None:
            self.held_by_others = True
            await asyncio.sleep(LOOK_S)
        self.held_by_others = False

    async def afford(self, prompt_tokens: int, answer_tokens: int) -> int:
        """Before a request of the run: how many tokens its answer may have. Who waited here could
        wait for one who waits for them."""
        granted = await self._hold(prompt_tokens, answer_tokens, waits=False)
        assert granted is not None, "it does not wait"
        return granted

    async def _hold(self, prompt_tokens: int, answer_tokens: int, *, waits: bool) -> int | None:
        """None: others hold what is left."""
        before = prompt_tokens + sum(
            one.input_tokens + one.output_tokens for one in self.spent.by_model.values()
        )
        least = before + min(LEAST_ANSWER_TOKENS, answer_tokens)
        most = before + answer_tokens
        async with tenant(self.pool, self.claim.user_id) as conn:
            held = await reserve_test_tokens(conn, self.claim, least, most)
            if held.outcome == "held" and not waits and held.granted >= least:
                held = await reserve_test_tokens(conn, self.claim, least, held.granted)
        match held.outcome:
            case "granted":
                return held.granted - before
            case "held":
                if waits:
                    return None
                raise NoTokens(Failure.LIMIT_HELD)
            case "reached":
                raise NoTokens(Failure.LIMIT_REACHED)
            case _:
                raise NoTokens(None)
