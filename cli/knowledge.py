"""`swiftreplies kb`: what chatbots know, from a file."""

import argparse
import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.command import Refused, show, verb, verbs
from cli.operating import as_owner
from cli.spreadsheet import Unclear, Unreadable, decoded, records
from db.chatbots import chatbot_owner
from db.ids import ChatbotId, UserId
from db.knowledge import import_knowledge
from db.pool import Conn, tenant_transaction
from handlers.process.configuration import Environment
from handlers.rules.texts import storable

MAX_FILE_BYTES = 128 * 1024 * 1024
MAX_QUESTION_CHARS = 2_000
MAX_ANSWER_CHARS = 8_000
MAX_CATEGORY_CHARS = 100


def declare(noun: argparse.ArgumentParser) -> None:
    load = verb(verbs(noun), "import", "questions and answers from a CSV or JSONL file")
    load.add_argument("--chatbot", type=int, required=True, metavar="ID")
    load.add_argument("file", type=Path, metavar="FILE", help="question, answer, category")
    load.set_defaults(run=_import)


def _import(args: argparse.Namespace) -> None:
    report = asyncio.run(
        kb_import(Environment(os.environ), chatbot_id=args.chatbot, file=args.file)
    )
    lines = [f"{report['inserted']} inserted, {report['updated']} updated"]
    lines += [f"line {r['line']} rejected: {r['why']}" for r in report["rejected"]]
    show(args, report, "\n".join(lines))
    if report["rejected"] and not report["inserted"] and not report["updated"]:
        raise Refused("nothing was imported")


@dataclass(frozen=True, slots=True)
class KnowledgeRow:
    question: str
    answer: str
    category: str | None


async def kb_import(env: Environment, *, chatbot_id: int, file: Path) -> dict[str, Any]:
    rows, rejected = read_knowledge(file)
    async with as_owner(env) as conn:
        owner = await _chatbot_owner(conn, ChatbotId(chatbot_id))
        # All or nothing, and in one statement: its triggers run once, at its end.
        async with tenant_transaction(conn, owner):
            new = await import_knowledge(
                conn,
                owner,
                ChatbotId(chatbot_id),
                [r.question for r in rows],
                [r.answer for r in rows],
                [r.category for r in rows],
            )
    return {"inserted": sum(new), "updated": len(new) - sum(new), "rejected": rejected}


def read_knowledge(file: Path) -> tuple[list[KnowledgeRow], list[dict[str, Any]]]:
    """The good rows, and for each bad line where it is and why."""
    rows: dict[str, KnowledgeRow] = {}
    lines: dict[str, int] = {}
    rejected: list[dict[str, Any]] = []
    for line, value in _records(file):
        row = _knowledge_row(value)
        if isinstance(row, str):
            rejected.append({"line": line, "why": row})
        elif row.question in rows:
            why = f"the same question as line {lines[row.question]}"
            rejected.append({"line": line, "why": why})
        else:
            rows[row.question] = row
            lines[row.question] = line
    return list(rows.values()), rejected


def _records(file: Path) -> Iterator[tuple[int, Any]]:
    """Where a record starts, and the record: a JSON value or, of CSV, a dict; or what is wrong."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise Refused(f"{file} has more than {MAX_FILE_BYTES:,} bytes: import it in parts")
        text = decoded(file.read_bytes())
        if file.suffix.lower() in (".jsonl", ".ndjson"):
            yield from _json_lines(text)
        else:
            yield from records(text)
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    except Unclear as error:
        raise Refused(f"{file} {error}") from error


def _json_lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Unreadable(f"not JSON: {error}")


def _knowledge_row(value: Any) -> KnowledgeRow | str:
    if isinstance(value, Unreadable):
        return value.why
    if not isinstance(value, dict):
        return "not an object with question and answer"
    limits = {
        "question": MAX_QUESTION_CHARS,
        "answer": MAX_ANSWER_CHARS,
        "category": MAX_CATEGORY_CHARS,
    }
    fields: dict[str, str] = {}
    for name, limit in limits.items():
        text = value.get(name)
        if text is not None and not isinstance(text, str):
            return f"{name} is not a text"
        text = (text or "").strip()
        if not text and name != "category":
            return f"{name} is empty"
        if len(text) > limit:
            return f"{name} has {len(text)} characters, {limit} at most"
        if storable(text) != text:
            return f"{name} has a character that cannot be stored"
        fields[name] = text
    return KnowledgeRow(fields["question"], fields["answer"], fields["category"] or None)


async def _chatbot_owner(conn: Conn, chatbot_id: ChatbotId) -> UserId:
    """The owner of the database may be kept from other tenants' rows too; the function is not."""
    owner = await chatbot_owner(conn, chatbot_id)
    if owner is None:
        raise Refused(f"there is no chatbot {chatbot_id}: see `swiftreplies chatbot create`")
    return owner
