"""What a tenant gives of a chatbot's budgets."""

from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from handlers.rules.budgets import (
    COST_DIGITS,
    COST_PLACES,
    INPUT_TOKENS,
    KNOWLEDGE_SHARE,
    LEAST,
    MOST,
    OUTPUT_TOKENS,
)
from ingress.api.fields import Body, exact, unless_given


def _tokens(name: str) -> Any:
    return Field(ge=LEAST[name], le=MOST[name])


TOLD = {
    "input_tokens": f"of a prompt at most; {INPUT_TOKENS} if missing",
    "knowledge_tokens": "of rows in a prompt, and of what one turn's searches find; a bigger base"
    f" is searched; `input_tokens` / {KNOWLEDGE_SHARE} if missing",
    "output_tokens": f"of an answer, with what the model thinks; {OUTPUT_TOKENS} if missing",
    "cost": "of a turn, by the installation's prices: before more is spent, the bot answers from"
    " what it has; unbounded if missing, and where the model has no price there, as one with a key"
    " of your own mostly has none",
}
COST = rf"^(?=.*[1-9])[0-9]{{1,{COST_DIGITS - COST_PLACES}}}(\.[0-9]{{1,{COST_PLACES}}})?$"
InputTokens = Annotated[int, _tokens("input_tokens")]
KnowledgeTokens = Annotated[int, _tokens("knowledge_tokens")]
OutputTokens = Annotated[int, _tokens("output_tokens")]
OfCost = Annotated[
    Decimal,
    Field(gt=0, max_digits=COST_DIGITS, decimal_places=COST_PLACES),
    BeforeValidator(exact),
]


class BudgetsMade(Body):
    input_tokens: InputTokens = unless_given()
    knowledge_tokens: KnowledgeTokens = unless_given()
    output_tokens: OutputTokens = unless_given()
    cost: OfCost = unless_given()


class BudgetsChange(Body):
    input_tokens: InputTokens | None = None
    knowledge_tokens: KnowledgeTokens | None = None
    output_tokens: OutputTokens | None = None
    cost: OfCost | None = None


def _schema(*nulls: str) -> WithJsonSchema:
    """`nulls`: the type of what null takes away."""
    tokens = {
        name: {"type": ["integer", *nulls], "minimum": LEAST[name], "maximum": MOST[name]}
        for name in LEAST
    }
    cost = {
        "type": ["string", "number", *nulls],
        "maxLength": COST_DIGITS + 1,
        "pattern": COST,
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 10 ** (COST_DIGITS - COST_PLACES),
    }
    for name, one in {**tokens, "cost": cost}.items():
        one["description"] = TOLD[name]
    return WithJsonSchema(
        {
            "type": "object",
            "properties": {**tokens, "cost": cost},
            "additionalProperties": False,
        }
    )


_OF_A_TURN = "how much a turn may take"
Budgets = Annotated[BudgetsMade, _schema(), Field(description=_OF_A_TURN)]
BudgetsMerged = Annotated[
    BudgetsChange,
    _schema("null"),
    Field(description=f"{_OF_A_TURN}; merged by member, null takes away"),
]
