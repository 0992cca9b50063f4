"""A server that is away: who is let through, and when the others come back."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from handlers.agent.answerer import Kind, NoAnswer
from handlers.agent.breaker import (
    ALL,
    FAILURES,
    FAILURES_WITHIN_S,
    RETURNS_PER_S,
    ROOM,
    TRIAL_MAX_S,
    TRIAL_MIN_S,
    WAIT_MAX_S,
    Breaker,
    NotAsked,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Iterator[Breaker]:
    breaker = Breaker(clock)
    yield breaker
    assert breaker._running == 0


def fails(breaker: Breaker, none: NoAnswer | None = None) -> NoAnswer:
    with pytest.raises(NoAnswer) as caught, breaker.asked():
        raise none or NoAnswer("http_500")
    return caught.value


def refused(breaker: Breaker) -> NotAsked:
    with pytest.raises(NotAsked) as caught, breaker.asked():
        raise AssertionError("it must not be asked")
    return caught.value


def answered(breaker: Breaker) -> None:
    with breaker.asked():
        pass


def given_up(breaker: Breaker, clock: Clock, ran_s: float) -> None:
    with breaker.asked():
        clock.now += ran_s
        raise asyncio.CancelledError


def away(breaker: Breaker) -> None:
    for _ in range(FAILURES):
        assert fails(breaker).asked


def test_one_that_fails_now_and_then_is_asked_on(breaker: Breaker) -> None:
    for _ in range(20):
        fails(breaker)
        fails(breaker)
        answered(breaker)


def test_failures_long_ago_do_not_count(breaker: Breaker, clock: Clock) -> None:
    for _ in range(20):
        assert fails(breaker).asked
        clock.now += FAILURES_WITHIN_S / (FAILURES - 1) + 1


def test_what_is_refused_for_its_own_sake_says_nothing_of_the_server(breaker: Breaker) -> None:
    for _ in range(20):
        assert fails(breaker, NoAnswer("content_filter", Kind.NEVER)).asked


def test_one_at_a_time_tries_what_is_away(breaker: Breaker, clock: Clock) -> None:
    away(breaker)
    none = refused(breaker)
    assert (none.word, none.kind, none.asked, none.billed) == (
        *("http_500", Kind.LATER),
        *(False, False),
    )
    assert none.retry_after_s is not None
    assert TRIAL_MIN_S <= none.retry_after_s <= TRIAL_MIN_S + 1 / RETURNS_PER_S
    clock.now += TRIAL_MIN_S
    with breaker.asked():  # the trial
        refused(breaker)
    answered(breaker)


def test_trials_get_rarer_up_to_a_bound(breaker: Breaker, clock: Clock) -> None:
    away(breaker)
    waits = []
    for _ in range(6):
        began = clock.now
        while refused_now(breaker):
            clock.now += 0.25
        waits.append(clock.now - began)
        fails(breaker)
    assert waits == [1, 2, 4, 5, 5, 5]
    assert waits[-1] == TRIAL_MAX_S


def refused_now(breaker: Breaker) -> bool:
    try:
        with breaker.asked():
            raise NoAnswer("looked")
    except NotAsked:
        return True
    except NoAnswer:
        # The look was a trial itself: put back as if it had not been.
        breaker._trials -= 1
        breaker._trial_at = breaker.clock()
        return False


def test_the_server_s_own_wish_is_heard(breaker: Breaker, clock: Clock) -> None:
    for _ in range(FAILURES):
        fails(breaker, NoAnswer("http_429", Kind.LATER, 17.0))
    clock.now += 16
    refused(breaker)
    clock.now += 1
    answered(breaker)


def test_those_who_come_back_are_spread(breaker: Breaker) -> None:
    away(breaker)
    waits = [refused(breaker).retry_after_s or 0 for _ in range(200)]
    assert waits == sorted(waits)
    assert waits[100] - waits[50] == pytest.approx(50 / RETURNS_PER_S)
    for _ in range(2_000):
        assert (refused(breaker).retry_after_s or 0) <= WAIT_MAX_S


def test_a_server_that_is_back_gets_twice_as_much_with_each_answer(
    breaker: Breaker, clock: Clock
) -> None:
    away(breaker)
    clock.now += TRIAL_MIN_S
    answered(breaker)
    room = ROOM
    while room < ALL:
        with ExitStack() as running:
            for _ in range(room):
                running.enter_context(breaker.asked())
            assert refused(breaker).word == "away"
            held = running.pop_all()
        held.__exit__(RuntimeError, RuntimeError(), None)  # not heard of
        answered(breaker)
        room *= 2
    with ExitStack() as running:
        for _ in range(ALL * 2):
            running.enter_context(breaker.asked())


def test_one_failure_is_enough_while_it_comes_back(breaker: Breaker, clock: Clock) -> None:
    away(breaker)
    clock.now += TRIAL_MIN_S
    answered(breaker)
    fails(breaker)
    assert not refused(breaker).asked


def test_what_was_asked_before_the_outage_and_is_answered_ends_it(
    breaker: Breaker,
) -> None:
    early = breaker.asked()
    early.__enter__()
    away(breaker)
    refused(breaker)
    early.__exit__(None, None, None)
    answered(breaker)


def test_what_was_asked_before_the_outage_and_fails_makes_it_no_longer(
    breaker: Breaker, clock: Clock
) -> None:
    with ExitStack() as running:
        for _ in range(5):
            running.enter_context(breaker.asked())
        away(breaker)
        held = running.pop_all()
    for _ in range(5):
        held._exit_callbacks.pop()[1](NoAnswer, NoAnswer("late"), None)  # type: ignore[attr-defined]
    clock.now += TRIAL_MIN_S
    answered(breaker)


@pytest.mark.parametrize(("ran_s", "counts"), [(0.1, False), (TRIAL_MAX_S + 1, True)])
def test_a_question_that_is_given_up_after_long_has_failed(
    breaker: Breaker, clock: Clock, ran_s: float, counts: bool
) -> None:
    for _ in range(FAILURES):
        with pytest.raises(asyncio.CancelledError):
            given_up(breaker, clock, ran_s)
    if counts:
        assert refused(breaker).word == "timeout"
    else:
        answered(breaker)


def test_a_trial_that_is_given_up_leaves_room_for_another(breaker: Breaker, clock: Clock) -> None:
    away(breaker)
    clock.now += TRIAL_MIN_S
    with pytest.raises(asyncio.CancelledError), breaker.asked():
        raise asyncio.CancelledError
    refused(breaker)
    clock.now += 2 * TRIAL_MIN_S
    answered(breaker)
