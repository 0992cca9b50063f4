"""What becomes of an endpoint that fails."""

import pytest

from handlers.deliveries.rules import (
    BREAK_FAILURES,
    OPEN_FIRST_S,
    RETRY_AFTER_MAX_S,
    Attempt,
    Health,
    after,
)


@pytest.mark.parametrize(
    ("failures", "asked_s", "open_s", "opened"),
    [
        (0, None, None, 0),
        (0, 0.0, 0.0, 0),
        (0, 20.0, 20.0, 0),
        (0, 1e9, RETRY_AFTER_MAX_S, 0),
        (BREAK_FAILURES - 1, None, OPEN_FIRST_S, 1),
        (BREAK_FAILURES - 1, 0.0, OPEN_FIRST_S, 1),
        (BREAK_FAILURES - 1, 20.0, 20.0, 1),
    ],
)
def test_who_says_when_to_come_again_waits_longer_and_never_shorter(
    failures: int, asked_s: float | None, open_s: float | None, opened: int
) -> None:
    found = after(Health(failures=failures), Attempt(503, asked_s))
    assert (found.open_s, found.health.opened) == (open_s, opened)
    assert found.health.failures == failures + 1
