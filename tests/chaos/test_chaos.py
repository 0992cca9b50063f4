"""One run in the suite; CHAOS_SEED chooses another one, `make chaos` plays five."""

import os

import pytest

from tests.chaos.judge import explanations, judge, row_of, table
from tests.chaos.plan import FULL, draw
from tests.chaos.run import play

BY_BEATS_S = 3.0


@pytest.mark.timeout(900)
async def test_nothing_is_lost_doubled_or_disordered_whatever_dies(
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen = await play(draw(int(os.environ.get("CHAOS_SEED", "1")), FULL), print)
    verdict = judge(seen)
    with capsys.disabled():
        print("\n" + table([row_of(seen, verdict)]))
    print("\n".join(explanations(seen, verdict)))
    assert verdict.violations == []
    assert verdict.messages == verdict.recorded == FULL.messages
    assert verdict.replies > FULL.conversations / 2
    # By beats alone it takes three seconds at least, on whatever machine.
    assert min(verdict.claimed_s, default=0.0) < BY_BEATS_S, verdict.claimed_s
