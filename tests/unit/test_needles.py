"""What a pattern finds has one of its needles: else a claim would not be looked for."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handlers.checks import claims
from handlers.rules.needles import needles

PATTERNS = [one.said.pattern for one in claims._known().patterns]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        (r"\b(?:i|we)(?: have)* (?:refunded|reimbursed)\b", {"funded", "imbursed"}),
        (r"cancell?ed", {"cancel"}),
        (r"(?:order|ordered) now", {"order"}),
        (r"(?:done|\w+)!", {"!"}),
        (r"(?:done|\w+)", set()),
        (r"x?y*", set()),
        (r"(?:تم|تمت)(?!\p{L})", {"تم"}),
    ],
)
def test_the_rarest_that_must_be_there(pattern: str, found: set[str]) -> None:
    assert needles(pattern) == found


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_all_that_is_found_has_one(data: st.DataObject) -> None:
    pattern = data.draw(st.sampled_from(PATTERNS))
    plain = re.compile(re.sub(r"\\p\{\w+\}", r"[^\\W\\d_]", pattern))
    text = data.draw(st.from_regex(plain))
    assert any(needle in text for needle in needles(pattern)), (pattern, text)


def test_every_claim_is_looked_for_by_strings() -> None:
    assert all(one.needles for one in claims._known().patterns)
    assert len(PATTERNS) > 60
