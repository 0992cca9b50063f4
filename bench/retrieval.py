"""Retrieval on public question sets: `python -m bench.retrieval FOLDER [URL MODEL]`.

The folder has BANKING77 (banking_train.csv and banking_test.csv; columns text, category) and XQuAD
(xquad.<language>.json), or some of them. Prints how often the right row is the first, and among the
first five: by words, and with an OpenAI-compatible server of embeddings at URL (its key in
OPENAI_API_KEY) also by what rows mean. Then what an index and vectors take, at more and more rows.
"""

import asyncio
import csv
import json
import os
import random
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import aiohttp
import numpy as np

from handlers.agent.embedding import Embedder
from handlers.agent.knowledge import indexed_text
from handlers.agent.retrieval import Index, index_of
from handlers.agent.segment import Array
from handlers.agent.vectors import Closeness, Vectors

QUESTIONS_MAX = 800
MEANT_MAX = 300  # questions where each is embedded
FIRST = (1, 5)
ALTERNATIVES = 12
SIZES = (1_000, 10_000, 50_000)
DIMENSIONS = 384
BATCH = 32
Labelled: TypeAlias = tuple[str, str]  # a text, and what it is about
Set: TypeAlias = tuple[str, list[Labelled], list[Labelled]]  # name, rows, questions


def sets(folder: Path) -> Iterator[Set]:
    if (folder / "banking_train.csv").exists():
        by_intent: dict[str, list[str]] = defaultdict(list)
        for text, intent in _csv(folder / "banking_train.csv"):
            by_intent[intent].append(text)
        questions = _csv(folder / "banking_test.csv")
        for each in (2, 13, 1_000):
            rows = [(text, intent) for intent, texts in by_intent.items() for text in texts[:each]]
            yield f"BANKING77, {len(rows)} rows", rows, questions
        rows = [
            (indexed_text(texts[0], texts[1 : 1 + ALTERNATIVES], ""), intent)
            for intent, texts in by_intent.items()
        ]
        yield f"BANKING77, 77 rows, {ALTERNATIVES} others", rows, questions
    paragraphs = {file.stem[-2:]: _xquad(file) for file in sorted(folder.glob("xquad.*.json"))}
    for asked, (_, questions) in paragraphs.items():
        for written, (rows, _) in paragraphs.items():
            yield f"XQuAD, {asked} asked, rows {written}", rows, questions


def _xquad(file: Path) -> tuple[list[Labelled], list[Labelled]]:
    rows, questions = [], []
    for article in json.loads(file.read_text())["data"]:
        for paragraph in article["paragraphs"]:
            label = str(len(rows))
            rows.append((paragraph["context"], label))
            questions += [(q["question"], label) for q in paragraph["qas"]]
    return rows, questions


def _csv(file: Path) -> list[Labelled]:
    with file.open(encoding="utf-8", newline="") as lines:
        return [(row["text"], row["category"]) for row in csv.DictReader(lines)]


def with_typos(text: str, dice: random.Random) -> str:
    """Two of them: neighbours swapped, a letter lost, a letter doubled."""
    letters = list(text)
    for _ in range(2):
        at = dice.randrange(1, max(2, len(letters) - 1))
        match dice.randrange(3):
            case 0 if at + 1 < len(letters):
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
            case 1:
                del letters[at : at + 1]
            case _:
                letters[at:at] = letters[at : at + 1]
    return "".join(letters)


def hits(
    index: Index,
    rows: Sequence[Labelled],
    questions: Sequence[Labelled],
    closeness: Sequence[Closeness | None],
) -> str:
    ranks = []
    for (text, label), close in zip(questions, closeness, strict=True):
        labels = [rows[hit.place][1] for hit in index.search(text, max(FIRST), close)]
        ranks.append(labels.index(label) + 1 if label in labels else max(FIRST) + 1)
    shares = [sum(rank <= n for rank in ranks) / len(ranks) for n in FIRST]
    return "  ".join(f"hit@{n} {share:.3f}" for n, share in zip(FIRST, shares, strict=True))


def by_words(folder: Path) -> None:
    dice = random.Random(77)
    for name, rows, questions in sets(folder):
        index = index_of(text for text, _ in rows)
        some = dice.sample(questions, min(QUESTIONS_MAX, len(questions)))
        print(f"{name:<34} {hits(index, rows, some, [None] * len(some))}")
        typos = [(with_typos(text, dice), label) for text, label in some]
        print(f"{name + ', typos':<34} {hits(index, rows, typos, [None] * len(some))}")


async def by_meaning(folder: Path, url: str, model: str) -> None:
    async with aiohttp.ClientSession() as http:
        embedder = Embedder.create(model, os.environ.get("OPENAI_API_KEY", "-"), url, http)

        async def embedded(texts: Sequence[str]) -> list[Array]:
            found: list[Array] = []
            for at in range(0, len(texts), BATCH):
                found += (await embedder.embed(texts[at : at + BATCH])).vectors
            return found

        dice = random.Random(77)
        for name, rows, questions in sets(folder):
            if len(rows) > 1_001 or "others" in name:
                continue
            some = dice.sample(questions, min(MEANT_MAX, len(questions)))
            vectors = _vectors(await embedded([text for text, _ in rows]))
            close = [vectors.closeness(v) for v in await embedded([text for text, _ in some])]
            index = index_of(text for text, _ in rows)
            print(f"{name:<34} words  {hits(index, rows, some, [None] * len(some))}")
            print(f"{'':<34} summed {hits(index, rows, some, close)}", flush=True)


def _vectors(found: Sequence[Array]) -> Vectors:
    return Vectors(np.arange(len(found)), np.array(found, dtype=np.float16))


def sizes(folder: Path) -> None:
    """Rows of a customer's question and an answer of a sentence; vectors by chance."""
    texts = [text for text, _ in _csv(folder / "banking_train.csv")]
    asked = [text for text, _ in _csv(folder / "banking_test.csv")][:200]
    dice = np.random.default_rng(77)
    for count in SIZES:
        some = (
            indexed_text(texts[n % len(texts)], (), f"{texts[(n * 7) % len(texts)]} Number {n}.")
            for n in range(count)
        )
        began = time.process_time()
        index = index_of(some)
        built = time.process_time() - began
        vectors = _vectors(list(dice.standard_normal((count, DIMENSIONS)).astype(np.float32)))
        query = dice.standard_normal(DIMENSIONS).astype(np.float32)
        words_ms, meant_ms = [], []
        for text in asked:
            began = time.process_time()
            index.search(text, 6)
            words_ms.append((time.process_time() - began) * 1_000)
            began = time.process_time()
            index.search(text, 6, vectors.closeness(query))
            meant_ms.append((time.process_time() - began) * 1_000)
        print(
            f"{count:>6} rows: index {index.nbytes / 1e6:.0f} MB in {built:.1f} s,"
            f" vectors {vectors.nbytes / 1e6:.0f} MB;"
            f" ms of CPU p50/p95 by words {_spread(words_ms)}, with vectors {_spread(meant_ms)}",
            flush=True,
        )


def _spread(ms: Sequence[float]) -> str:
    ordered = sorted(ms)
    return f"{ordered[len(ms) // 2]:.1f}/{ordered[len(ms) * 95 // 100]:.1f}"


def main() -> None:
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        asyncio.run(by_meaning(folder, *sys.argv[2:4]))
        return
    by_words(folder)
    if (folder / "banking_train.csv").exists():
        sizes(folder)


if __name__ == "__main__":
    main()
