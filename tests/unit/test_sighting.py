"""Who reaches whose store."""

import pytest

from db.media_stores import Sighting
from handlers.media_store.sighting import apart as found_apart
from handlers.media_store.sighting import is_of, next_of, proven


def seen(process: str, of: str | None = None, *, found: bool | None = None) -> Sighting:
    return Sighting(process=process, store="x", marker="m-1", read_of=of, found=found)


def test_they_look_in_a_ring() -> None:
    ring = [seen("a"), seen("b"), seen("c")]
    found = [next_of(name, ring) for name in "abcz"]
    assert [one and one.process for one in found] == ["b", "c", "a", "a"]
    assert next_of("a", [seen("a")]) is None
    unmarked = Sighting(process="b", store="x", marker=None)
    assert next_of("a", [seen("a"), unmarked]) is None


@pytest.mark.parametrize(
    ("there", "is_it"),
    [
        ("life-1000", True),
        ("life-2000", True),  # written again since
        ("life-900", True),  # an old look at a shared directory
        ("life-700", False),  # a copy of then
        ("other-1000", False),
        ("life-x", False),
        ("", False),
    ],
)
def test_a_marker_is_of_the_same_life_and_not_old(there: str, is_it: bool) -> None:
    assert is_of(there, "life-1000") is is_it


def test_one_group_is_one_store() -> None:
    ring = [
        seen("a", "b", found=True),
        seen("b", "c", found=True),
        seen("c", "a", found=True),
    ]
    assert proven(ring) == [["a", "b", "c"]]
    assert proven([*ring[:2], seen("c")]) == [["a", "b", "c"]]


def test_who_does_not_find_it_is_apart() -> None:
    apart = [seen("a", "b", found=False), seen("b", "a", found=False)]
    assert proven(apart) == [["a"], ["b"]]
    assert found_apart(apart) == [("a", "b"), ("b", "a")]
    assert found_apart(apart[:1]) == [], "who has ended is not asked for"
    gone = [seen("a", "z", found=True), seen("b")]
    assert proven(gone) == [["a"], ["b"]]
