"""A chatbot's models: what a change makes of them, where keys go, who is asked after whom."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
from langchain_core.messages import AIMessage

from handlers.agent.answerer import CONTENT_FILTER, EMPTY_ANSWER, Answerer, Kind, NoAnswer
from handlers.agent.chain import Chain, falls_back
from handlers.rules.models import (
    Key,
    Keys,
    Stored,
    changed,
    keys_text,
    mistakes,
    read_keys,
    wanted,
)

THEIRS, OTHER = "https://models.example/v1", "https://other.example/v1"
MODEL: Stored = {"name": "big", "base_url": THEIRS}
KEYS: Keys = (Key(THEIRS, "sk-1"),)


def test_a_model_is_made_merged_and_taken_away() -> None:
    model, keys = changed(None, (), {"name": "big", "base_url": THEIRS, "api_key": "sk-1"})
    assert (model, keys) == (MODEL, KEYS)
    model, keys = changed(model, keys, {"temperature": 0.2})
    assert (model, keys) == (MODEL | {"temperature": 0.2}, KEYS)
    model, keys = changed(model, keys, {"temperature": None})
    assert (model, keys) == (MODEL, KEYS)
    assert changed(model, keys, None) == (None, ())
    assert changed(None, (), {}) == (None, ())


def test_a_key_stays_with_its_url() -> None:
    model, keys = changed(MODEL, KEYS, {"base_url": OTHER})
    assert keys == (None,)
    assert list(mistakes(model, keys)) == ["model.api_key"]
    model, keys = changed(MODEL, KEYS, {"base_url": None})
    assert (model, keys) == ({"name": "big"}, (None,))
    assert not mistakes(model, keys)  # the installation's
    model, keys = changed(MODEL, KEYS, {"api_key": None})
    assert list(mistakes(model, keys)) == ["model.api_key"]
    model, keys = changed(MODEL, KEYS, {"base_url": OTHER, "api_key": "sk-2"})
    assert keys == (Key(OTHER, "sk-2"),)


def test_fallbacks_are_replaced_and_keep_their_keys() -> None:
    small = {"name": "small", "base_url": OTHER}
    model, keys = changed(MODEL, KEYS, {"fallbacks": [small | {"api_key": "sk-2"}]})
    assert model == MODEL | {"fallbacks": [small]}
    assert keys == (*KEYS, Key(OTHER, "sk-2"))
    same = changed(model, keys, {"fallbacks": [small, {"name": "tiny", "base_url": THEIRS}]})
    assert same[1] == (*KEYS, Key(OTHER, "sk-2"), Key(THEIRS, "sk-1"))
    assert not mistakes(*same)
    gone = changed(*same, {"fallbacks": [{"name": "x", "base_url": "https://evil.example"}]})
    assert list(mistakes(*gone)) == ["model.fallbacks.0.api_key"]
    assert changed(*same, {"fallbacks": None}) == (MODEL, KEYS)


def test_what_is_missing_is_named() -> None:
    model, keys = changed(None, (), {"base_url": THEIRS, "fallbacks": [{"base_url": OTHER}]})
    assert sorted(mistakes(model, keys)) == [
        "model.api_key",
        "model.fallbacks.0.api_key",
        "model.fallbacks.0.name",
        "model.name",
    ]


def test_keys_are_one_text_and_are_used_where_they_belong() -> None:
    keys = (*KEYS, None, Key(None, "sk-3"))
    assert read_keys(keys_text(keys)) == keys
    assert keys_text((None,)) is None
    # Whoever changes the URL beside them gets none.
    (one,) = wanted(MODEL | {"base_url": OTHER}, KEYS)
    assert one.api_key is None
    (one,) = wanted(MODEL, KEYS)
    assert one.api_key == "sk-1"
    assert wanted(None, ()) == ()


# ---- who is asked after whom ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("none", "falls"),
    [
        (NoAnswer("http_500"), True),
        (NoAnswer("timeout"), True),
        (NoAnswer("http_429"), True),
        (NoAnswer("http_429", Kind.BROKEN), True),  # no credit
        (NoAnswer("http_402", Kind.BROKEN), True),
        (NoAnswer("unreadable"), True),
        (NoAnswer(EMPTY_ANSWER, Kind.NEVER), True),
        (NoAnswer("thought_too_long", Kind.NEVER), True),
        (NoAnswer("http_400", Kind.NEVER), False),
        (NoAnswer("http_401", Kind.BROKEN), False),
        (NoAnswer("http_404", Kind.BROKEN), False),
        (NoAnswer("blocked_address", Kind.BROKEN), False),
        (NoAnswer(CONTENT_FILTER, Kind.NEVER), False),
        (NoAnswer("refused", Kind.NEVER), False),
    ],
    ids=str,
)
def test_the_next_one_is_asked_where_that_may_help(none: NoAnswer, falls: bool) -> None:
    assert falls_back(none) == falls


class Scripted:
    def __init__(self, name: str, *ends: NoAnswer | str | float) -> None:
        self.name = name
        self.ends = list(ends)
        self.asked = 0

    async def answer(self, *_: Any) -> AIMessage:
        self.asked += 1
        end = self.ends.pop(0)
        if isinstance(end, float):
            await asyncio.sleep(end)
            return AIMessage("late")
        if isinstance(end, NoAnswer):
            raise end
        return AIMessage(end)


async def ask(chain: Chain) -> str:
    nothing: Any = None
    return (await chain.answer(nothing, [], nothing, True)).text


def chain(*links: Scripted) -> Chain:
    return Chain(cast("Sequence[Answerer]", links))


async def test_what_answered_is_asked_for_the_rest_of_the_run() -> None:
    first, second = Scripted("a", NoAnswer("http_500")), Scripted("b", "one", "two")
    of = chain(first, second)
    assert [await ask(of), await ask(of)] == ["one", "two"]
    assert (of.name, first.asked, second.asked) == ("b", 1, 2)


async def test_who_fails_altogether_says_what_the_first_said() -> None:
    ends = NoAnswer("http_503"), NoAnswer("http_401", Kind.BROKEN)
    with pytest.raises(NoAnswer, match="http_503"):
        await ask(chain(*(Scripted("x", end) for end in ends)))


async def test_what_would_be_refused_again_is_asked_of_nobody_else() -> None:
    second = Scripted("b", "never")
    with pytest.raises(NoAnswer, match="http_400"):
        await ask(chain(Scripted("a", NoAnswer("http_400", Kind.NEVER)), second))
    assert second.asked == 0


async def test_a_slow_one_leaves_time_for_the_next() -> None:
    of = chain(Scripted("a", 5.0), Scripted("b", "quick"))
    of.least_s = of.most_s = 0.05
    assert await ask(of) == "quick"
