"""What all commands have in common: how one is declared, refused, and shown when it is done."""

import argparse
import json
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


def show(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    print(json.dumps(result) if args.json else text)
