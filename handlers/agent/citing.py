"""Which rows an answer is made from: a model says it in a last line, `[[12, 15]]`, which is taken
off before anybody reads it. Pure.

Models write that line in many ways, and a cut answer ends in the middle of it; none of them may
reach a customer. What it names is checked against the rows that were shown.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

KB_CITED = "kb_cited"  # in an answer's response_metadata: ids, and nothing is left to take off
SAYS_NOTHING = "says_nothing"  # the same: that no row answers
ROWS_TOLD = 500  # ids that are kept of what was shown
_ID_DIGITS = 18  # of a bigint; longer ones are nobody's

# With bounds, so that no text takes long to look through.
TEXT_MAX = 8_192  # twice what WhatsApp takes
_WORDS = r"(?:(?:kb[_ ]?)?(?:ids?|rows?|no|none|null)\s{0,3}[:=#.]?\s{0,3}){0,4}"
_IDS = r"[\d\s,;#\"'`&|\[\]\\?-]{0,200}"
# Two brackets before it, on one line or until the text ends in it. Of many it begins at the first,
# or each of them would have all the others looked through.
_MARK = re.compile(
    rf"(?P<before>[*_`(]{{0,3}})(?<![\[\u3010\\])(?<![\[\u3010]\s)\\?[\[\u3010]\s?\\?[\[\u3010]\s{{0,3}}(?P<inner>{_WORDS}{_IDS})"
    rf"(?:\\?[\]\u3011]\s?\\?[\]\u3011](?P<after>[*_`)]{{0,3}})|\\?[\]\u3011]?\Z)",
    re.IGNORECASE,
)
# Its first bracket was lost, or both.
_LAST = re.compile(r"[\s\\\[]{0,4}(?P<inner>\d[\d ,;#]{0,200})\\?\]\\?\]\Z")
_BEGUN = re.compile(r"\\?\[(?:\s?\\?\[?)\Z")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Cited:
    text: str  # for the customer
    rows: tuple[int, ...]  # that were shown
    strangers: int = 0  # ids that were not
    says_nothing: bool = False  # it names no row, and says so: what was asked is not known


def cited(text: str, shown: Collection[int]) -> Cited:
    text = text[:TEXT_MAX].strip()
    found: list[str] = []
    says_nothing = False
    rest, at = "", 0
    for mark in _MARK.finditer(text):
        whole = mark.group().rstrip("*_`)").endswith(("]", "\u3011"))
        numbers = _numbers(mark["inner"], whole=whole)
        found += numbers
        says_nothing |= whole and not numbers
        rest += text[at : mark.start()] + _around(mark)
        at = mark.end()
        if rest.endswith(" ") and text[at : at + 1] == " ":
            at += 1
    rest += text[at:]
    before, _, line = rest.rpartition("\n")
    if not at and (last := _LAST.fullmatch(line)) is not None:
        found += _numbers(last["inner"], whole=True)
        rest = before
    rest = _BEGUN.sub("", rest)
    ids = dict.fromkeys(int(one) if len(one) <= _ID_DIGITS else 0 for one in found)
    known = tuple(one for one in ids if one in shown)
    return Cited(
        text if rest == text else _tidy(rest),
        known,
        strangers=len(ids) - len(known),
        says_nothing=says_nothing and not found,
    )


def _numbers(inner: str, *, whole: bool) -> list[str]:
    """Of a line that breaks off the last number may be half of one."""
    numbers = _NUMBER.findall(inner)
    if not whole and numbers and inner.rstrip("]\u3011\\")[-1:].isdigit():
        numbers.pop()
    return numbers


def _around(mark: "re.Match[str]") -> str:
    """Emphasis that was only around the mark goes with it."""
    before, after = mark["before"], mark["after"] or ""
    return "" if len(before) == len(after) or not mark["after"] else before + after


def _tidy(text: str) -> str:
    lines = [line.rstrip() for line in text.split("\n")]
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
    return re.sub(r" +([.,!?;:])", r"\1", joined).strip()
