"""Which rows an answer is made from is taken off, in whatever way a model writes it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.agent.citing import Cited, cited

SHOWN = (1, 12, 15)


@pytest.mark.parametrize(
    ("mark", "rows"),
    [
        ("\n[[12, 15]]", (12, 15)),
        (" [[12]]", (12,)),
        ("\n\n[[15]] [[12]]", (15, 12)),
        ("\n[[12], [15]]", (12, 15)),
        ("\n[[12;15]]\n[[12]]", (12, 15)),
        ("\n**[[12]]**", (12,)),
        ("\n`[[12,15]]`", (12, 15)),
        ("\n\\[\\[12\\]\\]", (12,)),
        ("\n[ [12, 15] ]", (12, 15)),
        ("\n[[12, 15]", (12, 15)),
        ("\n12, 15]]", (12, 15)),
        ("\n[12, 15]]", (12, 15)),
        ("\n\u3010\u301012\u3011\u3011", (12,)),
        ("\n[[id: 12]]", (12,)),
        ("\n[[kb_ids: 12, 15]]", (12, 15)),
        ("\n[[#12]]", (12,)),
        ('\n[["12", "15"]]', (12, 15)),
        ("\n[[\u0661\u0662]]", (12,)),  # as Arabic writes 12
        ("\n[[12, 1", (12,)),  # cut: the last number may be half of one
        ("\n[[12, 15, ", (12, 15)),
        ("\n[[", ()),
        ("\n[", ()),
    ],
)
def test_it_is_taken_off_and_read(mark: str, rows: tuple[int, ...]) -> None:
    assert cited(f"Open from 7.{mark}", SHOWN) == Cited("Open from 7.", rows)


@pytest.mark.parametrize("mark", ["[[]]", "[[ ]]", "[[none]]", "[[?]]", "[[-]]", "**[[]]**"])
def test_that_no_row_answers_is_said(mark: str) -> None:
    found = cited(f"I do not know.\n{mark}", SHOWN)
    assert found == Cited("I do not know.", (), says_nothing=True)


def test_in_the_middle_it_leaves_no_trace() -> None:
    assert cited("Open [[12]] from 7 [[15]].", SHOWN) == Cited("Open from 7.", (12, 15))
    assert cited("[[12]]\nOpen from 7.", SHOWN) == Cited("Open from 7.", (12,))


def test_what_was_not_shown_is_dropped_and_counted() -> None:
    assert cited("Yes.\n[[12, 99, 99]]", SHOWN) == Cited("Yes.", (12,), strangers=1)
    assert cited("Yes.\n[[99999999999999999999999]]", SHOWN) == Cited("Yes.", (), strangers=1)


@pytest.mark.parametrize(
    "text", ["Rooms [1] and [12].", "Ask for [[our shop]].", "a[1][2] = 3", "From 7 to 12"]
)
def test_other_brackets_stay(text: str) -> None:
    assert cited(text, SHOWN) == Cited(text, ())


@given(st.text(alphabet="[]\\ 12,;\n*`x\u3010\u3011#", max_size=60))
def test_no_two_brackets_with_ids_are_left(text: str) -> None:
    found = cited(text, SHOWN)
    assert set(found.rows) <= set(SHOWN)
    assert not found.text.endswith("[")
    again = cited(found.text, SHOWN)
    assert len(again.text) <= len(found.text)


@pytest.mark.parametrize("text", ["[" * 2_000_000, "[[1" * 100_000, "(" * 100_000, " \n" * 100_000])
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    cited(text, SHOWN)
    assert time.process_time() - began < 5
