"""The tokens that the plan gives one customer a day: so many are held before a model is asked as it
may cost, so that no crowd of turns passes the limit."""

from dataclasses import dataclass

from db.contact_days import hold_tokens
from db.pool import place
from handlers.turns.turn import Turn

LEAST_ANSWER_TOKENS = 100  # with fewer left nothing is asked
REACHED = "max_tokens_per_contact_day"


class NoTokens(Exception):
    """None are left, or the turn is lost."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ContactPurse:
    """Of one turn."""

    turn: Turn

    async def afford(self, prompt_tokens: int, answer_tokens: int) -> int:
        """How many the answer may have."""
        turn = self.turn
        before = prompt_tokens + sum(
            one.input_tokens + one.output_tokens for one in turn.bill.spent.by_model.values()
        )
        least = before + min(LEAST_ANSWER_TOKENS, answer_tokens)
        async with place(turn.pool, turn.claim.user_id) as conn:
            held = await hold_tokens(conn, turn.reserving, least, before + answer_tokens)
        if held.outcome not in ("granted", "unbounded"):
            raise NoTokens(REACHED if held.outcome == "reached" else held.outcome)
        return held.granted - before
