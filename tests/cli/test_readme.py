"""The table of commands in README.md is the command line's."""

import argparse
import importlib
import re
from pathlib import Path

from cli.main import NOUNS, Noun

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_command_stands_in_the_readme_and_no_other() -> None:
    assert documented() == real()


def real() -> set[str]:
    commands = set()
    for noun, module, _ in NOUNS:
        parser = Noun()
        importlib.import_module(module).declare(parser)
        subs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        commands |= {f"{noun} {verb}" for sub in subs for verb in sub.choices} or {noun}
    return commands


def documented() -> set[str]:
    """The first words of what stands in backticks in the first column."""
    nouns = {noun for noun, _, _ in NOUNS}
    found = set()
    for line in README.splitlines():
        if line.startswith("| `swiftreplies"):
            for words in re.findall(
                r"`(?:swiftreplies )?([a-z]+(?: [a-z]+)?)", line.split(" | ")[0]
            ):
                noun, _, verb = words.partition(" ")
                if noun in nouns:
                    found.add(f"{noun} {verb}".strip())
    return found
