"""The index in flat arrays scores as BM25 is written down, whatever it was put together from."""

import math
import random
from collections import Counter
from collections.abc import Sequence

import pytest

from handlers.agent.building import Builder, TooBig, pieces
from handlers.agent.retrieval import K1, B, Hit, Index, index_of
from handlers.agent.segment import NoSegment, Segment, read, terms

WORDS = [
    *(
        "bread",
        "breads",
        "rye",
        "cake",
        "birthday",
        "opening",
        "open",
        "hours",
        "sunday",
        "parking",
    ),
    *("aaaa", "aaaaaa", "größe", "ΩΜΕΓΑ", "दुकान", "営業時間", "x", "42", "price", "deliver"),
]


class Plain:
    """BM25 with dictionaries, a row after the other."""

    def __init__(self, texts: dict[int, str]) -> None:
        self.counts = {row: Counter(terms(text)) for row, text in texts.items()}
        self.lengths = {row: sum(count.values()) for row, count in self.counts.items()}
        self.mean = sum(self.lengths.values()) / max(1, len(texts)) or 1.0
        self.having = Counter(term for count in self.counts.values() for term in count)

    def search(self, question: str, limit: int) -> list[tuple[int, float]]:
        scores: dict[int, float] = {}
        possible = 0.0
        for term in dict.fromkeys(terms(question)):
            having = self.having[term]
            weight = math.log(1 + (len(self.counts) - having + 0.5) / (having + 0.5))
            possible += weight * (K1 + 1)
            for row, count in self.counts.items():
                if n := count[term]:
                    norm = K1 * (1 - B + B * self.lengths[row] / self.mean)
                    scores[row] = scores.get(row, 0.0) + weight * n * (K1 + 1) / (n + norm)
        best = sorted(scores.items(), key=lambda s: (-round(s[1], 9), s[0]))[:limit]
        return [(row, min(1.0, score / possible)) for row, score in best]


def same(hits: Sequence[Hit], plain: Sequence[tuple[int, float]]) -> bool:
    return len(hits) == len(plain) and all(
        hit.place == row and math.isclose(hit.share, share, rel_tol=1e-9)
        for hit, (row, share) in zip(hits, plain, strict=True)
    )


def some_text(dice: random.Random, most: int = 30) -> str:
    return " ".join(dice.choices(WORDS, k=dice.randrange(most)))


def segment(texts: dict[int, str]) -> Segment:
    builder = Builder()
    builder.add(sorted(texts.items()))
    return builder.segment()


@pytest.mark.parametrize("rows", [1, 7, 300, 2_500])  # more than are made at once
def test_it_scores_as_written_down(rows: int) -> None:
    dice = random.Random(rows)
    texts = {n * 3 + 1: some_text(dice) for n in range(rows)}
    index, plain = Index([segment(texts)]), Plain(texts)
    for _ in range(20):
        question = some_text(dice, 12)
        assert same(index.search(question, 6), plain.search(question, 6)), question


def test_an_addition_scores_as_if_all_was_built_anew() -> None:
    dice = random.Random(5)
    before = {n: some_text(dice) for n in range(400)}
    changed = {n: some_text(dice) for n in (3, 77, 399, 1_000, 1_001)}
    deleted = {5, 78}
    now = {n: text for n, text in (before | changed).items() if n not in deleted}
    index = Index([segment(before), segment(changed)], gone=[*changed, *deleted])
    anew, plain = Index([segment(now)]), Plain(now)
    for _ in range(30):
        question = some_text(dice, 12)
        as_written = plain.search(question, 6)
        assert same(index.search(question, 6), as_written)
        assert same(anew.search(question, 6), as_written)


def test_all_of_it_may_be_gone() -> None:
    first = segment({1: "rye bread", 2: "cake"})
    assert Index([first], gone=[1, 2]).search("rye bread", 3) == []
    later = Index([first, segment({2: "rolls"})], gone=[1, 2])
    assert [hit.place for hit in later.search("bread rolls cake", 3)] == [2]
    assert Index([segment({}), segment({4: "rolls"})], gone=[4]).search("rolls", 3)


def test_it_is_the_same_in_another_process() -> None:
    """Its bytes are its arrays, wherever the parts were cut."""
    dice = random.Random(8)
    texts = {n: some_text(dice) for n in range(300)}
    made = segment(texts)
    for size in (7, 1_000, 10**9):
        parts = list(pieces(made, size))
        assert {len(part) for part in parts[:-1]} <= {size}
        loaded = Index([read(b"".join(parts))])
        for _ in range(5):
            question = some_text(dice, 12)
            assert loaded.search(question, 6) == Index([made]).search(question, 6)


def test_a_row_of_one_word_a_thousand_times_and_more_than_65_536_rows() -> None:
    """Where counts and places no longer fit the smaller numbers."""
    texts = {0: "bread " * 1_000, 1: "bread", 2: "rye"}
    assert segment(texts).counts.itemsize == 2
    assert same(Index([segment(texts)]).search("bread", 3), Plain(texts).search("bread", 3))
    many = segment({n: "x" if n < 65_536 else "rye" for n in range(65_540)})
    assert many.places.itemsize == 4
    found = Index([read(b"".join(pieces(many, 1 << 20)))]).search("rye", 9)
    assert [hit.place for hit in found] == [65_536, 65_537, 65_538, 65_539]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[: len(data) // 2],
        lambda data: b"XXXX" + data[4:],
        lambda data: data[:4] + b"\xff" + data[5:],
    ],
)
def test_bytes_that_are_none_are_told(damage: object) -> None:
    data = b"".join(pieces(segment({1: "rye bread"}), 1 << 20))
    assert callable(damage)
    with pytest.raises(NoSegment):
        read(damage(data))


def test_it_ends_before_it_is_too_big() -> None:
    builder = Builder(most_bytes=50_000)
    with pytest.raises(TooBig):
        builder.add((n, f"row {n} of very many rows, number {n * n}") for n in range(1_000_000))


def test_equal_rows_come_in_their_order() -> None:
    index = index_of(["rye bread"] * 50)
    assert [hit.place for hit in index.search("bread", 6)] == [0, 1, 2, 3, 4, 5]
