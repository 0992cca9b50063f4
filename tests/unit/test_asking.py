"""How many asks begin beside turns, and what a prompt may cost."""

import pytest

from handlers.agent.spending import prompt_tokens
from worker.admission import LATE_S, Admission
from worker.asking import LATEST_S, room


def test_asks_take_a_quarter_of_what_turns_leave_and_nothing_when_they_are_late() -> None:
    admission = Admission()
    admission.began(1, now=100.0)
    assert room(admission, 100.1, waiting=0) == 4
    admission.late_s = LATE_S / 2
    assert room(admission, 100.1, waiting=0) == 2
    admission.late_s = 2 * LATE_S
    assert room(admission, 100.1, waiting=0) == 0
    assert room(admission, 100.0 + LATEST_S, waiting=0) == 1, "or a busy day would have none"
    admission.late_s = 0.0
    assert room(admission, 100.1, waiting=1_000) == 0


@pytest.mark.parametrize(("text", "least"), [("a" * 300, 100), ("é" * 300, 300), ("星" * 300, 300)])
def test_what_is_held_grows_with_the_text_and_faster_beyond_ascii(text: str, least: int) -> None:
    bare = prompt_tokens([{"role": "user", "content": ""}], ())
    assert prompt_tokens([{"role": "user", "content": text}], ()) == bare + least
