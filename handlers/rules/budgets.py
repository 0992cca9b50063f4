"""How much a turn of a chatbot may take: tokens of a prompt and of an answer, and money. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

INPUT_TOKENS: Final = 12_000  # of a prompt
OUTPUT_TOKENS: Final = 800  # of an answer
KNOWLEDGE_SHARE = HISTORY_SHARE = 3  # each at most a third of a prompt, unless it says otherwise
LEAST: Final = {"input_tokens": 3_000, "knowledge_tokens": 0, "output_tokens": 50}
MOST: Final = {"input_tokens": 200_000, "knowledge_tokens": 100_000, "output_tokens": 16_000}
COST_DIGITS, COST_PLACES = 12, 6


@dataclass(frozen=True, slots=True)
class Budget:
    input_tokens: int = INPUT_TOKENS
    knowledge_tokens: int = INPUT_TOKENS // KNOWLEDGE_SHARE
    output_tokens: int = OUTPUT_TOKENS
    cost: Decimal | None = None  # of a turn, in the currency of the price table; None: unbounded

    @property
    def history_tokens(self) -> int:
        return self.input_tokens // HISTORY_SHARE


def budget_of(stored: object) -> Budget:
    """What is missing, or nothing that a number could be, is as if it had not been given."""
    given = stored if isinstance(stored, Mapping) else {}
    most = _whole(given, "input_tokens", INPUT_TOKENS)
    return Budget(
        input_tokens=most,
        knowledge_tokens=_whole(given, "knowledge_tokens", most // KNOWLEDGE_SHARE),
        output_tokens=_whole(given, "output_tokens", OUTPUT_TOKENS),
        cost=_cost(given.get("cost")),
    )


def merged(has: object, given: Mapping[str, Any]) -> dict[str, Any]:
    """As it is stored: null takes away, an amount is a text."""
    new = {**(has if isinstance(has, Mapping) else {}), **given}
    return {
        name: format(value, "f") if isinstance(value, Decimal) else value
        for name, value in new.items()
        if value is not None
    }


def mistakes(stored: Mapping[str, Any]) -> dict[str, str]:
    """What does not go together, by member."""
    budget = budget_of(stored)
    if budget.knowledge_tokens > budget.input_tokens:
        return {
            "budgets.knowledge_tokens": f"more than the {budget.input_tokens} of the whole prompt"
        }
    return {}


def _whole(given: Mapping[str, Any], name: str, otherwise: int) -> int:
    value = given.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        return otherwise
    return min(max(value, LEAST[name]), MOST[name])


def _cost(given: object) -> Decimal | None:
    if not isinstance(given, str | int):
        return None
    try:
        cost = Decimal(given)
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and cost > 0 else None
