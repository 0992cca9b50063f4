"""An answer before it leaves: what it names and was not told is found, and removed. Pure."""

from dataclasses import dataclass
from typing import Final

from handlers.checks.claims import claims_in
from handlers.checks.contacts import Way, ways_in
from handlers.checks.removal import parts_to_remove, without
from handlers.checks.told import Told
from handlers.rules.amounts import Amount
from handlers.rules.prices import prices_in

AMOUNT: Final = "amount"
CLAIM: Final = "claim"
HIDDEN: Final = "\u2026"
FINDINGS_MAX, FINDING_CHARS = 20, 200


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
    ways = ways_in(text)
    strange = [way for way in ways if not told.leads(way)]
    findings = [Finding(way.kind, text[way.start : way.end]) for way in strange]
    removed = parts_to_remove(text, strange, ways) if strange else []
    claims = claims_in(text)
    unbacked = [one for one in claims if not told.backs(one.effect, text[one.start : one.end])]
    places = dict.fromkeys((one.start, one.end) for one in unbacked)
    for n, place in enumerate(places):
        findings.append(Finding(CLAIM, text[slice(*place)].strip()))
        removed.append((*place, f" {instead} " if n == 0 else " "))
    findings += [Finding(AMOUNT, text[one.start : one.end]) for one in _foreign(text, told)]
    shown = tuple(Finding(one.kind, one.text[:FINDING_CHARS]) for one in findings[:FINDINGS_MAX])
    return Checked(without(text, removed) if removed else text, shown)


def bare(text: str) -> str:
    """Without anything that would have to be told: of words that nobody stands for."""
    found: list[Way | Amount] = [*ways_in(text), *prices_in(text)]
    return without(text, [(one.start, one.end, HIDDEN) for one in found]) if found else text


def _foreign(text: str, told: Told) -> list[Amount]:
    return [one for one in prices_in(text) if not told.names(one)]
