"""What models write around an answer: thoughts, calls of tools and marks of their templates. Some
servers take them out of the text, others leave some or all of them in. Pure.

Read by structure, not by model. A mark is a name in angle brackets, with bars or without, in
square ones and capitals, or after three backquotes: `<think>`, `<|channel|>`, `[TOOL_CALLS]`. What
it means is in its name. A thought ends with its end mark, or never; an end mark alone says that all
before it was thought. What is in the marks of tools is a call if it names a tool that was offered,
and its arguments are then a JSON object, pairs of keys and values in marks, or Python's keywords.
Nothing else of it is left.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import islice

from handlers.agent.completions.calls import Call
from handlers.agent.completions.written_calls import (
    calls_in,
    is_call,
    json_values,
    without_marks,
)

MAX_CHARS = 100_000  # of a text that is looked at; a reply has 4,096
MAX_MARKS = 300  # a text with more says nothing else

# Where none of these is, nor a tool's name, there is nothing to do.
_ANY = re.compile(r"<[|\uff5c\u2016/\s]*[A-Za-z]|\[/?[A-Z]{4}|\u25c1|```|\{|\Aanalysis")
_MARK = re.compile(
    r"<(?P<angle>[|\uff5c\u2016/\s]*[A-Za-z][^<>\n]{0,300})>"
    r"|\[(?P<square>/?[A-Z][A-Z_]{2,30})\]"
    r"|\u25c1(?P<pointed>/?\w{1,30})\u25b7"
    r"|```[ \t]*(?P<fence>\w{1,30})(?=\s)"
)
_BARS = "|\uff5c\u2016"
_NAME = re.compile(r"[a-z][\w.]*")
_BEGINS = re.compile(r"^(begin|start)(_of)?_|_(begin|start)$")
_ENDS = re.compile(r"^end(_of)?_|_end$")

_THOUGHT = re.compile(
    r"think|thinking|thoughts?|reason|reasoning|reasoning_content|reflection|analysis|scratch_?pad"
    r"|inner_monologue|chain_of_thought"
)
_TOOL = re.compile(
    r"(tools?|functions?|invoke|python_tag|calls?)"
    r"(_?(calls?|uses?|code|results?|responses?|outputs?|section))*"
)
_RESULT = re.compile(r"result|response|output", re.IGNORECASE)  # what a tool said, not a call
# Such a name alone may be a word of the answer ("press <call>"), unless something ends it too.
_MAY_BE_A_WORD = re.compile(r"thoughts?|reason|reflection|analysis|(tool|function|call)s?")
_INNER = re.compile(r"(.*_)?(sep|args?|arguments?|parameters?|name|id|key|value)(_.*)?")
_TURN_END = re.compile(r"im_end|eot_id|eom_id|endoftext|end_of_(text|turn|sentence)|eos")
_FORM = re.compile(
    r"(final_)?answer|response|solution|box|im_start|(start|begin)_of_(turn|text|sentence)|bos|inst"
    r"|pad|unk"
)
_ROLE = re.compile(r"\s*(assistant|model)\b[ \t]*\n", re.IGNORECASE)
_HARMONY_WITHOUT_MARKS = re.compile(r"\Aanalysis.*?assistant\s*final", re.DOTALL)
_HARMONY_END = re.compile(r"<\|(end|return|call|start|channel)\|>")


class _Means(Enum):
    THOUGHT = auto()
    TOOL = auto()
    INNER = auto()  # a part of a call
    TURN_END = auto()  # of what the assistant says
    FORM = auto()  # nothing


@dataclass(frozen=True, slots=True)
class Spoken:
    text: str
    calls: tuple[Call, ...] = ()
    thought: bool = False  # some of it was


@dataclass(frozen=True, slots=True)
class _Mark:
    start: int
    end: int
    means: _Means
    closes: bool
    alone: bool  # it closes itself: <think/>
    fence: bool
    sure: bool  # it is no word of the answer


@dataclass(slots=True)
class _Reading:
    said: list[str] = field(default_factory=list)
    of_tools: list[str] = field(default_factory=list)
    thought: bool = False

    @property
    def silent(self) -> bool:
        return not self.of_tools and not any(map(str.strip, self.said))


def read(text: str, tools: Collection[str]) -> Spoken:
    """`tools`: names of those that were offered."""
    text = text[:MAX_CHARS]
    if _ANY.search(text) is None and not any(name in text for name in tools):
        return Spoken(text)
    reading = _harmony(text) if "<|message|>" in text else _marked(text, tools)
    said = "".join(reading.said).strip()
    said = said.removeprefix("<s>").removesuffix("</s>")
    calls = [call for part in reading.of_tools for call in calls_in(part, tools)]
    bare, said = _bare_calls(said, tools)
    return Spoken(re.sub(r"\n{3,}", "\n\n", said), (*calls, *bare), reading.thought)


def _marked(text: str, tools: Collection[str]) -> _Reading:
    if leaked := _HARMONY_WITHOUT_MARKS.match(text):
        return _Reading([text[leaked.end() :]], thought=True)
    marks = list(islice(_marks(text, tools), MAX_MARKS + 1))
    if len(marks) > MAX_MARKS:
        return _Reading(thought=True)
    reading, place = _Reading(), 0
    for n, mark in enumerate(marks):
        if mark.start < place:
            continue
        if mark.means is _Means.THOUGHT and mark.closes and mark.sure:
            reading, place = _Reading(thought=True), mark.end  # all before it was thought
            continue
        opens = mark.means in (_Means.THOUGHT, _Means.TOOL) and not mark.closes
        end = _end(text, marks, n) if opens else mark.end
        if end is None:
            continue
        reading.said.append(text[place : mark.start])
        place = end
        if mark.means is _Means.TURN_END and not reading.silent:
            return reading
        if not opens and reading.silent and (role := _ROLE.match(text, place)):
            place = role.end()
        if opens and mark.means is _Means.TOOL and not _RESULT.search(text, mark.start, mark.end):
            reading.of_tools.append(text[mark.start : place])
        reading.thought |= opens and mark.means is _Means.THOUGHT and not mark.alone
    reading.said.append(text[place:])
    return reading


def _end(text: str, marks: Sequence[_Mark], opening: int) -> int | None:
    """Where what a mark opened is over; None: it opens nothing. Tools' marks are nested, thoughts
    are not: one that tells of the mark of thoughts would never end."""
    opened, depth = marks[opening], 1
    if opened.alone:
        return opened.end
    if opened.fence:
        end = text.find("```", opened.end)
        return len(text) if end < 0 else end + 3
    for mark in marks[opening + 1 :]:
        if mark.means is _Means.TURN_END and opened.means is _Means.TOOL and depth == 1:
            return mark.end
        if mark.means is opened.means and not mark.fence:
            if mark.closes:
                depth -= 1
            elif mark.means is _Means.TOOL:
                depth += 1
        if depth == 0:
            return mark.end
    return len(text) if opened.sure else None


def _marks(text: str, tools: Collection[str]) -> Iterator[_Mark]:
    for found in _MARK.finditer(text):
        fence = found["fence"] is not None
        inner = found["angle"] or found["square"] or found["pointed"] or found["fence"]
        left, right = inner[0] in _BARS, inner[-1] in _BARS
        name, closes = _name(inner)
        means = _meaning(name, inner, tools)
        if name == "channel" and left != right:
            means = _Means.THOUGHT
        if means is None and left and right:
            means = _Means.FORM  # some template's, whatever it is
        if means is None or (fence and means not in (_Means.THOUGHT, _Means.TOOL)):
            continue
        alone = inner.rstrip(_BARS + " ").endswith("/")
        sure = "=" in inner or left or _MAY_BE_A_WORD.fullmatch(name) is None
        closes = closes or (right and not left)
        yield _Mark(found.start(), found.end(), means, closes, alone, fence, sure)


def _name(inner: str) -> tuple[str, bool]:
    """Of a mark, without what says that it opens or closes. Names of namespaces are left out:
    `seed:think`, and `DSML` between bars."""
    plain = inner.lower().replace("\u2581", "_")
    words = [word for word in re.split(f"[{_BARS}\\s/]+", plain) if word not in ("", "dsml")]
    first = words[0] if words else ""
    found = _NAME.match(first.rpartition(":")[2])
    name = found[0] if found else ""
    closes = inner.lstrip(_BARS + " ").startswith("/")
    if not _TURN_END.fullmatch(name) and not _FORM.fullmatch(name):
        closes = closes or _ENDS.search(name) is not None
        name = _BEGINS.sub("", _ENDS.sub("", name)) or name
    return name, closes


def _meaning(name: str, inner: str, tools: Collection[str]) -> _Means | None:
    if _THOUGHT.fullmatch(name):
        return _Means.THOUGHT
    if name in tools or _TOOL.fullmatch(name):
        return _Means.TOOL
    if _INNER.fullmatch(name) and ("=" in inner or "_" in name or set(inner) & set(_BARS)):
        return _Means.INNER
    if _TURN_END.fullmatch(name) or (name in ("end", "return") and inner[0] in _BARS):
        return _Means.TURN_END
    return _Means.FORM if _FORM.fullmatch(name) else None


def _harmony(text: str) -> _Reading:
    """Channels, each with a message: the final one is the answer, those to a function are calls."""
    reading = _Reading(thought=True)
    for part in text.split("<|channel|>"):
        header, _, message = part.partition("<|message|>")
        end = _HARMONY_END.search(message)
        message = message[: end.start()] if end else message
        if "to=" in header:
            reading.of_tools.append(f"{header} {message}")
        elif header.strip().startswith("final"):
            reading.said.append(message)
    return reading


def _bare_calls(text: str, tools: Collection[str]) -> tuple[list[Call], str]:
    """Calls that stand in the text without a mark: JSON, Python or a line that names a tool that
    was offered; and JSON that is nothing but a call, whatever it names."""
    bare = text
    if text.startswith("```"):
        bare = re.sub(r"\A```\w*\s*", "", text).removesuffix("```").rstrip()
    alone = next(iter(json_values(bare)), None)
    if alone is not None and alone.start == 0 and alone.end == len(bare) and is_call(alone.value):
        return calls_in(bare, tools), ""
    if not any(name in text for name in tools):
        return [], text
    written, before = without_marks(text, tools)
    if written:
        return written, before
    calls: list[Call] = []
    for found in reversed(list(json_values(text))):
        if here := calls_in(text[found.start : found.end], tools, named=True):
            calls[:0] = here
            before, after = text[: found.start].rstrip(), text[found.end :].lstrip()
            before = re.sub(r"```\w{0,20}\Z", "", before)
            text = f"{before}\n{after.removeprefix('```')}".strip()
    return calls, text
