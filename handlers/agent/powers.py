"""Tools beside search and requests: a hand-over, and sums. What they may do is the plan's.

As all tools, they write nothing: a hand-over is done in the turn's last transaction.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from handlers.agent.files import SEND_FILE_SCHEMA, Files
from handlers.agent.offering import OFFER_SCHEMA
from handlers.agent.own_tools import OwnTools
from handlers.agent.selling import Selling
from handlers.checks.told import Told
from handlers.rules.cutting import head
from handlers.rules.sums import MAX_CHARS, NoSum, calculated
from handlers.rules.texts import storable

HAND_OVER: Final = "hand_over_to_human"
CALCULATE: Final = "calculate"
REASON_UNITS = 200

HANDED_OVER = (
    "done: with your answer a person takes over, and the customer is told so behind it. Say nothing"
    " of that yourself; add only what else they asked."
)

HAND_OVER_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": HAND_OVER,
        "description": (
            "A person of the business takes this conversation over, and you are silent in it. Call"
            " it when the customer wants to speak with a person, in whatever words and language, or"
            " says yes to your offer of one, and when nothing that you may do helps them."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "reason": {
                    "type": "string",
                    "description": "For the person: what the customer wants, in one sentence.",
                }
            },
            "required": ["reason"],
        },
    },
}
CALCULATE_SCHEMA: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": CALCULATE,
        "description": (
            "Works a sum out. Never name an amount that you have reckoned yourself: take the prices"
            " as you were told them, and let this tool add and multiply."
        ),
        "parameters": {
            "type": "object",
            "properties": {
                "expression": {
                    "type": "string",
                    "description": "Numbers, + - * / ( ) and %, like 2 * 38.50 + 4.90",
                }
            },
            "required": ["expression"],
        },
    },
}


@dataclass(frozen=True, slots=True)
class Powers:
    """What a run may do, and knows of requests."""

    hands_over: bool = False
    calculates: bool = False
    offers: bool = False  # choices under its answer
    currency: str = "USD"  # of amounts without one
    requested: frozenset[str] = frozenset()  # keys of requests that nobody has decided
    selling: Selling | None = None  # None: there is nothing to sell
    own: OwnTools | None = None  # the tenant's own tools
    files: Files | None = None  # None: there are none to be sent
    blocks: bool = True  # an answer that names what stands nowhere is not sent

    @property
    def schemas(self) -> list[dict[str, Any]]:
        return [
            *([HAND_OVER_SCHEMA] if self.hands_over else ()),
            *([CALCULATE_SCHEMA] if self.calculates else ()),
            *([OFFER_SCHEMA] if self.offers else ()),
            *([SEND_FILE_SCHEMA] if self.files is not None else ()),
        ]


def reason_of(arguments: dict[str, Any]) -> str:
    """For the person who takes over; a model's words."""
    given = arguments.get("reason")
    text = " ".join(storable(given).split()) if isinstance(given, str) else ""
    return head(text, REASON_UNITS) or "the customer asks for a person"


def sum_of(arguments: dict[str, Any], told: Told) -> str:
    """The result, for the model: a source of what its answer may name."""
    expression = arguments.get("expression")
    if not isinstance(expression, str) or not expression.strip():
        return "error: expression is missing"
    try:
        total = calculated(expression)
    except NoSum as wrong:
        return f"error: {wrong} (at most {MAX_CHARS} characters)"
    if not told.adds_up(total):
        return (
            "error: a number of it stands nowhere. Take only prices of the knowledge base, the"
            " instructions and this conversation"
        )
    return json.dumps({"result": total.text, "rounded": total.cents})
