"""`swiftreplies prices`: what tokens cost, from a file. What is wrong with it is told line by line,
and then nothing of it is taken: half a price list makes wrong bills."""

import argparse
import asyncio
import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from cli.command import Refused, read_bounded, show, verb, verbs
from cli.operating import as_owner
from db.prices import ANY_KIND, KINDS, Price, import_prices
from handlers.bulk.spreadsheet import Unclear, decoded
from handlers.process.configuration import Environment

MAX_FILE_BYTES = 1024 * 1024
MAX_MODEL_CHARS = 200
NEEDED = ("model", "kind", "input", "output", "valid_from")
FIELDS = (*NEEDED, "cached")  # without it, cached input costs what input does
PRICE = re.compile(r"[0-9]{1,8}(\.[0-9]{1,6})?")


def declare(noun: argparse.ArgumentParser) -> None:
    load = verb(
        verbs(noun),
        "import",
        "prices of tokens from a CSV or JSONL file: model, kind (turn, ask, eval, embedding,"
        " transcription, or * for all), input, cached, output (for a million tokens), valid_from"
        " (2026-12-31). All of it or, when a line is wrong, none",
    )
    load.add_argument("file", type=Path, metavar="FILE")
    load.set_defaults(run=_import)


def _import(args: argparse.Namespace) -> None:
    report = asyncio.run(prices_import(Environment(os.environ), file=args.file))
    show(args, report, f"{report['inserted']} inserted, {report['updated']} updated")


async def prices_import(env: Environment, *, file: Path) -> dict[str, Any]:
    prices, mistakes = read_prices(file)
    if mistakes:
        raise Refused(
            f"{file}: nothing was imported\n" + "\n".join(f"  line {n}: {w}" for n, w in mistakes)
        )
    async with as_owner(env) as conn:
        new = await import_prices(conn, prices)
    return {"inserted": sum(new), "updated": len(new) - sum(new)}


def read_prices(file: Path) -> tuple[list[Price], list[tuple[int, str]]]:
    """The prices, and each mistake with its line."""
    try:
        text = decoded(read_bounded(file, MAX_FILE_BYTES))
    except Unclear as error:
        raise Refused(f"{file} {error}") from error
    lines = _json_lines if file.suffix.lower() in (".jsonl", ".ndjson") else _csv_lines
    prices: dict[tuple[str, str, date], tuple[int, Price]] = {}
    mistakes: list[tuple[int, str]] = []
    for number, record in lines(text):
        read = record if isinstance(record, str) else _price(record)
        if isinstance(read, str):
            mistakes.append((number, read))
            continue
        key = (read.model, read.kind, read.valid_from)
        if key in prices:
            mistakes.append((number, f"the same model, kind and day as line {prices[key][0]}"))
        prices[key] = (number, read)
    if not prices and not mistakes:
        mistakes.append((1, "there are no prices in it"))
    return [price for _, price in prices.values()], mistakes


def _csv_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    rows = csv.reader(io.StringIO(text), strict=True)
    line = 1
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        if problem := _columns_problem(names):
            yield 1, problem
            return
        line = rows.line_num + 1
        for row in rows:
            if any(cell.strip() for cell in row):
                many = f"{len(row)} values for {len(names)} columns"
                yield line, dict(zip(names, row, strict=True)) if len(row) == len(names) else many
            line = rows.line_num + 1
    except csv.Error as error:
        yield line, f"not CSV: {error}"


def _columns_problem(names: list[str]) -> str | None:
    lacking = [name for name in NEEDED if name not in names]
    unknown = [name for name in names if name not in FIELDS]
    if not lacking and not unknown and len(set(names)) == len(names):
        return None
    return (
        f"the columns have to be {', '.join(FIELDS)}, with commas between them;"
        f" there are {', '.join(names) or 'none'}"
    )


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line, parse_float=str, parse_int=str)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON: {error}"
            continue
        if not isinstance(value, dict):
            yield number, "not an object"
        elif unknown := sorted(value.keys() - {*FIELDS}):
            yield number, f"no such field: {', '.join(unknown)}; there are {', '.join(FIELDS)}"
        else:
            yield number, value


def _price(record: Mapping[str, Any]) -> Price | str:
    """Or all that is wrong with it."""
    given = {name: record.get(name) for name in FIELDS}
    texts = {n: v.strip() if isinstance(v, str) else "" for n, v in given.items()}
    wrong = [
        f"{name} is missing" if given[name] in (None, "") else f"{name} is not a text"
        for name in NEEDED
        if not texts[name]
    ]
    if len(texts["model"]) > MAX_MODEL_CHARS:
        wrong.append(f"model has more than {MAX_MODEL_CHARS} characters")
    if texts["kind"] and texts["kind"] not in (*KINDS, ANY_KIND):
        wrong.append(f"kind is none of {', '.join(KINDS)}, {ANY_KIND}")
    if given["cached"] is None or texts["cached"] == "":
        texts["cached"] = texts["input"]
    wrong += [
        f"{name} is not an amount like 0.15, with at most 6 decimals"
        for name in ("input", "cached", "output")
        if texts[name] and not PRICE.fullmatch(texts[name])
    ]
    if (day := _day(texts["valid_from"])) is None and texts["valid_from"]:
        wrong.append("valid_from is not a day like 2026-12-31")
    if wrong or day is None:
        return "; ".join(dict.fromkeys(wrong))
    return Price(
        model=texts["model"],
        kind=texts["kind"],
        valid_from=day,
        input_price=Decimal(texts["input"]),
        cached_price=Decimal(texts["cached"]),
        output_price=Decimal(texts["output"]),
    )


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    except ValueError:
        return None
