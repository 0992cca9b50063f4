"""One run in the suite. CHAOS_SEED chooses another one, CHAOS_FULL=1 the full size (3,000 messages
of 200 customers, which two busy cores cannot do in the time that a suite has)."""

import os

import pytest

from tests.chaos.judge import explanations, judge, row_of, table
from tests.chaos.plan import FULL, SMALL, draw
from tests.chaos.run import play


@pytest.mark.timeout(300)
async def test_nothing_is_lost_doubled_or_disordered_whatever_dies() -> None:
    size = FULL if os.environ.get("CHAOS_FULL") == "1" else SMALL
    seen = await play(draw(int(os.environ.get("CHAOS_SEED", "1")), size), print)
    verdict = judge(seen)
    print(table([row_of(seen, verdict)]))
    print("\n".join(explanations(seen, verdict)))
    assert verdict.violations == []
    assert verdict.messages == verdict.recorded == size.messages
    assert verdict.replies > size.conversations / 2
