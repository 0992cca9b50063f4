"""A recorded conversation as a case of a suite: what the customer wrote, and, as a proposal, that
the bot does again what it did then. Its words are not expected: a model has others each time. Pure.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from db.recorded import RecordedAction, RecordedMessage, RecordedTalk
from handlers.evals.reading import CONTACT_CHARS
from handlers.evals.recorded import Alone, Person, Step, Wrote, steps_of, text_of
from handlers.evals.suite import (
    AFTER_MAX,
    NAME_CHARS,
    TEXTS_MAX,
    TURNS_MAX,
)
from handlers.evals.writing import item, mapping, quoted, remark
from handlers.rules.cutting import both_ends, head
from handlers.rules.reply import MAX_CHARS

MESSAGES_MAX = 400  # that are looked at
ACTIONS_MAX = 200
BYTES_MAX = 160 * 1024  # of the text: a suite has room for other cases
BURST_BYTES = 64 * 1024  # of them, for what was written at once
SHOWN_UNITS = 300  # of what was said, in a remark
LEFT_OUT = " [\u2026] "
LONG = timedelta(minutes=5)  # between two turns: it is told
TAKEN_OVER = "taken_over"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """What a case is made of."""

    talk: RecordedTalk
    messages: Sequence[RecordedMessage]
    actions: Sequence[RecordedAction] = ()
    facts: Sequence[tuple[str, str]] = ()
    questions: Mapping[int, str] = field(default_factory=dict)  # of the rows that were cited


@dataclass(frozen=True, slots=True)
class CaseText:
    case: str  # an entry of a suite's cases
    suite: str  # one with this case alone


def case_of(recorded: Recorded) -> CaseText | None:
    """None: the customer wrote nothing that could be asked again."""
    talk = recorded.talk
    turns = _bounded(recorded, list(_seen(steps_of(recorded.messages))))
    if not any(turn.says for turn in turns):
        return None
    if not any(turn.expects for turn in turns):
        last = next(turn for turn in reversed(turns) if turn.says)
        last.lines.extend(
            mapping({"expect": {"silent": False}}, 2)
        )  # a case has to be able to fall
    first = next(turn.at for turn in turns if turn.at is not None)
    lines = [f"name: {quoted(f'conversation {talk.id}')}", *_setup(recorded)]
    lines += ["turns:", *(line for turn in turns for line in turn.lines)]
    return _text(talk.chatbot_name, lines, first.astimezone(ZoneInfo(talk.timezone)))


def case_of_question(chatbot_name: str, number: int, question: str, asked: datetime) -> CaseText:
    """Of what nothing answered. It falls until a row with this question is there and is used."""
    told = remark("the question of the row that is to answer it")
    expect = {"cites": [_cut(question)], "handed_over": False}
    turn = item([*mapping({"say": _cut(question)}, 2), f"    {told}"], 1)
    turn += mapping({"expect": expect}, 2)
    lines = [f"name: {quoted(f'unanswered question {number}')}", "turns:", *turn]
    return _text(chatbot_name, lines, asked)


def _text(chatbot_name: str, lines: list[str], at: datetime) -> CaseText:
    case = "\n".join(item(lines[:1], 0) + [f"  {line}" for line in lines[1:]])
    bot = "".join(c if c.isprintable() else " " for c in chatbot_name)
    begun = [f"bot: {quoted(head(bot, NAME_CHARS).strip() or 'bot')}", f"now: {at:%Y-%m-%dT%H:%M}"]
    indented = "\n".join(f"  {line}" for line in case.split("\n"))
    return CaseText(f"{case}\n", "\n".join([*begun, "cases:", indented]) + "\n")


@dataclass(frozen=True, slots=True)
class _Turn:
    lines: list[str]
    says: bool = False
    expects: bool = False
    at: datetime | None = None

    @property
    def size(self) -> int:
        return sum(len(line.encode("utf-8", "surrogatepass")) + 8 for line in self.lines)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A step, and what was before it."""

    step: Step
    before: datetime | None = None  # when the customer wrote last
    is_bots: bool = False  # the bot called a person, and nobody has come


def _seen(steps: Sequence[Step]) -> Iterator[_Seen]:
    before: datetime | None = None
    is_bots = False
    for step in steps:
        yield _Seen(step, before, is_bots)
        if isinstance(step, Person):
            is_bots = False
        elif isinstance(step, Wrote):
            if _is_asked(step, is_bots=is_bots):
                before = step.inputs[-1].sent_at
            is_bots = is_bots or any(one.handed_over for one in step.answers)


def _bounded(recorded: Recorded, steps: Sequence[_Seen]) -> list[_Turn]:
    """The last ones that there is room for, and no more are made: customers write at length."""
    room, says = BYTES_MAX, TURNS_MAX
    left: list[_Turn] = []
    for seen in reversed(steps):
        turn = _turn_of(recorded, seen)
        room, says = room - turn.size, says - turn.says
        if room < 0 or says < 0:
            break
        left.insert(0, turn)
    # Nothing but a remark stands before the first turn.
    if left and len(left) < len(steps):
        told = remark(f"what was written before is left out: {TURNS_MAX} turns are the most")
        left = [_Turn([f"  {told}"]), *left]
    return left


def _turn_of(recorded: Recorded, seen: _Seen) -> _Turn:
    match seen.step:
        case Person(message):
            return _remarked("a colleague wrote", message)
        case Alone(message):
            return _remarked("the business wrote, unasked", message)
        case Wrote() as step:
            return _turn(recorded, step, seen.before, is_bots=seen.is_bots)


def _is_asked(step: Wrote, *, is_bots: bool) -> bool:
    return any(_texts(step)) and (is_bots or not _is_silent(step))


def _is_silent(step: Wrote) -> bool:
    return not step.answers and step.reason == TAKEN_OVER


def _texts(step: Wrote) -> Iterator[str]:
    return (text for row in step.inputs if (text := text_of(row)).strip())


def _turn(recorded: Recorded, step: Wrote, before: datetime | None, *, is_bots: bool) -> _Turn:
    texts = _last(step)
    silent = _is_silent(step)
    if not _is_asked(step, is_bots=is_bots):
        return _Turn([f"  {remark(f'not asked again ({_why(step, texts)}): {_shown(texts)}')}"])
    at = step.inputs[0].sent_at
    given: dict[str, Any] = {}
    if before is not None and at - before >= LONG:
        given["after"] = _lasting(at - before)
    given["say"] = texts[0] if len(texts) == 1 else texts
    lines = mapping(given, 2)
    if "after" in given:
        lines[0] = f"    after: {given['after']}"
    lines += [f"    {remark(one)}" for one in _said(step)]
    expect = {"silent": True} if silent else _expected(recorded, step)
    if expect:
        lines += mapping({"expect": expect}, 2)
    return _Turn(item(lines, 1), says=True, expects=bool(expect), at=at)


def _last(step: Wrote) -> list[str]:
    """Of its texts those that there is room for, one at least."""
    last = [*_texts(step)][-TEXTS_MAX:]
    texts: list[str] = []
    room = BURST_BYTES
    for text in map(_cut, reversed(last)):
        room -= len(quoted(text).encode())
        if texts and room < 0:
            break
        texts.insert(0, text)
    return texts


def _why(step: Wrote, texts: Sequence[str]) -> str:
    return (step.reason or "it was not answered") if texts else "no text"


def _said(step: Wrote) -> Iterator[str]:
    for one in step.answers:
        who = "the bot said" if one is step.reply else "code said"
        yield f"{who}: {_shown([one.content_text or ''])}"


def _expected(recorded: Recorded, step: Wrote) -> dict[str, Any]:
    """What the bot did; nothing where it failed, or was kept from it."""
    reply = step.reply
    if reply is None:
        told = any(
            not str(one.metadata.get("reason", "")).startswith("model") for one in step.answers
        )
        return {"silent": False} if told else {}
    numbers = reply.metadata.get("kb_cited")
    known = recorded.questions
    cited = [known[n] for n in numbers if n in known] if isinstance(numbers, list) else []
    actions = [_action(one) for one in recorded.actions if one.created_at == reply.created_at]
    expect: dict[str, Any] = {"cites": cited[:TEXTS_MAX]} if cited else {}
    return expect | {"actions": actions[:TEXTS_MAX], "handed_over": reply.handed_over}


def _action(action: RecordedAction) -> dict[str, Any]:
    money = {}
    if action.amount is not None and action.currency is not None:
        money = {"amount": f"{action.amount:.2f}", "currency": action.currency}
    return {"type": action.request_type} | money


def _setup(recorded: Recorded) -> list[str]:
    talk = recorded.talk
    contact: dict[str, Any] = {}
    if talk.contact_name and talk.contact_name.strip():
        contact["name"] = head(talk.contact_name, CONTACT_CHARS)
    if talk.contact_language:
        contact["language"] = talk.contact_language
    lines = mapping({"contact": contact}, 1) if contact else []
    if recorded.facts:
        lines += ["  facts:", *(f"    {quoted(a)}: {quoted(t)}" for a, t in recorded.facts)]
    return ["setup:", *lines] if lines else []


def _remarked(what: str, message: RecordedMessage) -> _Turn:
    return _Turn([f"  {remark(f'{what}: {_shown([text_of(message)])}')}"])


def _shown(texts: Sequence[str]) -> str:
    return head(" / ".join(" ".join(text.split()) for text in texts), SHOWN_UNITS)


def _cut(text: str) -> str:
    return both_ends(text, MAX_CHARS, LEFT_OUT)


def _lasting(passed: timedelta) -> str:
    seconds = min(passed, AFTER_MAX).total_seconds()
    if seconds >= 2 * 86_400:
        return f"{seconds // 86_400:.0f}d"
    return f"{seconds // 3_600:.0f}h" if seconds >= 2 * 3_600 else f"{seconds // 60:.0f}m"
