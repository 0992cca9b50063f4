"""The tool itself: it takes out what it says, runs the copy, and does not call blindness health."""

import ast
import re
from pathlib import Path

import pytest

from tests.defences.catalogue import DEFENCES, Change, Defence
from tests.defences.run import (
    ROOT,
    Moved,
    NotTheCopy,
    Outcome,
    Row,
    assert_is_what_runs,
    copied,
    exit_code,
    run,
    take_out,
    without,
)

SIGNED = "tests/unit/test_signature.py"


def names_of_tests(file: Path) -> set[str]:
    return {n.name for n in ast.walk(ast.parse(file.read_text())) if hasattr(n, "name")}


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda d: d.name)
def test_it_is_where_it_was(defence: Defence, tmp_path: Path) -> None:
    for change in defence.changes:
        (tmp_path / change.file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / change.file).write_text((ROOT / change.file).read_text())
    take_out(tmp_path, defence)
    for change in defence.changes:
        assert (tmp_path / change.file).read_text() != (ROOT / change.file).read_text()
    for test in defence.tests:
        file, _, name = test.partition("::")
        assert not name or name.partition("[")[0] in names_of_tests(ROOT / file), test


def functions_of(migration: Path) -> dict[str, str]:
    found = re.finditer(
        r"CREATE (?:OR REPLACE )?FUNCTION (\w+)\(.*?\$\$;", migration.read_text(), re.DOTALL
    )
    return {match[1]: match[0] for match in found}


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda d: d.name)
def test_what_it_takes_out_of_a_function_is_in_force(defence: Defence) -> None:
    """A migration that replaces a function leaves the old text where it was."""
    migrations = sorted((ROOT / "db/migrations").glob("*.sql"))
    for change in defence.changes:
        for name, text in functions_of(ROOT / change.file).items():
            if "migrations" in change.file and change.old in text:
                last = [file for file in migrations if name in functions_of(file)][-1]
                assert ROOT / change.file == last, name


@pytest.mark.parametrize("text", ["nothing of it", "old and old"])
def test_what_has_moved_is_said(text: str) -> None:
    with pytest.raises(Moved, match=r"a\.py has this [02] times"):
        without(text, Change("a.py", "old", "new"))


def test_what_has_moved_ends_the_run() -> None:
    gone = Defence("x", "x", (Change("handlers/turns/run.py", "no such text"),), (SIGNED,))
    with pytest.raises(Moved):
        run([gone], lambda _: None)


def test_the_copy_is_what_runs() -> None:
    with copied() as copy:
        assert_is_what_runs(copy)
        with pytest.raises(NotTheCopy):
            assert_is_what_runs(copy / "docs")  # no packages there: the checkout's are found


SIGNATURE = Change("handlers/whatsapp/cloud_api/signature.py", "hmac.compare_digest(", "bool(")
COMMENT = Change("handlers/turns/run.py", "A turn: everything", "A turn. Everything")


def test_a_defence_that_nobody_misses_fails_the_run() -> None:
    said: list[str] = []
    missed = Defence("the signature", "x", (SIGNATURE,), (SIGNED,))
    unmissed = Defence("a comment", "x", (COMMENT,), (SIGNED,))
    assert run([missed, unmissed], said.append) == 1
    assert "| the signature | x | noticed | `test_" in said[-2]
    assert "| a comment | x | UNNOTICED | - |" in said[-1]


def test_tests_that_cannot_run_prove_nothing() -> None:
    said: list[str] = []
    gone = Defence("the signature", "x", (SIGNATURE,), ("tests/unit/test_that_was_removed.py",))
    assert run([gone], said.append) == 1
    assert said[1].startswith("  does not pass on the untouched copy: ")
    assert "| cannot be tried |" in said[-1]


@pytest.mark.parametrize(
    ("untouched", "gone", "code"),
    [
        (Outcome((), (), 3, 1), Outcome(("t",), (), 2, 1), 0),
        (Outcome((), (), 3, 1), Outcome((), (), 3, 1), 1),
        (Outcome((), (), 3, 1), Outcome((), ("t",), 0, 1), 1),
        (Outcome(("t",), (), 2, 1), Outcome(("t",), (), 2, 1), 1),
        (Outcome((), ("t",), 2, 1), Outcome(("t",), (), 2, 1), 1),
    ],
)
def test_the_exit_code(untouched: Outcome, gone: Outcome, code: int) -> None:
    defence = Defence("a comment", "x", (COMMENT,), (SIGNED,))
    assert exit_code(untouched, [Row(defence, gone)]) == code
