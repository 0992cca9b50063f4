"""What model calls are paid for, noted where the server's answer is read: an answer that nothing
can be made of is paid for too, and so is one whose turn ran out of time afterwards."""

import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeAlias

# A token is mostly more than three letters, and hardly ever less than one of another script.
LETTERS_PER_TOKEN = 3
WORD_LETTERS = 4  # where all is English and ours
MESSAGE_TOKENS = 16  # around them


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server says of one answer."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0  # of the input


@dataclass(slots=True)
class Tally:
    """Of one model. A server that tells no tokens leaves the calls."""

    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    by_model: dict[str, Tally] = field(default_factory=dict)
    embeddings: dict[str, Tally] = field(default_factory=dict)  # by model

    def note_embedding(self, model: str, tokens: int) -> None:
        tally = self.embeddings.setdefault(model, Tally())
        tally.calls += 1
        tally.input_tokens += tokens

    def note(self, model: str, usage: Usage | None) -> None:
        tally = self.by_model.setdefault(model, Tally())
        tally.calls += 1
        if usage is not None:
            tally.input_tokens += usage.input_tokens
            tally.cached_tokens += usage.cached_tokens
            tally.output_tokens += usage.output_tokens


_spent: ContextVar[Spent | None] = ContextVar("spent", default=None)


@contextmanager
def noted_in(spent: Spent) -> Iterator[None]:
    """Calls inside this block are noted, also those of a run that is cancelled. Not through the
    graph's own state: that is lost with a run that fails, which is paid for all the same."""
    token = _spent.set(spent)
    try:
        yield
    finally:
        _spent.reset(token)


def note(model: str, usage: Usage | None) -> None:
    """A server answered. Outside of noted_in() nobody is charged: probes."""
    if (spent := _spent.get()) is not None:
        spent.note(model, usage)


def so_far() -> Spent | None:
    """In this run; None: nobody is charged."""
    return _spent.get()


def note_embedding(model: str, tokens: int) -> None:
    """The same of a question that was embedded."""
    if (spent := _spent.get()) is not None:
        spent.note_embedding(model, tokens)


# ---- what is bounded before it is spent ----------------------------------------------------------

# Of a prompt's tokens and what its answer may have by itself: how many it may have. Raises what
# ends the run.
Purse: TypeAlias = Callable[[int, int], Awaitable[int]]

_purse: ContextVar[Purse | None] = ContextVar("purse", default=None)


@contextmanager
def paid_from(purse: Purse | None) -> Iterator[None]:
    """Before each request inside this block the purse is asked, if there is one."""
    token = _purse.set(purse)
    try:
        yield
    finally:
        _purse.reset(token)


async def afforded(body: dict[str, Any]) -> dict[str, Any]:
    """The request, with no longer an answer than is paid for."""
    if (purse := _purse.get()) is None:
        return body
    longest = body["max_completion_tokens"]
    most = await purse(prompt_tokens(body["messages"], body.get("tools", ())), longest)
    return {**body, "max_completion_tokens": min(most, longest)}


def prompt_tokens(messages: Sequence[Any], tools: Sequence[Any]) -> int:
    """No fewer than a server will count, as far as that can be known before."""
    text = json.dumps(messages, ensure_ascii=False)
    plain = len(text.encode("ascii", "ignore"))
    tokens = plain // LETTERS_PER_TOKEN + len(text) - plain + MESSAGE_TOKENS
    return tokens + len(json.dumps(tools)) // WORD_LETTERS
