"""A copy of the checkout without one defence, and the tests that run in it."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.defences.catalogue import Change, Defence

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("swiftreplies")
PATIENCE_S = 300.0


class Moved(Exception):
    """What was to be taken out is not there, or there several times."""


class NotTheCopy(Exception):
    """What ran is not the copy's code, so the result would mean nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    failed: tuple[str, ...]
    broken: tuple[str, ...]  # could not even be tried: an error outside the test itself
    passed: int
    seconds: float


def without(text: str, change: Change) -> str:
    found = text.count(change.old)
    if found != 1:
        raise Moved(f"{change.file} has this {found} times instead of once:\n{change.old}")
    return text.replace(change.old, change.new)


def take_out(checkout: Path, defence: Defence) -> None:
    for change in defence.changes:
        file = checkout / change.file
        file.write_text(without(file.read_text(), change))


@contextmanager
def copied() -> Iterator[Path]:
    """The files that git knows or would, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    with tempfile.TemporaryDirectory(prefix="swiftreplies-defences-") as directory:
        copy = Path(directory)
        for name in listed.decode().split("\0"):
            if name and (ROOT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, copy / name)
        yield copy


def environment(copy: Path) -> dict[str, str]:
    """The copy's packages before those that .venv points to, also in processes that tests start."""
    return {**os.environ, "PYTHONPATH": str(copy)}


def assert_is_what_runs(copy: Path) -> None:
    """Asks Python itself which files it loads, here and in the product's command."""
    modules = "cli, db, handlers, ingress, local, simulator, tests, worker"
    for arguments, wanted in (
        ([sys.executable, "-c", f"import {modules}"], ("db", "handlers", "tests", "worker")),
        ([str(COMMAND), "--help"], ("cli",)),
    ):
        said = subprocess.run(
            arguments,
            cwd=copy,
            env={**environment(copy), "PYTHONVERBOSE": "1"},
            check=True,
            capture_output=True,
            text=True,
        ).stderr
        missing = [name for name in wanted if f"{copy}/{name}/" not in said]
        foreign = [name for name in modules.split(", ") if f"{ROOT}/{name}/" in said]
        if missing or foreign:
            raise NotTheCopy(f"{arguments}: not from {copy}: {missing}; from {ROOT}: {foreign}")


def tried(copy: Path, tests: Sequence[str], *, until_one_fails: bool) -> Outcome:
    started = time.monotonic()
    report = copy / "report.xml"
    arguments = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    if until_one_fails:
        arguments.insert(0, "-x")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=copy,
        env=environment(copy),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    if ran.returncode not in (0, 1):  # 4: no such test, 2: it could not be collected
        return Outcome((), (ran.stdout[-2_000:],), 0, time.monotonic() - started)
    cases = list(ET.parse(report).getroot().iter("testcase"))
    name = {case: f"{case.get('classname')}.{case.get('name')}" for case in cases}
    failed = tuple(name[c] for c in cases if c.find("failure") is not None)
    broken = tuple(name[c] for c in cases if c.find("error") is not None)
    passed = sum(c.find("failure") is None and c.find("error") is None for c in cases)
    return Outcome(failed, broken, passed, time.monotonic() - started)


@dataclass(frozen=True, slots=True)
class Row:
    defence: Defence
    outcome: Outcome

    @property
    def verdict(self) -> str:
        if self.outcome.failed:
            return "noticed"
        return "cannot be tried" if self.outcome.broken else "UNNOTICED"


def control(defences: Sequence[Defence]) -> Outcome:
    """Every test that is to notice something, once, with nothing taken out."""
    tests = dict.fromkeys(test for defence in defences for test in defence.tests)
    with copied() as copy:
        assert_is_what_runs(copy)
        return tried(copy, list(tests), until_one_fails=False)


def tried_without(defence: Defence) -> Row:
    with copied() as copy:
        take_out(copy, defence)
        return Row(defence, tried(copy, defence.tests, until_one_fails=True))


def run(defences: Sequence[Defence], say: Callable[[str], None]) -> int:
    """0: the tests pass as things are, and each defence is missed when it is gone."""
    untouched = control(defences)
    say(f"nothing taken out: {untouched.passed} tests passed in {untouched.seconds:.0f} s")
    for name in (*untouched.failed, *untouched.broken):
        say(f"  does not pass on the untouched copy: {name}")
    say("\n| defence | taken out | | first test that fails | s |\n|---|---|---|---|---|")
    rows = []
    for defence in defences:
        row = tried_without(defence)
        rows.append(row)
        say(line(row))
    return exit_code(untouched, rows)


def exit_code(untouched: Outcome, rows: Sequence[Row]) -> int:
    sound = not untouched.failed and not untouched.broken
    return 0 if sound and all(row.verdict == "noticed" for row in rows) else 1


def line(row: Row) -> str:
    first = next(iter((*row.outcome.failed, *row.outcome.broken)), "-")
    test = first.rpartition(".test_")[2]
    shown = f"`test_{test.partition('[')[0]}`" if row.outcome.failed else first.strip()
    cells = (row.defence.name, row.defence.removed, row.verdict, shown)
    return f"| {' | '.join(cells)} | {row.outcome.seconds:.0f} |"
