"""Which questions are one."""

import pytest

from handlers.rules.unanswered import QUESTION_UNITS, key_of, question_of


@pytest.mark.parametrize("text", ["", "  ", "?!", "\U0001f44d", "ok", "hi!", "77"])
def test_what_is_no_question_is_none(text: str) -> None:
    assert question_of([text]) is None


def test_a_burst_is_one_question_of_bounded_length() -> None:
    assert question_of(["do you", " sell\nroses? "]) == "do you sell roses?"
    assert question_of(["Parkplatz?"]) == "Parkplatz?"
    long = question_of(["why " * 1_000])
    assert long is not None
    assert len(long) <= QUESTION_UNITS


@pytest.mark.parametrize(
    "other",
    [
        "DO YOU SELL RED ROSES",
        "do you sell red roses???",
        "red roses, do you sell",  # the same words
        "do you sell red rose?",
        "do you selll red roses?",
    ],
)
def test_the_same_question(other: str) -> None:
    first = key_of("Do you sell red roses?", {})
    assert key_of(other, {first: "Do you sell red roses?"}) == first


@pytest.mark.parametrize(
    "other", ["Do you sell red tulips?", "Do you buy roses?", "\u0430 \u0431\u0432\u0433?"]
)
def test_another_question(other: str) -> None:
    first = key_of("Do you sell red roses?", {})
    key = key_of(other, {first: "Do you sell red roses?"})
    assert key != first
    assert isinstance(key, bytes)


def test_of_several_the_most_alike() -> None:
    texts = ("Do you deliver to Madrid on Sunday?", "Do you deliver to Madrid on Sundays now?")
    before = {key_of(text, {}): text for text in texts}
    assert key_of("do you deliver to madrid on sundays now", before) == key_of(texts[1], {})
