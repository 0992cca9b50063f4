"""Who writes the answer: a language model, or, offline, the knowledge base word for word.

An answer may ask for tools instead; then it is asked again, with their results.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
)

from handlers.agent.prompt import Briefing
from handlers.agent.spending import Usage
from handlers.agent.tools import Toolbox

# Words of NoAnswer that somebody acts on.
CONTENT_FILTER = "content_filter"
CONTEXT_LENGTH = "context_length"
EMPTY_ANSWER = "empty_answer"
ERROR_IN_ANSWER = "error_in_answer"
REFUSED = "refused"  # the model declined
KNOWLEDGE_NOT_READY = "knowledge_not_ready"
ONLY_THOUGHT = "only_thought"  # no word besides what the model thought
THOUGHT_TOO_LONG = "thought_too_long"  # the same, and its tokens were used up

CUT = "cut"  # in an answer's response_metadata: it was going on
FINISH = "finish_reason"  # there too, until the run has read it: the server's own word


class Kind(StrEnum):
    """What may help against having no answer."""

    LATER = "later"  # time: an outage, too many requests, a server that answered nonsense
    NEVER = "never"  # nothing: this input will fail again
    BROKEN = "broken"  # the operator: key, model, address or credit


class NoAnswer(Exception):
    """Nothing came that could be sent."""

    asked = True  # the server was
    billed = True  # it worked for it, and mostly bills it
    usage: Usage | None = None  # what it says that it bills

    def __init__(
        self, word: str, kind: Kind = Kind.LATER, retry_after_s: float | None = None
    ) -> None:
        """`word` is a fixed one, docs/models.md has them all; `retry_after_s` the server's own."""
        super().__init__(word)
        self.word = word
        self.kind = kind
        self.retry_after_s = retry_after_s

    @property
    def of_what_was_told(self) -> bool:
        """It was refused for what it says, of which the newest message is only a part."""
        words = (CONTENT_FILTER, CONTEXT_LENGTH, ERROR_IN_ANSWER)
        refused = self.word in words or self.word.startswith("http_")
        return refused and self.kind is Kind.NEVER


class NotLookedUp(NoAnswer):
    """The knowledge base is not there yet: the server is not to blame, and not billed in vain."""

    billed = False


class Answerer(Protocol):
    @property
    def name(self) -> str:
        """Of the model, for the record."""

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        """With a text, or with calls of tools if it may. Raises NoAnswer."""
