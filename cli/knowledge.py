"""`swiftreplies kb`: what chatbots know, from a file."""

import argparse
import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

from cli.command import Refused, read_bounded, row_id, show, verb, verbs
from cli.operating import as_owner, not_in_plan
from db.bulk import upsert_knowledge
from db.chatbots import chatbot_owner
from db.ids import ChatbotId, UserId
from db.pool import Conn, tenant_transaction
from db.tenants import read_plan
from handlers.bulk.nouns import NOUNS, Row, row_of
from handlers.bulk.spreadsheet import Unclear, Unreadable, decoded, records
from handlers.bulk.storing import alike
from handlers.documents import blocks as documents
from handlers.documents.reading import SUFFIXES, passages_of
from handlers.fixed.texts import is_language
from handlers.plans import Feature, Plan
from handlers.process.configuration import Environment

KNOWLEDGE = NOUNS["knowledge"]
PIECE_BYTES = 64 * 1024
MAX_FILE_BYTES = 128 * 1024 * 1024


def declare(noun: argparse.ArgumentParser) -> None:
    load = verb(
        verbs(noun),
        "import",
        "questions and answers of a CSV or JSONL file, or a document's passages",
    )
    load.add_argument("--chatbot", type=row_id, required=True, metavar="ID")
    load.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help=", ".join(KNOWLEDGE.fields) + "; or PDF, DOCX, HTML",
    )
    load.add_argument(
        "--language",
        type=_language,
        metavar="TAG",
        help="of the rows that name none, like es or pt-BR",
    )
    load.set_defaults(run=_import)


def _language(text: str) -> str:
    if not is_language(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a language tag, like es or pt-BR")
    return text


def _import(args: argparse.Namespace) -> None:
    report = asyncio.run(
        kb_import(
            Environment(os.environ),
            chatbot_id=args.chatbot,
            file=args.file,
            language=args.language,
        )
    )
    lines = [f"{report['inserted']} inserted, {report['updated']} updated"]
    lines += [f"line {r['line']} rejected: {r['why']}" for r in report["rejected"]]
    show(args, report, "\n".join(lines))
    if report["rejected"] and not report["inserted"] and not report["updated"]:
        raise Refused("nothing was imported")


async def kb_import(
    env: Environment, *, chatbot_id: int, file: Path, language: str | None = None
) -> dict[str, Any]:
    rows, rejected = await _read(file, language)
    inserted = 0
    async with as_owner(env) as conn:
        owner = await _chatbot_owner(conn, ChatbotId(chatbot_id))
        async with tenant_transaction(conn, owner):  # all or nothing
            if not Plan(await read_plan(conn, owner)).allows(Feature.CHATBOT_MANAGEMENT):
                raise not_in_plan(owner, Feature.CHATBOT_MANAGEMENT)
            # Of CSV one statement: its triggers run once, at its end.
            for given, group in alike(rows):
                stored = await upsert_knowledge(conn, owner, ChatbotId(chatbot_id), group, given)
                inserted += stored.inserted
    return {"inserted": inserted, "updated": len(rows) - inserted, "rejected": rejected}


async def _read(file: Path, language: str | None) -> tuple[list[Row], list[dict[str, Any]]]:
    form = SUFFIXES.get(file.suffix.lower())
    if form is None:
        return read_knowledge(file, language)
    try:
        found = await passages_of(form, _pieces(file))
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except documents.Refused as refused:
        raise Refused(f"{file} cannot be imported: {refused}") from refused
    return read_records(enumerate(found, start=1), language, of_csv=False)


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with await asyncio.to_thread(file.open, "rb") as data:
        while piece := await asyncio.to_thread(data.read, PIECE_BYTES):
            yield piece


def read_knowledge(
    file: Path, language: str | None = None
) -> tuple[list[Row], list[dict[str, Any]]]:
    """The good rows, and for each bad line where it is and why. `language`: of the rows that name
    none."""
    return read_records(_records(file), language, of_csv=not _is_json_lines(file))


def read_records(
    found: Iterable[tuple[int, Any]], language: str | None, *, of_csv: bool
) -> tuple[list[Row], list[dict[str, Any]]]:
    rows: dict[str, Row] = {}
    lines: dict[str, int] = {}
    rejected: list[dict[str, Any]] = []
    for line, value in found:
        row = row_of(KNOWLEDGE, value, of_csv=of_csv)
        if isinstance(row, str):
            rejected.append({"line": line, "why": row})
        elif (question := row["question"]) in rows:
            why = f"the same question as line {lines[question]}"
            rejected.append({"line": line, "why": why})
        else:
            spoken = row.get("language") or language
            rows[question] = {"category": None, "is_active": True, **row}
            if spoken is not None:
                rows[question]["language"] = spoken
            lines[question] = line
    return list(rows.values()), rejected


def _is_json_lines(file: Path) -> bool:
    return file.suffix.lower() in (".jsonl", ".ndjson")


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    """Where a record starts, and the record: a JSON value or, of CSV, a dict; or what is wrong."""
    try:
        text = decoded(read_bounded(file, MAX_FILE_BYTES))
        if _is_json_lines(file):
            yield from _json_lines(text)
        else:
            yield from records(text, KNOWLEDGE.columns)
    except Unclear as error:
        raise Refused(f"{file} {error}") from error


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Unreadable(f"not JSON: {error}")


async def _chatbot_owner(conn: Conn, chatbot_id: ChatbotId) -> UserId:
    """The owner of the database may be kept from other tenants' rows too; the function is not."""
    owner = await chatbot_owner(conn, chatbot_id)
    if owner is None:
        raise Refused(f"there is no chatbot {chatbot_id}: see `swiftreplies chatbot create`")
    return owner
