"""Where Markdown's marks begin and end, and where WhatsApp's may stand, in any script. Pure.

CommonMark decides by what stands beside a mark, with English in mind: between two letters, or
between a letter and a quotation mark, much is no mark. Words of Chinese, Japanese, Thai or Korean
stand beside their neighbours, so models write `我们的**“招牌”**很好`, and mean it. Here a mark may
open before whatever is no space, and close after it.

WhatsApp in turn shows *bold* only where no letter touches the stars from outside; else it shows the
stars. So such a mark is left out: the words matter, and a space would be wrong in Korean.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import regex
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Delimiter

# Letters of scripts in which words stand beside each other. An underscore between others is part
# of a name: file_name.
_WITHOUT_SPACES = regex.compile(
    r"[\p{Line_Break=SA}\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Tibetan}]"
)
_WORD = regex.compile(r"[\w\p{M}\p{Cf}]")
_FACTOR = r"(?:[0-9]+(?:[.,][0-9]+)?|[A-Za-z])"
_FACTOR_BEFORE = regex.compile(rf"(?<![A-Za-z0-9]){_FACTOR}( ?)\Z")
_FACTOR_AFTER = regex.compile(rf"( ?){_FACTOR}(?![A-Za-z0-9])")
_NEAR = 40  # characters in which a factor stands: nobody multiplies longer numbers
_PAIR = regex.compile(r"(?<!\*)\*\*(?!\*)|(?<!~)~~(?!~)")

# Stand for WhatsApp's marks until it is known what they touch. Noncharacters: no text has them.
OPENING = {"*": "\ufdd0", "_": "\ufdd1", "~": "\ufdd2"}
CLOSING = {"*": "\ufdd3", "_": "\ufdd4", "~": "\ufdd5"}
_MARKS = {sign: mark for signs in (OPENING, CLOSING) for mark, sign in signs.items()}
_SIGNS = regex.compile("[\ufdd0-\ufdd5]")


def tokenize(state: StateInline, silent: bool) -> bool:
    """The rule for * and _ of markdown-it, with other neighbours."""
    mark = state.src[state.pos]
    if silent or mark not in "*_":
        return False
    before, after, length = _neighbours(state)
    opens, closes = _opens(after), _opens(before)
    if mark == "_":
        opens, closes = opens and not _joins(before), closes and not _joins(after)
    if length > 3 or (length == 3 and before.isalnum() and after.isalnum()):
        opens = closes = False  # hides digits: ****1234
    for _ in range(length):
        _push(state, mark, length, opens, closes)
    state.pos += length
    return True


def tokenize_strike(state: StateInline, silent: bool) -> bool:
    """The rule for ~~, likewise."""
    if silent or state.src[state.pos] != "~":
        return False
    before, after, length = _neighbours(state)
    if length != 2:
        return False
    _push(state, "~~", 0, _opens(after), _opens(before))
    state.pos += length
    return True


def bare(text: str) -> str:
    """Without the signs that stand for marks."""
    return _SIGNS.sub("", text)


def without_strays(text: str) -> str:
    """A literal text without marks that found no partner. A power is none: 2**3."""
    return _PAIR.sub(
        lambda m: m[0] if m[0] == "**" and is_operator(text[: m.start()], text[m.end() :]) else "",
        text,
    )


def is_operator(before: str, after: str) -> bool:
    """Between two numbers or variables, as far from one as from the other, stars multiply."""
    left = _FACTOR_BEFORE.search(before[-_NEAR:])
    right = _FACTOR_AFTER.match(after[:_NEAR])
    return left is not None and right is not None and left[1] == right[1]


def is_shown(before: str, after: str) -> bool:
    """Whether WhatsApp takes a mark between these neighbours, each one character or none."""
    return not _WORD.match(before) and not _WORD.match(after)


def placed(text: str) -> str:
    """With WhatsApp's marks where signs stand for them, as far as they would be shown. On each line
    by themselves: a mark ends with its line."""
    plain, spans = _spans(text)
    ends: set[tuple[int, str]] = set()
    marks: list[tuple[int, int, int, int, str]] = []  # where; closing first; the inner one first
    for depth, span in sorted(enumerate(spans), key=lambda s: (s[1].start, -s[1].end, -s[0])):
        for line in _lines(span, plain):
            around = plain[max(0, line.start - 1) : line.start], plain[line.end : line.end + 1]
            if is_shown(*around) and (line.start, line.mark) not in ends:
                ends.add((line.end, line.mark))
                marks.append((line.start, 1, -line.end, -depth, line.mark))
                marks.append((line.end, 0, -line.start, depth, line.mark))
    out, last = [], 0
    for place, _, _, _, mark in sorted(marks):
        out += [plain[last:place], mark]
        last = place
    return "".join(out) + plain[last:]


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    mark: str


def _spans(text: str) -> tuple[str, Sequence[_Span]]:
    """The text without signs, and what they enclose there, inner ones first."""
    out: list[str] = []
    spans: list[_Span] = []
    opened: dict[str, list[int]] = {mark: [] for mark in OPENING}
    length = 0
    for piece in regex.splititer("([\ufdd0-\ufdd5])", text):
        mark = _MARKS.get(piece)
        if mark is None:
            out.append(piece)
            length += len(piece)
        elif piece == OPENING[mark]:
            opened[mark].append(length)
        elif opened[mark]:
            spans.append(_Span(opened[mark].pop(), length, mark))
    return "".join(out), spans


def _lines(span: _Span, text: str) -> list[_Span]:
    found, start = [], span.start
    for line in text[span.start : span.end].split("\n"):
        left = start + len(line) - len(line.lstrip())
        right = start + len(line.rstrip())
        if left < right:
            found.append(_Span(left, right, span.mark))
        start += len(line) + 1
    return found


def _neighbours(state: StateInline) -> tuple[str, str, int]:
    """What stands before and after a run of one mark, and the run's length."""
    start, mark, end = state.pos, state.src[state.pos], state.pos
    while end < state.posMax and state.src[end] == mark:
        end += 1
    after = state.src[end] if end < state.posMax else ""
    return state.src[start - 1] if start else "", after, end - start


def _opens(after: str) -> bool:
    return bool(after) and not after.isspace()


def _joins(neighbour: str) -> bool:
    return bool(_WORD.match(neighbour)) and not _WITHOUT_SPACES.match(neighbour)


def _push(state: StateInline, mark: str, length: int, opens: bool, closes: bool) -> None:
    token = state.push("text", "", 0)
    token.content = mark
    state.delimiters.append(
        Delimiter(
            marker=ord(mark[0]),
            length=length,
            token=len(state.tokens) - 1,
            end=-1,
            open=opens,
            close=closes,
        )
    )
