"""What a model is told: within its budget, in an order that providers can cache, with times."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from db.prices import Rate
from handlers.agent.answerer import CONTEXT_LENGTH, NoAnswer
from handlers.agent.cost import Cost
from handlers.agent.evidence import _said
from handlers.agent.gauge import SCALE_MAX, Gauge
from handlers.agent.prompt import Briefing, Fact, Row
from handlers.agent.remembering import (
    FACTS_TOKENS,
    NOTED,
    REMEMBERED_MAX,
    TEXT_UNITS,
    Memory,
    Remembered,
    known_facts,
)
from handlers.agent.spending import Spent, Usage
from handlers.agent.timeline import later, noted_at, timed, without_copied_notes
from handlers.agent.tokens import letters, of_message, of_messages, tokens
from handlers.agent.told import tell
from handlers.agent.tools import SEARCH
from handlers.agent.window import windowed
from handlers.rules.budgets import Budget, budget_of, merged, mistakes

NOW = datetime(2026, 11, 24, 18, 2, tzinfo=UTC)
BRIEFING = Briefing(
    chatbot_name="Luma",
    general_instructions="Be brief.",
    knowledge=(Row(1, None, "When are you open?", "From 7."),),
    conversation_instructions=(),
    customer_name="Ada",
    now=NOW,
    timezone="UTC",
)


def asked(text: str, at: datetime = NOW) -> HumanMessage:
    return HumanMessage(text, additional_kwargs=noted_at(at))


def told(briefing: Briefing, *messages: AnyMessage, scale: float = 1.0) -> list[Any]:
    return tell(briefing, messages, (), scale).messages


# ---- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("When?", 2),
        ("gr\u00fc\u00dfe dich", 3),
        ("\u0447\u0430\u0441\u044b", 2),
        ("\u0643\u0639\u0643", 2),
        ("\u0915\u0947\u0915", 2),
        ("\u86cb\u7cd5", 2),
        ("\u30b1\u30fc\u30ad ok", 4),
    ],
)
def test_tokens_by_script(text: str, count: int) -> None:
    assert tokens(text) == count


@given(st.text(max_size=300), st.integers(1, 100))
def test_letters_of_so_many_tokens(text: str, room: int) -> None:
    assert letters(text, room) >= 0
    if tokens(text) <= room:
        assert letters(text, room) >= len(text)


# ---- within the budget ---------------------------------------------------------------------------

SCRIPTS = st.sampled_from(["latin words ", "\u0441\u043b\u043e\u0432\u0430 ", "\u86cb\u7cd5", "x"])
TEXTS = st.builds(lambda script, n: (script * n)[:4_096] or "x", SCRIPTS, st.integers(0, 2_000))


def rounds(n: int, text: str, calls: int) -> list[AnyMessage]:
    made = [{"name": SEARCH, "args": {"query": "x"}, "id": f"{n}.{c}"} for c in range(calls)]
    return [
        HumanMessage(text),
        *([AIMessage("", tool_calls=made)] if calls else ()),
        *(ToolMessage("found", tool_call_id=call["id"], name=SEARCH) for call in made),
        AIMessage(f"a{n}"),
    ]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(TEXTS, st.integers(0, 3)), max_size=12),
    st.lists(TEXTS, min_size=1, max_size=30),
    st.sampled_from([1_500, 3_000, 12_000]),
    st.floats(1.0, 2.0),
)
def test_a_prompt_is_never_over_its_budget(
    past: list[tuple[str, int]], inputs: list[str], budget: int, scale: float
) -> None:
    before: list[AnyMessage] = []
    for n, (text, calls) in enumerate(past):
        before += rounds(n, text, calls)
    briefing = replace(BRIEFING, budget=Budget(input_tokens=budget), history=len(before))
    fresh = [HumanMessage(text, id=f"row-{n}") for n, text in enumerate(inputs)]
    try:
        found = tell(briefing, [*before, *fresh], (), scale)
    except NoAnswer as none:
        assert (none.word, budget) == (CONTEXT_LENGTH, 1_500)  # noqa: PT017 - it may raise, or not
        assert len(inputs) > 10
        return
    assert found.tokens * scale <= budget
    assert [m.id for m in found.messages[-len(inputs) :]] == [m.id for m in fresh]
    _valid(found.messages)


def _valid(messages: Sequence[Any]) -> None:
    waiting: set[str | None] = set()
    for message in messages:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in waiting
            waiting.remove(message.tool_call_id)
        else:
            assert not waiting
            if isinstance(message, AIMessage):
                waiting = {call["id"] for call in message.tool_calls}
    assert not waiting


def test_one_overlong_input_is_cut_and_the_others_are_not() -> None:
    briefing = replace(BRIEFING, budget=Budget(input_tokens=2_000))
    long = "begin " + "\u86cb" * 4_000 + " end"
    *_, first, cut, last = told(briefing, asked("Hello"), asked(long), asked("How much?"))
    assert (first.text, last.text) == ("Hello", "How much?")
    assert (cut.text[:6], cut.text[-4:]) == ("begin ", " end")
    assert "left out" in cut.text


def test_results_of_this_turn_give_way_before_it_is_too_much() -> None:
    call = AIMessage("", tool_calls=[{"name": SEARCH, "args": {}, "id": "1"}])
    found = ToolMessage("x" * 40_000, tool_call_id="1", name=SEARCH)
    briefing = replace(BRIEFING, budget=Budget(input_tokens=3_000))
    *_, question, _, result = told(briefing, asked("How much?"), call, found)
    assert question.text == "How much?"
    assert 1_000 < tokens(result.text) < 2_700


def test_what_cannot_be_cut_and_is_too_much_is_no_prompt() -> None:
    briefing = replace(
        BRIEFING, general_instructions="x" * 20_000, budget=Budget(input_tokens=2_000)
    )
    with pytest.raises(NoAnswer, match=CONTEXT_LENGTH):
        told(briefing, asked("Hello"))


def test_a_server_that_counts_more_gets_less() -> None:
    past = [m for n in range(40) for m in rounds(n, "Some words of a customer. " * 20, 0)]
    briefing = replace(BRIEFING, history=len(past))
    once = told(briefing, *past, asked("Now?"))
    twice = told(briefing, *past, asked("Now?"), scale=3.0)
    assert len(once) == len(past) + 3
    assert len(once) > len(twice) > 3
    assert of_messages(twice) * 3 <= briefing.budget.input_tokens


def test_the_last_count_corrects_upwards_alone() -> None:
    gauge = Gauge()
    assert gauge.scale(7) == 1.0
    gauge.note(7, 1_000, 1_500)
    assert (gauge.scale(7), gauge.scale(8)) == (1.5, 1.0)
    gauge.note(7, 1_000, 400)
    assert gauge.scale(7) == 1.0
    gauge.note(7, 1_000, 90_000)
    assert gauge.scale(7) == SCALE_MAX
    gauge.note(7, 10, 12)  # too short to say anything
    gauge.note(7, 1_000, 0)
    assert gauge.scale(7) == SCALE_MAX


# ---- the same beginning --------------------------------------------------------------------------


def test_what_was_said_before_begins_the_next_prompt_a_day_later() -> None:
    thread: list[AnyMessage] = [asked("Hello", NOW - timedelta(days=2)), AIMessage("Good day!")]
    first = told(replace(BRIEFING, history=2), *thread, asked("Open?"))
    thread += [asked("Open?"), AIMessage("From 7.")]
    then = NOW + timedelta(days=1)
    other = replace(BRIEFING, history=4, now=then, customer_name="Ada B.")
    second = told(other, *thread, asked("And then?", then))
    assert [m.text for m in second[:3]] == [m.text for m in first[:3]]
    assert first[3].text.startswith("[It is ")
    assert second[5].text.startswith("[It is Wednesday, 2026-11-25")


def test_a_history_that_is_too_long_loses_a_third_at_once() -> None:
    """So it begins with the same message for many turns."""
    messages: list[AnyMessage] = []
    begins: list[str] = []
    for n in range(60):
        messages.append(HumanMessage(f"question {n} " + "x" * 300))
        messages = windowed(messages, 1, 1_000)
        begins.append(messages[0].text)
        messages.append(AIMessage(f"answer {n}"))
        assert of_messages(messages[:-2]) <= 1_000
    assert len(set(begins)) < 20


def test_no_message_takes_the_whole_history() -> None:
    long = HumanMessage("begin " + "\u86cb" * 4_000 + " end")
    kept = windowed([HumanMessage("first"), long, AIMessage("ok"), HumanMessage("now")], 1, 1_000)
    assert [m.text[:5] for m in kept] == ["first", "begin", "ok", "now"]
    assert of_message(kept[1]) <= 256


# ---- times ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("passed", "words"),
    [
        (timedelta(minutes=20), "20 minutes later"),
        (timedelta(hours=1, minutes=31), "2 hours later"),
        (timedelta(hours=36), "2 days later"),
        (timedelta(days=21), "3 weeks later"),
        (timedelta(days=75), "2 months later"),
        (timedelta(days=1_100), "3 years later"),
    ],
)
def test_how_much_later(passed: timedelta, words: str) -> None:
    assert later(passed) == words


def test_times_stand_where_time_passed() -> None:
    began = NOW - timedelta(days=21)
    thread: list[AnyMessage] = [
        asked("Is my cake ready?", began),
        asked("Hello?", began + timedelta(minutes=59)),
        AIMessage("Yes."),
        asked("Is it ready?", NOW),
    ]
    texts = [m.text for m in timed(thread, 3, "Asia/Kolkata")]
    assert texts == [
        "[Tuesday 2026-11-03 23:32]\nIs my cake ready?",
        "[59 minutes later, Wednesday 2026-11-04 00:31]\nHello?",  # another day there
        "Yes.",
        "[3 weeks later, Tuesday 2026-11-24 23:32]\nIs it ready?",
    ]


def test_nothing_is_noted_where_no_time_passed_or_none_is_known() -> None:
    thread: list[AnyMessage] = [HumanMessage("old"), asked("a"), AIMessage("b"), asked("c")]
    assert [m.text for m in timed(thread, 0, "UTC")] == ["old", "a", "b", "c"]


def test_what_came_late_says_when_it_was_written() -> None:
    thread = [asked("a"), asked("b", NOW - timedelta(hours=5))]
    assert [m.text for m in timed(thread, 0, "UTC")][1] == "[earlier, Tuesday 2026-11-24 13:02]\nb"


def test_notes_that_a_model_copies_are_not_sent() -> None:
    assert without_copied_notes("[a colleague wrote] Yes.") == "Yes."
    copied = "[3 weeks later, Tuesday 2026-11-24 18:02]\n[A colleague wrote] Yes."
    assert without_copied_notes(copied) == "Yes."
    for own in ("[photo] is nice", "Yes [sic].", "(a colleague wrote) Yes"):
        assert without_copied_notes(own) == own


# ---- facts ---------------------------------------------------------------------------------------


def test_a_turn_notes_a_few_short_facts() -> None:
    memory = Memory()
    assert memory.remember({"about": " Allergy! ", "text": "nuts\n and\0 milk "}) == NOTED
    assert memory.remember({"about": "allergy", "text": "nuts"}) == NOTED
    assert list(memory.facts.values()) == [Remembered("allergy", "nuts")]
    for wrong in (
        {},
        {"about": "x"},
        {"about": "?!", "text": "x"},
        {"about": ["x"], "text": "x"},
        {"about": "x", "text": " \n"},
        {"about": "x", "text": "y" * (TEXT_UNITS + 1)},
    ):
        assert memory.remember(wrong).startswith("error"), wrong
    for n in range(REMEMBERED_MAX - 1):
        assert memory.remember({"about": f"k{n}", "text": "x"}) == NOTED
    assert memory.remember({"about": "one more", "text": "x"}).startswith("error")
    assert memory.remember({"about": "allergy", "text": "none"}) == NOTED
    assert len(memory.facts) == REMEMBERED_MAX


def test_the_newest_facts_are_told_as_far_as_there_is_room() -> None:
    facts = tuple(Fact(f"key {n}", "\u86cb" * TEXT_UNITS) for n in range(20))
    kept = known_facts(facts)
    assert kept == facts[-len(kept) :]
    assert FACTS_TOKENS - 300 < sum(tokens(f.about + f.text) for f in kept) <= FACTS_TOKENS
    assert known_facts(facts[:2]) == facts[:2]


# ---- money ---------------------------------------------------------------------------------------

RATE = Rate(input_price=Decimal(2), cached_price=Decimal(1), output_price=Decimal(8))


def test_money_ends_the_calls_before_it_is_spent() -> None:
    """A call with tools is followed by another."""
    spent, cost = Spent(), Cost(Decimal("0.012"), {"m": RATE})
    assert cost.allows_more(spent)
    spent.note("m", Usage(1_000, 125, 500))  # 0.0025
    assert cost.allows_more(spent)
    spent.note("m", Usage(1_000, 125, 0))  # 0.0030, together 0.0055: twice that is 0.0115
    assert cost.allows_more(spent)
    spent.note("m", Usage(1_000, 125, 0))
    assert not cost.allows_more(spent)
    assert not cost.allows_more(spent), "to ask again changes nothing"


def test_without_a_price_or_a_budget_money_ends_nothing() -> None:
    spent = Spent()
    spent.note("other", Usage(10**9, 10**9))
    assert Cost(Decimal("0.01"), {"m": RATE}).allows_more(spent)
    spent.note("m", Usage(10**9, 10**9))
    assert Cost(None, {"m": RATE}).allows_more(spent)
    assert not Cost(Decimal("0.01"), {"m": RATE}).allows_more(spent)


# ---- budgets as they are stored ------------------------------------------------------------------


def test_what_is_missing_or_nonsense_is_as_if_not_given() -> None:
    assert budget_of(None) == budget_of({}) == Budget()
    assert budget_of({"input_tokens": 6_000}) == Budget(6_000, 2_000)
    assert budget_of({"input_tokens": "many", "output_tokens": True, "cost": "x"}) == Budget()
    assert budget_of({"cost": "-1"}).cost is None
    assert budget_of({"cost": "NaN"}).cost is None
    assert budget_of({"input_tokens": 1, "knowledge_tokens": -5}) == Budget(3_000, 0)


def test_budgets_are_merged_by_member() -> None:
    has = merged({}, {"input_tokens": 6_000, "cost": Decimal("0.0100")})
    assert has == {"input_tokens": 6_000, "cost": "0.0100"}
    assert merged(has, {"input_tokens": None, "output_tokens": 90}) == {
        "cost": "0.0100",
        "output_tokens": 90,
    }
    assert mistakes({"input_tokens": 3_000, "knowledge_tokens": 4_000}).keys() == {
        "budgets.knowledge_tokens"
    }
    assert mistakes({"knowledge_tokens": 4_000}) == {}


def test_what_a_tool_did_not_understand_is_no_source() -> None:
    """It is told with what the model gave."""
    error = ToolMessage("error: 19,25 EUR is no JSON", tool_call_id="c", name="calculate")
    found = ToolMessage('{"result": "77"}', tool_call_id="d", name="calculate")
    assert list(_said([error, found], 0)) == ['{"result": "77"}']
