"""What all commands have in common: how one is declared, refused, and shown when it is done."""

import argparse
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

Verbs: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class Refused(Exception):
    """What was wrong and what to do, for stderr; exit code 1."""


def verbs(noun: argparse.ArgumentParser) -> Verbs:
    return noun.add_subparsers(
        required=True, metavar="COMMAND", parser_class=argparse.ArgumentParser
    )


def verb(of: Verbs, name: str, text: str) -> argparse.ArgumentParser:
    parser = of.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 2**31 - 1:
        raise argparse.ArgumentTypeError(f"not a whole number from 0 to 2147483647: {text!r}")
    return int(text)


def row_id(text: str) -> int:
    """Of what the database may have a row with."""
    if not text.isascii() or not text.isdigit() or int(text[:20]) > 2**63 - 1 or len(text) > 20:
        raise argparse.ArgumentTypeError(f"no id, which is a whole number: {text[:40]!r}")
    return int(text)


def moment(text: str) -> datetime:
    try:
        given = datetime.fromisoformat(text)
        if "T" in text and given.tzinfo is not None:
            return given.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError(
        f"no date and time with its zone, like 2030-01-31T17:00:00Z: {text[:40]!r}"
    )


def show(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """What tenants and customers named is among it: nothing of that steers a terminal."""
    print(json.dumps(result) if args.json else "\n".join(map(one_line, text.split("\n"))))


def one_line(value: object) -> str:
    """In which nothing begins a line of its own."""
    return "".join(c if c.isprintable() else " " for c in str(value))


def described_row(row: Mapping[str, Any]) -> str:
    """A line each."""
    return "\n".join(f"{name}: {one_line(value)}" for name, value in row.items())


def read_bounded(file: Path, most: int) -> bytes:
    """Of a pipe or a device too, whose size nobody tells."""
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise Refused(f"cannot read {file}: {error.strerror}") from error
    if len(data) > most:
        raise Refused(f"{file} has more than {most:,} bytes: import it in parts")
    return data
