"""Retrieval on public question sets: `python -m bench.retrieval FOLDER`.

The folder has BANKING77 (banking_train.csv and banking_test.csv; columns text, category) and XQuAD
(xquad.<language>.json), or some of them. Prints how often the right row is the first, among the
first three, among the first five; the mean reciprocal rank; and what building and asking cost.
"""

import csv
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from handlers.agent.retrieval import index_of

QUESTIONS_MAX = 800
FIRST = (1, 3, 5)
Labelled: TypeAlias = tuple[str, str]  # a text, and what it is about


def sets(folder: Path) -> Iterator[tuple[str, list[Labelled], list[Labelled]]]:
    """Name, rows, questions."""
    if (folder / "banking_train.csv").exists():
        by_intent: dict[str, list[str]] = defaultdict(list)
        for text, intent in _csv(folder / "banking_train.csv"):
            by_intent[intent].append(text)
        questions = _csv(folder / "banking_test.csv")
        for each in (2, 13, 1_000):
            rows = [(text, intent) for intent, texts in by_intent.items() for text in texts[:each]]
            yield f"BANKING77, {len(rows)} rows", rows, questions
    for file in sorted(folder.glob("xquad.*.json")):
        rows, questions = [], []
        for article in json.loads(file.read_text())["data"]:
            for paragraph in article["paragraphs"]:
                label = str(len(rows))
                rows.append((paragraph["context"], label))
                questions += [(q["question"], label) for q in paragraph["qas"]]
        yield f"XQuAD {file.stem.removeprefix('xquad.')}, {len(rows)} rows", rows, questions


def _csv(file: Path) -> list[Labelled]:
    with file.open(encoding="utf-8", newline="") as lines:
        return [(row["text"], row["category"]) for row in csv.DictReader(lines)]


def measured(rows: Sequence[Labelled], questions: Sequence[Labelled]) -> dict[str, float]:
    started = time.process_time()
    index = index_of(text for text, _ in rows)
    built = time.process_time()
    ranks: list[int | None] = []
    for text, label in questions:
        labels = [rows[hit.place][1] for hit in index.search(text, 10)]
        ranks.append(labels.index(label) + 1 if label in labels else None)
    asked = time.process_time()
    found = [rank for rank in ranks if rank is not None]
    return {
        **{f"hit@{n}": sum(rank <= n for rank in found) / len(ranks) for n in FIRST},
        "MRR": sum(1 / rank for rank in found) / len(ranks),
        "build s": built - started,
        "query ms": (asked - built) / len(ranks) * 1000,
    }


def main() -> None:
    dice = random.Random(77)
    for name, rows, questions in sets(Path(sys.argv[1])):
        some = dice.sample(questions, min(QUESTIONS_MAX, len(questions)))
        print(
            f"{name:<24}",
            "  ".join(f"{what} {value:.3f}" for what, value in measured(rows, some).items()),
        )


if __name__ == "__main__":
    main()
