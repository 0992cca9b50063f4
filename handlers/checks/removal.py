"""What goes of an answer with something that may not stand in it, so that what is left can be read.
Pure.

A link that goes leaves "See." behind, and "Our number is.": so the sentence goes with it, or its
part between commas where the rest is long enough to say something. What also names something that
was told stays, without the word that joined the two.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import regex

from handlers.checks.contacts import Way
from handlers.rules.texts import words

ENOUGH: Final = 5  # words of a sentence that say something
Part = tuple[int, int, str]  # and what stands instead of it

_ENDS = r".!?\u061f\u3002\uff01\uff1f\u0964"
# "Tel. 030 ...": no sentence ends before the number.
_SHORT = (
    r"(?<=(?<!\p{L})(?:tel|t\u00e9l|ph|mob|fax|no|nr|ref|art|\u0442\u0435\u043b))\.(?=\s*\ufffc)"
)
_SENTENCE = regex.compile(
    rf"(?:[^{_ENDS}\n]|\.(?=[^\s.])|{_SHORT})+(?:[{_ENDS}]+|(?=\n)|$)|[{_ENDS}]+",
    regex.IGNORECASE,
)
_CLAUSE = regex.compile(r"(?:[^,;\u060c\uff0c\u3001]|,(?=\S))+[,;\u060c\uff0c\u3001]*\s*")
_JOINS = (
    r"(?:or|and|oder|und|o|u|y|ou|e|et|ed|od|of|en|veya|ve|atau|dan|\u0438\u043b\u0438|\u0438"
    r"|\u0623\u0648|\u0648|\u092f\u093e|\u0914\u0930|\u6216|\u548c)"
)
_BRACKETS = regex.compile(r"\([^()\n]{1,300}\)")
_COMMA = regex.compile(r"[,;\s\u060c\uff0c\u3001]+$")
_ENDING = regex.compile(rf"[{_ENDS}]*$")
_JOINED = regex.compile(  # "or", "or at"
    rf"(?:,\s*|,?\s+{_JOINS}(?:\s+\p{{L}}{{1,4}})?\s+|\s+{_JOINS}\s*,\s*|\s*[/|]\s*)$",
    regex.IGNORECASE,
)
_JOINING = regex.compile(rf"^(?:,?\s*{_JOINS}\s+|\s*[/|]\s*)", regex.IGNORECASE)
_MARK = "\ufffc"  # stands for a way: no end of a sentence is within one

_EMPTY = regex.compile(r"\(\s*\)|\[\s*\]|<\s*>|(?<!\S)[:\u2192-]+(?=\s*$)", regex.M)
_BLANKS = regex.compile(r"[ \t]{2,}")
_LOOSE = regex.compile(r"[ \t]+(?=[.,;!?\n]|$)", regex.M)
_LINES = regex.compile(r"\n{3,}")
_MARKS = regex.compile(r"(?<=[^\n] )[*_~`]{1,2}(?=[ \t]*$)", regex.M)  # of a sentence that went
_NUMBERS = regex.compile(r"^[ \t]*(?:\d+[.)]|[-*\u2022>])[ \t]*$\n?", regex.M)  # of a list's line
_TIDY = ((_EMPTY, ""), (_MARKS, ""), (_NUMBERS, ""), (_BLANKS, " "), (_LOOSE, ""), (_LINES, "\n\n"))
_SAYS = regex.compile(r"[\p{L}\p{N}]")


def parts_to_remove(text: str, strange: Sequence[Way], ways: Sequence[Way]) -> list[Part]:
    """`strange`: those of the ways that may not stand there."""
    masked = list(text)
    for way in ways:
        masked[way.start : way.end] = _MARK * (way.end - way.start)
    shown = "".join(masked)
    brackets = [match.span() for match in _BRACKETS.finditer(shown)]
    found: list[Part] = []
    loose: list[Way] = []
    for way in strange:
        around = next((one for one in brackets if one[0] < way.start < one[1]), None)
        if around is None:
            loose.append(way)
        else:
            found.append((*around, ""))
    own = [way.start for way in ways if way not in strange]
    for match in _SENTENCE.finditer(shown) if loose else ():
        within = [way for way in loose if match.start() <= way.start < match.end()]
        if within:
            found += _of_sentence(shown, match.span(), within, own)
    return found


def _of_sentence(
    shown: str, span: tuple[int, int], strange: Sequence[Way], own: Sequence[int]
) -> Iterator[Part]:
    start, end = span
    if any(start <= way < end for way in own):
        yield from (_alone(shown, span, way) for way in strange)
        return
    clauses = [match.span() for match in _CLAUSE.finditer(shown, start, end)]
    gone = [one for one in clauses if any(one[0] <= way.start < one[1] for way in strange)]
    kept = [one for one in clauses if one not in gone]
    says = " ".join(shown[slice(*one)] for one in kept)
    if not kept or kept[0] != clauses[0] or len(words(says)) < ENOUGH:
        is_line = shown[start - 1 : start] in ("", "\n") and shown[end : end + 1] == "\n"
        yield (start, end + is_line, "")
        return
    yield from ((*one, "") for one in gone)
    if clauses[-1] in gone and (comma := _COMMA.search(shown, *kept[-1])) is not None:
        ending = _ENDING.search(shown, start, end)
        yield (*comma.span(), ending[0] if ending is not None else "")


def _alone(shown: str, span: tuple[int, int], way: Way) -> Part:
    """With the word that joins it to what was told."""
    before, after = shown[span[0] : way.start], shown[way.end : span[1]]
    if (joined := _JOINED.search(before)) is not None:
        return (way.start - len(joined[0]), way.end, "")
    if (joining := _JOINING.search(after)) is not None:
        return (way.start, way.end + len(joining[0]), "")
    return (way.start, way.end, "")


def without(text: str, removed: Sequence[Part]) -> str:
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
    for pattern, by in _TIDY:
        left = pattern.sub(by, left)
    return left.strip() if _SAYS.search(left) else ""
