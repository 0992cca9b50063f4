"""What a chatbot would answer, as the API says it: written by a worker, sent on as it is. Pure."""

import json
import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from handlers.rules.texts import storable


class Failure(StrEnum):
    """Why there is no answer."""

    MODEL_UNAVAILABLE = "model_unavailable"  # time may help
    MODEL_FAILED = "model_failed"  # it does not
    KNOWLEDGE_NOT_READY = "knowledge_not_ready"
    LIMIT_REACHED = "limit_reached"  # of test tokens
    LIMIT_HELD = "limit_held"  # what is left of them is held by other asks
    FAILED = "failed"  # a mistake of ours
    TIMEOUT = "timeout"
    GONE = "gone"  # the chatbot


@dataclass(frozen=True, slots=True)
class AskedRow:
    """Of the knowledge base."""

    id: int
    question: str
    score: float | None  # how well the question fits it, 0 to 1


@dataclass(frozen=True, slots=True)
class AskedTool:
    """That the bot would have used."""

    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AskedTokens:
    """Of all its questions to the model, as the model's server counts them."""

    input: int
    cached: int  # of the input
    output: int


@dataclass(frozen=True, slots=True)
class Asked:
    answer: str
    knowledge: list[AskedRow]
    tools: list[AskedTool]
    tokens: AskedTokens
    model: str


def as_json(asked: Asked) -> str:
    return json.dumps(_plain(asdict(asked)), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """What any reader of JSON takes: a model writes arguments as it likes."""
    match value:
        case str():
            return storable(value)
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {storable(str(key)): _plain(item) for key, item in value.items()}
        case list():
            return [_plain(item) for item in value]
        case _:
            return value
