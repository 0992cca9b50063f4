"""How many turns are begun."""

import pytest

from worker.admission import AT_ONCE, LATE_S, LEAST_EVERY_S, WAITING_MAX, Admission


def late(s: float) -> Admission:
    admission = Admission(began_at=100.0)
    for _ in range(50):
        admission.saw(s)
    return admission


def test_as_many_as_leave_the_loop_on_time() -> None:
    rooms = [late(LATE_S * share).room(100.0, 0) for share in (0.0, 0.25, 0.5, 0.9)]
    assert rooms[0] == AT_ONCE
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[-1] == 1


@pytest.mark.parametrize("waiting", [WAITING_MAX, 500])
def test_none_while_many_wait_for_a_connection(waiting: int) -> None:
    assert late(0.0).room(100.0, waiting) == 0


def test_a_machine_that_others_hold_up_still_answers() -> None:
    """Whatever makes the loop late may last."""
    admission = late(LATE_S * 10)
    assert admission.room(100.0 + LEAST_EVERY_S / 2, 0) == 0
    assert admission.room(100.0 + LEAST_EVERY_S * 1.1, 500) == 1
    admission.began(1, 100.0 + LEAST_EVERY_S * 1.1)
    assert admission.room(100.0 + LEAST_EVERY_S * 1.5, 0) == 0


def test_one_long_step_is_no_overload() -> None:
    admission = late(0.0)
    admission.saw(LATE_S * 2)
    assert admission.room(100.0, 0) > 0
