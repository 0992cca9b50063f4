"""Who writes the answer: a language model, or, offline, the knowledge base word for word.

An answer may ask for tools instead; then it is asked again, with their results.
"""

from collections.abc import Sequence
from typing import Protocol

from langchain_core.messages import (
    AIMessage,
    AnyMessage,
)

from handlers.agent.prompt import Briefing
from handlers.agent.tools import Toolbox


class NoAnswer(Exception):
    """Nothing came that could be sent; the message is a fixed word."""


class Answerer(Protocol):
    @property
    def name(self) -> str:
        """Of the model, for the record."""

    async def answer(
        self, briefing: Briefing, messages: Sequence[AnyMessage], tools: Toolbox, may_call: bool
    ) -> AIMessage:
        """With a text, or with calls of tools if it may. Raises NoAnswer."""
