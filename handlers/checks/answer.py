"""An answer before it leaves: what it names and was not told is found, and removed. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import regex

from handlers.checks.claims import claims_in
from handlers.checks.contacts import Way, ways_in
from handlers.checks.told import Told
from handlers.rules.amounts import Amount
from handlers.rules.prices import prices_in

AMOUNT: Final = "amount"
CLAIM: Final = "claim"
HIDDEN: Final = "\u2026"
FINDINGS_MAX, FINDING_CHARS = 20, 200

_EMPTY = regex.compile(r"\(\s*\)|\[\s*\]|<\s*>|(?<!\S)[:\u2192-]+(?=\s*$)", regex.M)
_BLANKS = regex.compile(r"[ \t]{2,}")
_LOOSE = regex.compile(r"[ \t]+(?=[.,;!?\n]|$)", regex.M)
_LINES = regex.compile(r"\n{3,}")
_MARKS = regex.compile(r"(?<=[^\n] )[*_~`]{1,2}(?=[ \t]*$)", regex.M)  # of a sentence that went
_SAYS = regex.compile(r"[\p{L}\p{N}]")


@dataclass(frozen=True, slots=True)
class Finding:
    kind: str  # link, email, phone, account, amount, claim
    text: str


@dataclass(frozen=True, slots=True)
class Checked:
    text: str  # without what was found, amounts apart; empty: nothing is left that says something
    findings: tuple[Finding, ...]

    def has(self, kind: str) -> bool:
        return any(finding.kind == kind for finding in self.findings)


def foreign_amounts(text: str, told: Told) -> list[str]:
    """As they are written, those that were not told."""
    return [text[one.start : one.end] for one in _foreign(text, told)]


def checked(text: str, told: Told, instead: str) -> Checked:
    """`instead` stands where a sentence claims what nobody did."""
    findings: list[Finding] = []
    removed: list[tuple[int, int, str]] = []
    for way in ways_in(text):
        if not told.leads(way):
            findings.append(Finding(way.kind, text[way.start : way.end]))
            removed.append((way.start, way.end, ""))
    claims = claims_in(text)
    unbacked = [one for one in claims if not told.backs(one.effect, text[one.start : one.end])]
    for n, place in enumerate(dict.fromkeys((one.start, one.end) for one in unbacked)):
        findings.append(Finding(CLAIM, text[slice(*place)].strip()))
        removed.append((*place, f" {instead} " if n == 0 else " "))
    findings += [Finding(AMOUNT, text[one.start : one.end]) for one in _foreign(text, told)]
    shown = tuple(Finding(one.kind, one.text[:FINDING_CHARS]) for one in findings[:FINDINGS_MAX])
    return Checked(_without(text, removed) if removed else text, shown)


def bare(text: str) -> str:
    """Without anything that would have to be told: of words that nobody stands for."""
    found: list[Way | Amount] = [*ways_in(text), *prices_in(text)]
    return _without(text, [(one.start, one.end, HIDDEN) for one in found]) if found else text


def _foreign(text: str, told: Told) -> list[Amount]:
    return [one for one in prices_in(text) if not told.names(one)]


def _without(text: str, removed: Sequence[tuple[int, int, str]]) -> str:
    """What is removed of a sentence that goes goes with it."""
    kept: list[str] = []
    at = 0
    for start, end, instead in sorted(removed, key=lambda one: (one[0], -one[1])):
        if start < at:
            if end > at:
                at = end
            continue
        kept += [text[at:start], instead]
        at = end
    left = "".join([*kept, text[at:]])
    for pattern, by in ((_EMPTY, ""), (_MARKS, ""), (_BLANKS, " "), (_LOOSE, ""), (_LINES, "\n\n")):
        left = pattern.sub(by, left)
    return left.strip() if _SAYS.search(left) else ""
