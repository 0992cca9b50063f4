"""A suite from YAML: all of it, or everything that is wrong with it, each mistake with its line.
Pure."""

import re
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from handlers.evals.document import Invalid, Listed, Mapped, Node, Scalar, document, shown
from handlers.evals.expecting import expect_of
from handlers.evals.fields import Reader
from handlers.evals.suite import (
    AFTER_MAX,
    ANSWERS_MAX,
    CASES_MAX,
    FACTS_MAX,
    HISTORY_MAX,
    NAME_CHARS,
    REPEAT_MAX,
    TEXTS_MAX,
    TURNS_MAX,
    WHO,
    Case,
    Expect,
    Said,
    Setup,
    Suite,
    Turn,
)
from handlers.rules.reply import MAX_CHARS

_NOW = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?")
FACT_UNITS, ABOUT_UNITS, CONTACT_CHARS = 200, 40, 255
AGO = timedelta(minutes=10)  # before the case begins, if a history does not say


def read_suite(text: str, repeat: int | None = None) -> Suite:
    """`repeat`: instead of the suite's own. Raises Invalid."""
    reader = Reader()
    root = document(text, reader.mistakes)
    suite = None if root is None else _suite(reader, root, repeat)
    if reader.mistakes or suite is None:
        raise Invalid(reader.mistakes)
    return suite


def _suite(reader: Reader, root: Node, repeat: int | None) -> Suite:
    given = reader.mapping(root, "the suite", ("bot", "suite", "repeat", "now", "cases"))
    if not isinstance(root, Mapped):
        raise Invalid(reader.mistakes)
    bot = _name(reader, given.get("bot"), root.line, "bot")
    name = _name(reader, given["suite"], root.line, "suite") if "suite" in given else bot
    own = reader.whole(given["repeat"], "repeat", 1, REPEAT_MAX) if "repeat" in given else 1
    cases: list[Case] = []
    if "cases" not in given:
        reader.wrong(root.line, "cases is missing: a list")
    else:
        for place, node in enumerate(reader.listed(given["cases"], "cases", CASES_MAX)):
            cases.append(_case(reader, node, f"cases[{place}]"))
        if not cases and isinstance(given["cases"], Listed):
            reader.wrong(given["cases"].line, "cases is empty")
    _distinct(reader, cases)
    suite = Suite(
        name=name or "",
        repeat=repeat or own or 1,
        now=_now(reader, given["now"]) if "now" in given else None,
        cases=tuple(cases),
    )
    if (answers := suite.answers(suite.repeat)) > ANSWERS_MAX:
        told = f"turns times repeat are {answers:,}, and {ANSWERS_MAX:,} at most: divide the suite"
        reader.wrong(root.line, told)
    return suite


def _name(reader: Reader, node: Node | None, line: int, where: str) -> str | None:
    if node is None:
        reader.wrong(line, f"{where} is missing: what the suite is called")
        return None
    return reader.text(node, where, NAME_CHARS, lines=False)


def _distinct(reader: Reader, cases: list[Case]) -> None:
    lines: dict[str, int] = {}
    for case in cases:
        if case.name in lines:
            told = f"there is a case {shown(case.name)} already, in line {lines[case.name]}"
            reader.wrong(case.line, told)
        elif case.name:
            lines[case.name] = case.line


def _now(reader: Reader, node: Node) -> datetime | None:
    given = node.text.strip() if isinstance(node, Scalar) else ""
    try:
        if _NOW.fullmatch(given):
            return datetime.fromisoformat(given)
    except ValueError:
        pass
    reader.wrong(node.line, "now has to be like 2026-11-24T09:30, on the tenant's clock: no zone")
    return None


def _case(reader: Reader, node: Node, where: str) -> Case:
    given = reader.mapping(node, where, ("name", "setup", "turns"))
    name = None
    if "name" in given:
        name = reader.text(given["name"], f"{where}.name", NAME_CHARS, lines=False)
    elif isinstance(node, Mapped):
        reader.wrong(node.line, f"{where}.name is missing")
    setup = _setup(reader, given["setup"], f"{where}.setup") if "setup" in given else Setup()
    turns: list[Turn] = []
    before = len(reader.mistakes)
    if "turns" in given:
        for place, one in enumerate(reader.listed(given["turns"], f"{where}.turns", TURNS_MAX)):
            turns.append(_turn(reader, one, f"{where}.turns[{place}]"))
    elif isinstance(node, Mapped):
        reader.wrong(node.line, f"{where}.turns is missing: a list")
    expects = [turn.expect for turn in turns]
    is_right = "turns" in given and len(reader.mistakes) == before
    if is_right and not any(one.checks for one in expects):
        judged = any(one.judge for one in expects)
        why = "only a judge looks at it" if judged else "nothing is expected of it"
        why = why if turns else "it has no turns"
        reader.wrong(node.line, f"{where} cannot fail: {why}")
    return Case(name=name or "", line=node.line, setup=setup, turns=tuple(turns))


def _turn(reader: Reader, node: Node, where: str) -> Turn:
    given = reader.mapping(node, where, ("say", "after", "expect"))
    if isinstance(node, Mapped) and not given.keys() & {"say", "after"}:
        reader.wrong(node.line, f"{where} has neither say nor after")
    say: tuple[str, ...] = ()
    if "say" in given:
        say = reader.texts(given["say"], f"{where}.say", TEXTS_MAX, MAX_CHARS)
        if isinstance(given["say"], Listed) and not given["say"].items:
            reader.wrong(given["say"].line, f"{where}.say is empty")
    after = None
    if "after" in given:
        after = reader.duration(given["after"], f"{where}.after", AFTER_MAX)
    expect = Expect()
    if "expect" in given:
        expect = expect_of(reader, given["expect"], f"{where}.expect")
    return Turn(line=node.line, say=say, after=after, expect=expect)


def _setup(reader: Reader, node: Node, where: str) -> Setup:
    given = reader.mapping(node, where, ("contact", "facts", "history"))
    name = language = None
    if "contact" in given:
        contact = reader.mapping(given["contact"], f"{where}.contact", ("name", "language"))
        if "name" in contact:
            name = reader.text(contact["name"], f"{where}.contact.name", CONTACT_CHARS)
        if "language" in contact:
            language = reader.language(contact["language"], f"{where}.contact.language")
    facts = _facts(reader, given["facts"], f"{where}.facts") if "facts" in given else ()
    history = _history(reader, given["history"], f"{where}.history") if "history" in given else ()
    return Setup(name=name, language=language, facts=facts, history=history)


def _history(reader: Reader, node: Node, where: str) -> tuple[Said, ...]:
    history: list[Said] = []
    for place, one in enumerate(reader.listed(node, where, HISTORY_MAX)):
        if (said := _said(reader, one, f"{where}[{place}]")) is not None:
            history.append(said)
    if any(behind.ago > before.ago for before, behind in pairwise(history)):
        reader.wrong(node.line, f"{where} has to be oldest first")
    return tuple(history)


def _facts(reader: Reader, node: Node, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(node, Mapped):
        reader.wrong(node.line, f"{where} has to be a mapping, like `allergy: nuts`")
        return ()
    if len(node.items) > FACTS_MAX:
        reader.wrong(node.line, f"{where} has more than {FACTS_MAX} facts")
    facts = []
    for about, value in list(node.items.items())[:FACTS_MAX]:
        text = reader.text(value, f"{where}.{about[:ABOUT_UNITS]}", FACT_UNITS)
        if not about.strip() or len(about) > ABOUT_UNITS:
            reader.wrong(
                node.lines[about], f"{where}: what it is about has 1 to {ABOUT_UNITS} letters"
            )
        elif text is not None:
            facts.append((about, text))
    return tuple(facts)


def _said(reader: Reader, node: Node, where: str) -> Said | None:
    given = reader.mapping(node, where, (*WHO, "ago"))
    who = [one for one in WHO if one in given]
    if len(who) != 1:
        if isinstance(node, Mapped):
            reader.wrong(node.line, f"{where} has to have one of {', '.join(WHO)}, with the text")
        return None
    text = reader.text(given[who[0]], f"{where}.{who[0]}", MAX_CHARS)
    ago: Any = AGO
    if "ago" in given:
        ago = reader.duration(given["ago"], f"{where}.ago", AFTER_MAX)
    if text is None or ago is None:
        return None
    return Said(who=who[0], text=text, ago=ago)
