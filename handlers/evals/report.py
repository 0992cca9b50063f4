"""A run for people and for build servers: a table, JSON, JUnit's XML. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape, quoteattr

SAID_CHARS = 200  # of an answer, in a table
FINDINGS_SHOWN = 6  # of a case, in a table
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """A case; `result` is as results.case_json() makes it, None of one that was not run."""

    name: str
    passed: bool
    result: Mapping[str, Any] | None
    fell: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    eval_id: int
    suite: str
    repeat: int
    status: str
    reason: str | None
    tokens: int
    cases: Sequence[Reported] = field(default_factory=list)
    baseline: bool = False  # it is to be compared with the last run
    compared: bool = False  # and there is one

    @property
    def passed(self) -> bool:
        return self.status == "done" and all(case.passed for case in self.cases)


def as_json(report: Report) -> dict[str, Any]:
    return {
        "eval_id": report.eval_id,
        "suite": report.suite,
        "status": report.status,
        "reason": report.reason,
        "passed": report.passed,
        "repeat": report.repeat,
        "tokens": report.tokens,
        "compared": report.compared,
        "fell": [case.name for case in report.cases if case.fell],
        "cases": [
            {"name": case.name, "passed": case.passed}
            | ({"skipped": report.reason} if case.result is None else dict(case.result))
            for case in report.cases
        ],
    }


# ---- for people ----------------------------------------------------------------------------------


def table(report: Report) -> str:
    """Lines as they are: who prints them makes what tenants wrote harmless."""
    lines = [line for case in report.cases for line in _case_lines(case, report.repeat)]
    passed = sum(case.passed for case in report.cases)
    skipped = sum(case.result is None for case in report.cases)
    end = f"{passed} of {len(report.cases)} passed, {report.tokens:,} tokens"
    lines += ["", end + (f"; {skipped} not run: {report.reason}" if skipped else "")]
    fell = [case.name for case in report.cases if case.fell]
    if report.compared:
        lines.append(f"fell since the last run: {', '.join(fell) if fell else 'none'}")
    elif report.baseline:
        lines.append("there is no run before that this could be compared with")
    return "\n".join(lines)


def _case_lines(case: Reported, repeat: int) -> list[str]:
    if case.result is None:
        return [f"  --    {case.name}"]
    share = f" {case.result['passed_runs']}/{case.result['runs']}" if repeat > 1 else ""
    mark = "ok  " if case.passed else "FAIL"
    lines = [f"  {mark}{share}  {case.name}{'  (fell)' if case.fell else ''}"]
    findings = case.result["findings"]
    for one in findings[:FINDINGS_SHOWN]:
        where = f"line {one['line']}" + (f", run {one['run']}" if repeat > 1 else "")
        lines.append(f"          {where}: {one['check']}: {one['why']}")
    if len(findings) > FINDINGS_SHOWN:
        lines.append(f"          and {len(findings) - FINDINGS_SHOWN} more")
    if not case.passed:
        lines += [f"          it said: {_said(turn)}" for turn in case.result.get("turns") or ()]
    lines += [f"          judge: {_verdict(one)}" for one in case.result["judged"]]
    return lines


def _said(turn: Mapping[str, Any]) -> str:
    text = " ".join(turn["answer"].split())
    if not text:
        return f"nothing ({turn['reason'] or 'there was nothing to answer'})"
    return text if len(text) <= SAID_CHARS else f"{text[:SAID_CHARS]}\u2026"


def _verdict(one: Mapping[str, Any]) -> str:
    word = {True: "holds", False: "does not hold", None: "not judged"}[one["held"]]
    return f"{one['judge']}: {word} ({one['why']})"


# ---- for build servers ---------------------------------------------------------------------------


def junit(report: Report) -> str:
    failures = sum(not case.passed and case.result is not None for case in report.cases)
    skipped = sum(case.result is None for case in report.cases)
    seconds = sum(case.result["ms"] for case in report.cases if case.result is not None) / 1_000
    counts = (
        f'tests="{len(report.cases)}" failures="{failures}" errors="0" skipped="{skipped}"'
        f' time="{seconds:.3f}"'
    )
    cases = "\n".join(_junit_case(report, case) for case in report.cases)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<testsuites {counts}>\n"
        f"<testsuite name={_attribute(report.suite)} {counts}>\n"
        f"{cases}\n</testsuite>\n</testsuites>\n"
    )


def _junit_case(report: Report, case: Reported) -> str:
    ms = case.result["ms"] if case.result is not None else 0
    begin = (
        f"<testcase classname={_attribute(report.suite)} name={_attribute(case.name)}"
        f' time="{ms / 1_000:.3f}"'
    )
    if case.result is None:
        return f"{begin}><skipped message={_attribute(report.reason or 'not run')}/></testcase>"
    if case.passed:
        return f"{begin}/>"
    whys = [f"{one['check']}: {one['why']}" for one in case.result["findings"]]
    text = "\n".join(_case_lines(case, report.repeat))
    message = _attribute(whys[0] if whys else "failed")
    return f"{begin}><failure message={message}>{escape(_xml(text))}</failure></testcase>"


def _attribute(text: str) -> str:
    return quoteattr(_xml(text))


def _xml(text: str) -> str:
    """Without what no XML may have, escaped or not."""
    return _NO_XML.sub("\ufffd", text)
