"""A suite of tests: what is read, and everything that is wrong with one, with its line."""

import json
import xml.etree.ElementTree as ET
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.evals.checks import failed
from handlers.evals.document import BYTES_MAX, DEPTH_MAX, Invalid
from handlers.evals.outcome import Outcome, Use
from handlers.evals.patterns import Pattern, TooSlow, problem
from handlers.evals.reading import read_suite
from handlers.evals.report import Report, Reported, as_json, junit, table
from handlers.evals.results import Counted, fell
from handlers.evals.suite import ANSWERS_MAX, CASES_MAX, Asked, Called, Expect
from handlers.rules.seen import seen
from ingress.api.resources.evals import EXAMPLE

DOCUMENT = Path(__file__).parents[2] / "docs" / "evals.md"
TURNS = "    turns: [{say: hi, expect: {silent: false}}]\n"


def mistakes(text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        read_suite(text)
    return caught.value.lines


def in_turn(expect: str) -> str:
    return f"bot: L\ncases:\n  - name: a\n    turns:\n      - say: hi\n        expect: {expect}\n"


# ---- reading -------------------------------------------------------------------------------------


def test_the_reference_and_what_docs_show_are_suites() -> None:
    assert read_suite(EXAMPLE).cases[0].name == "opening hours"
    shown = DOCUMENT.read_text().split("```yaml\n")[1].split("```")[0]
    text = "\n".join(line.removeprefix("   ") for line in shown.split("\n"))
    first, second = read_suite(text).cases
    assert first.turns[0].expect.cites == ("When are you open?",)
    assert second.turns[1].expect.silent is True


def test_everything_is_read() -> None:
    suite = read_suite("""
bot: Luma
suite: refunds
repeat: 3
now: 2026-11-24T09:30
cases:
  - name: all
    setup:
      contact: {name: Ana, language: no}
      facts: {allergy: nuts}
      history: [{customer: hello, ago: 2d}, {bot: hi, ago: 1d}, {colleague: "hi, Tom here"}]
    turns:
      - say: [one, two]
        after: 2 hours
        expect:
          contains_all: [8:00, no, 1.50]
          regex: '^\\d'
          tool: {name: x, arguments: {a: 1, b: [c]}}
          no_tool: y
          actions: [{type: Money Back, details: order 7, amount: 38.50, currency: EUR}]
          orders: [{items: [{sku: CAKE, quantity: 2}]}]
          amounts_from: kb
          judge: is polite
""")
    (case,) = suite.cases
    (turn,) = case.turns
    assert (suite.name, suite.repeat, str(suite.now)) == ("refunds", 3, "2026-11-24 09:30:00")
    assert (case.setup.name, case.setup.language) == ("Ana", "no")
    assert [said.who for said in case.setup.history] == ["customer", "bot", "colleague"]
    assert (turn.say, turn.after) == (("one", "two"), timedelta(hours=2))
    expect = turn.expect
    assert expect.contains_all == ("8:00", "no", "1.50"), "as they are written"
    assert expect.tool == (Called(name="x", arguments={"a": "1", "b": ["c"]}),)
    assert expect.actions == (
        Asked(type="money_back", details="order 7", amount=Decimal("38.50"), currency="EUR"),
    )
    assert read_suite(EXAMPLE, 7).repeat == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ["line 1: the suite is empty"]),
        ("# only a comment\n", ["line 1: the suite is empty"]),
        ("bot: L\n---\nbot: M\n", ["line 2: a suite is one document"]),
        ("[]", ["line 1: the suite has to be a mapping of names and values"]),
        ("bot: 'x\n", ["line 2: this is no YAML"]),
        ("bot: L\n\tcases: []", ["line 2: this is no YAML"]),
        ("a: &x [1]\nb: *x\n", ["line 1: anchors and aliases"]),
        ("bot: !!python/name:os.system x\n", ["line 1: tags (!)"]),
        ("bot: !mine x\n", ["line 1: tags (!)"]),
        ("[" * (DEPTH_MAX + 1), [f"line 1: more than {DEPTH_MAX} levels"]),
        ("bot: L\nbot: M\ncases:\n  - name: a\n" + TURNS, ["line 2: 'bot' stands here twice"]),
        ("bot: L\n? [a]\n: b\ncases:\n  - name: a\n" + TURNS, ["line 2: a name is a text"]),
        ("cases:\n  - name: a\n" + TURNS, ["line 1: bot is missing"]),
        ("bot: L\n", ["line 1: cases is missing"]),
        ("bot: L\ncases: []\n", ["line 2: cases is empty"]),
        ("bot: L\ncases:\n  - name: a\n" + TURNS + "  - name: a\n" + TURNS, ["line 5: there is a"]),
        (
            "bot: L\nrepeat: 0\nnow: tomorrow\ncases:\n  - name: a\n" + TURNS,
            ["line 2: repeat has to be", "line 3: now has to be like"],
        ),
        ("bot: L\nnow: 2026-02-30T10:00\ncases:\n  - name: a\n" + TURNS, ["line 2: now has to"]),
        ("bot: L\nnow: 2026-01-30T10:00Z\ncases:\n  - name: a\n" + TURNS, ["line 2: now has to"]),
        ("bot: L\ncases: [{name: a, turns: [{}]}]", ["line 2: cases[0].turns[0] has neither say"]),
        (in_turn("{}"), ["line 6: cases[0].turns[0].expect is empty"]),
        (in_turn("{judge: nice}"), ["line 3: cases[0] cannot fail: only a judge"]),
        (in_turn("{contains_al: x}"), ["line 6: .*did you mean contains_all"]),
        (in_turn("{regex: '('}"), ["line 6: .*is no regular expression"]),
        (in_turn("{silent: maybe}"), ["line 6: .*silent has to be true or false"]),
        (in_turn('{silent: "true"}'), ["line 6: .*silent has to be true or false"]),
        (in_turn("{silent: true, contains_all: x}"), ["line 6: .*who is silent says nothing"]),
        (in_turn("{contains_all: []}"), ["line 6: .*is empty"]),
        (in_turn("{contains_all: [[x]]}"), ["line 6: .*has to be a text"]),
        (in_turn("{contains_all: }"), ["line 6: .*is empty"]),
        (in_turn("{language: Klingon!}"), ["line 6: .*has to be a language tag"]),
        (in_turn("{actions: [{details: x}]}"), ["line 6: .*type is missing"]),
        (in_turn("{actions: [{type: x, amount: 1.234}]}"), ["line 6: .*has to be an amount"]),
        (in_turn("{orders: [{items: [{sku: x}]}]}"), ["line 6: .*sku and quantity"]),
        (in_turn("{amounts_from: [thin air]}"), ["line 6: .*has to be one of kb"]),
        (in_turn("{max_tokens: -1}"), ["line 6: .*whole number"]),
        (in_turn("{tool: []}"), ["line 6: .*use no_tool"]),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: list[str]) -> None:
    found = mistakes(text)
    assert len(found) == len(told), found
    for line, wanted in zip(found, told, strict=True):
        begin, _, rest = wanted.partition(".*")
        assert line.startswith(begin), line
        assert rest in line


def test_a_suite_is_bounded() -> None:
    assert "KiB" in mistakes("#" + "x" * BYTES_MAX)[0]
    assert "parts" in mistakes("bot: L\ncases: [" + "a, " * 25_000 + "]")[0]
    case = "  - name: n{n}\n" + TURNS
    many = "".join(case.replace("{n}", str(n)) for n in range(CASES_MAX + 1))
    assert f"{CASES_MAX} at most" in mistakes(f"bot: L\ncases:\n{many}")[0]
    turns = ", ".join("{say: hi, expect: {silent: false}}" for _ in range(30))
    few = "".join(f"  - {{name: n{n}, turns: [{turns}]}}\n" for n in range(11))
    assert f"{ANSWERS_MAX:,} at most" in mistakes(f"bot: L\nrepeat: 10\ncases:\n{few}")[0]


@given(st.text(max_size=200) | st.sampled_from(["&a *a", "? ? ? ", "- - - -", "{a: {b: ["]))
def test_whatever_comes_is_told_and_raises_nothing_else(text: str) -> None:
    assert mistakes(text), "nobody writes a suite by chance"


# ---- expressions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["((a{1,100}){1,100}){1,100}b", "(?R)?a", "(?b)(?:abcdef){e}z{e}y{e}"]
)
def test_an_expression_that_takes_long_is_ended(text: str) -> None:
    assert problem(text) is None
    pattern = Pattern(text)
    with pytest.raises(TooSlow):
        pattern.found_in("a" * 4_096)
    with pytest.raises(TooSlow):
        pattern.found_in("none that takes long")
    (why,) = failed(Expect(regex=(Pattern(text),)), Outcome(how="said", text="a" * 4_096))
    assert "takes longer than" in why.why


@pytest.mark.parametrize(
    "text",
    [
        "((a{99}){99}){99}",
        "\\X{50000}",
        "(?:" * 15 + "a" + ")+" * 15,
        "(?:" * 15 + "a" + "){1,5}" * 15,
        "(?=a*" * 15 + ")+?" * 15,
        "(?:(?:a{ 99}){ 99}){99}",
        "(?:" * 15 + "(a)" + "(?1)){1,2}" * 15,
    ],
)
def test_an_expression_that_would_take_all_memory_is_none(text: str) -> None:
    assert problem(text) == "repeats too much: write it more simply"
    assert mistakes(in_turn(f"{{regex: {json.dumps(text)}}}"))[0].startswith("line 6: ")


def test_an_expression_with_spaces_that_mean_nothing_is_none() -> None:
    for text in ("(?x)((a {9 9}) {9#\n9}) {99}", "(?ix:a)", "(?V1x)a"):
        assert "the flag x" in str(problem(text))


@pytest.mark.parametrize(
    "text",
    [
        r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(:\d{2})?",
        r"[A-Z]{2}\d{2}( ?\d{4}){4,7} ?\d{1,3}",
        r"(?i)\b(mon|tues|wednes)day\b.{1,40}?(\d+[.:]\d{2}\s*)+(am|pm)",
        r"\p{Lu}\p{L}{0,1000}",
        r"([^\s@]+)@([a-z]+\.)+[a-z]{2,}",
    ],
)
def test_an_expression_as_people_write_them_is_one(text: str) -> None:
    assert problem(text) is None


# ---- checks --------------------------------------------------------------------------------------


def whys(expect: Expect, **outcome: Any) -> list[str]:
    return [one.check for one in failed(expect, Outcome(how="said", **outcome))]


def test_arguments_are_compared_as_they_are_written() -> None:
    use = Use("x", {"order": 7, "why": "It BROKE", "parts": ["a", {"b": 1.50}], "big": True})
    for arguments in ({}, {"order": "7"}, {"why": "it broke"}, {"parts": ["a"]}, {"big": "true"}):
        assert whys(Expect(tool=(Called(name="x", arguments=arguments),)), tools=[use]) == []
    for arguments in ({"order": "8"}, {"no": "7"}, {"parts": ["c"]}, {"order": ["7"]}):
        assert whys(Expect(tool=(Called(name="x", arguments=arguments),)), tools=[use]) == ["tool"]


def test_a_tool_that_was_refused_was_not_used_and_yet_tried() -> None:
    use = Use("create_order", {}, refused=True)
    assert whys(Expect(tool=(Called(name="create_order"),)), tools=[use]) == ["tool"]
    (told,) = failed(Expect(no_tool=("create_order",)), Outcome(how="said", tools=[use]))
    assert "tried, in vain" in told.why


def test_actions_are_all_that_there_are() -> None:
    refund = {
        "type": "refund",
        "details": "12 EUR of order 7",
        "amount": "12.00",
        "currency": "EUR",
    }
    call = {"type": "callback", "details": "tomorrow"}
    asked = Asked(type="refund", details="Order 7", amount=Decimal(12), currency="EUR")
    assert whys(Expect(actions=(asked,)), actions=[refund]) == []
    assert whys(Expect(actions=(asked, Asked(type="callback"))), actions=[call, refund]) == []
    assert whys(Expect(actions=(asked,)), actions=[refund, call]) == ["actions"]
    assert whys(Expect(actions=(asked, asked)), actions=[refund]) == ["actions"]
    assert whys(Expect(actions=()), actions=[refund]) == ["actions"]
    assert whys(Expect(actions=(Asked(type="refund", amount=Decimal(13)),)), actions=[refund]) == [
        "actions"
    ]


def test_amounts_stand_where_they_may() -> None:
    told = {"kb": ["A cake is 38,50 EUR."], "customer": ["you promised me 10 EUR"]}
    text = "That is 38.50 EUR, less 10 EUR."
    assert whys(Expect(amounts_from=("kb", "customer")), text=text, sources=told) == []
    assert whys(Expect(amounts_from=("kb",)), text=text, sources=told) == ["amounts_from"]
    assert whys(Expect(amounts_from=()), text="at 7:00", sources=told) == []


def test_sources_of_amounts_are_read_once_whatever_the_answer_names() -> None:
    products = [f"Candle {n}: {n}.50 EUR, made by hand" for n in range(1_100)]  # more than are kept
    text = " ".join(f"{n}.50 EUR" for n in range(0, 60, 3))
    before = seen.cache_info().misses
    assert (
        whys(Expect(amounts_from=("catalogue",)), text=text, sources={"catalogue": products}) == []
    )
    assert seen.cache_info().misses - before < 2 * len(products)


def test_a_model_that_gave_no_answer_holds_no_check() -> None:
    found = failed(Expect(silent=False), Outcome(how="apologised", text="x", failure="http_500"))
    assert [one.check for one in found] == ["model"]


# ---- reports -------------------------------------------------------------------------------------


def test_what_fell_passed_before() -> None:
    now = [Counted("a", False), Counted("b", False), Counted("c", True), Counted("d", False, "x")]
    assert fell(now, {"a": True, "b": False, "c": True, "d": True}) == ["a"]


def report() -> Report:
    result: dict[str, Any] = {"runs": 2, "passed_runs": 1, "ms": 1_500, "tokens": 9, "judged": []}
    why = {"run": 2, "turn": 1, "line": 6, "check": "regex", "why": "\x00<b>\ud800"}
    bad = result | {"findings": [why], "turns": [{"answer": "a\x1b[31m", "reason": None}]}
    good = result | {"findings": [], "passed_runs": 2, "turns": []}
    return Report(
        eval_id=1,
        suite="L & Co",
        repeat=2,
        status="stopped",
        reason="budget_reached",
        tokens=18,
        compared=True,
        cases=[
            Reported(name="good", passed=True, result=good),
            Reported(name='bad "one"', passed=False, result=bad, fell=True),
            Reported(name="none", passed=False, result=None),
        ],
    )


def test_a_report_for_build_servers_is_xml_whatever_is_in_it() -> None:
    root = ET.fromstring(junit(report()))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [case.get("name") for case in suite] == ["good", 'bad "one"', "none"]
    assert [[one.tag for one in case] for case in suite] == [[], ["failure"], ["skipped"]]


def test_a_report_for_people_and_programs() -> None:
    text = table(report())
    assert 'FAIL 1/2  bad "one"  (fell)' in text
    assert "1 of 3 passed, 18 tokens; 1 not run: budget_reached" in text
    told = json.loads(json.dumps(as_json(report())))
    assert (told["passed"], told["fell"]) == (False, ['bad "one"'])
    assert told["cases"][2] == {"name": "none", "passed": False, "skipped": "budget_reached"}
