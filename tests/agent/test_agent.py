"""The agent's window, its tools and what it knows, without a model."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage

from handlers.agent.completions import answer
from handlers.agent.knowledge import INLINE_ROWS, ROW_TOKENS, Knowledge, fits_prompt
from handlers.agent.model import as_message
from handlers.agent.prompt import Row
from handlers.agent.tokens import of_messages
from handlers.agent.tools import AT_LIMIT, MAX_REQUESTS, PENDING, REQUEST, SEARCH, Toolbox, newest
from handlers.agent.window import HISTORY_MESSAGES, NOT_KEPT, windowed
from handlers.rules.cutting import units

SMALL = Knowledge(1, (Row(1, None, "open?", "yes"),))
BIG = Knowledge(
    1,
    (
        *(Row(n, None, f"How much is item {n}?", f"{n} EUR " + "x" * 60) for n in range(1, 400)),
        Row(400, None, "Is there parking?", "Behind the house."),
    ),
)


def box(limit: int = 99, knowledge: Knowledge = SMALL) -> Toolbox:
    async def reserve(requests: int) -> str:
        return "granted" if requests <= limit else "max_actions_per_day"

    return Toolbox(knowledge, reserve, ("refund please",))


async def test_a_request_is_kept_for_the_turn() -> None:
    tools = box()
    arguments = {
        "type": " Money back! ",
        "details": "all of\0 it",
        "context": {"order": [12, "\ud800 \U0001f34b"]},
    }
    assert await tools.call(REQUEST, arguments) == PENDING
    assert await tools.call(REQUEST, arguments) == PENDING
    (request,) = tools.requests  # asked twice in a turn is asked once
    assert (request.request_type, request.details) == ("money_back", "all of\ufffd it")
    assert request.context == {
        "order": [12, "\ufffd \U0001f34b"],
        "customer_wrote": ["refund please"],
    }


def test_of_a_long_burst_the_newest_are_kept_and_the_rest_is_counted() -> None:
    assert newest(()) == []
    assert newest(("a", "b")) == ["a", "b"]
    burst = tuple(f"{n} " + "x" * 4_000 for n in range(30))
    assert newest(burst) == ["[earlier messages that are left out: 29]", burst[-1]]
    assert newest(burst[:1]) == [*burst[:1]]
    assert newest((*burst, "and quickly!")) == [
        "[earlier messages that are left out: 29]",
        burst[-1],
        "and quickly!",
    ]
    (cut,) = newest(("begin " + "\U0001f34b" * 100_000 + " end",))
    assert (cut[:6], cut[-4:], units(cut) <= 4_096) == ("begin ", " end", True)


async def test_a_request_does_not_keep_a_whole_burst() -> None:
    async def reserve(_: int) -> str:
        return "granted"

    burst = tuple(f"{n} " + "x" * 4_000 for n in range(30))
    tools = Toolbox(SMALL, reserve, burst)
    assert await tools.call(REQUEST, {"type": "a", "details": "1"}) == PENDING
    assert tools.requests[0].context["customer_wrote"] == newest(burst)
    assert len(json.dumps(tools.requests[0].context)) < 10_000


async def test_what_the_plan_does_not_allow_is_said() -> None:
    tools = box(limit=1)
    assert await tools.call(REQUEST, {"type": "a", "details": "1"}) == PENDING
    assert await tools.call(REQUEST, {"type": "a", "details": "2"}) == AT_LIMIT
    assert len(tools.requests) == 1
    tools = box()
    for n in range(MAX_REQUESTS):
        assert await tools.call(REQUEST, {"type": "a", "details": str(n)}) == PENDING
    assert (await tools.call(REQUEST, {"type": "a", "details": "x"})).startswith("error")
    assert len(tools.requests) == MAX_REQUESTS


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (REQUEST, {}),
        (REQUEST, {"type": "refund"}),
        (REQUEST, {"type": "?!", "details": "x"}),
        (REQUEST, {"type": "refund", "details": ["x"]}),
        (SEARCH, {"query": "open?"}),  # a small base has no search
        ("system_event", {"status": "approved"}),
        ("", {}),
    ],
)
async def test_what_cannot_be_done_is_an_error_for_the_model(
    name: str, arguments: dict[str, Any]
) -> None:
    tools = box()
    assert (await tools.call(name, arguments)).startswith("error")
    assert tools.requests == []


async def test_a_tool_that_fails_ends_no_turn() -> None:
    async def away(_: int) -> str:
        raise OSError("the database is away")

    tools = Toolbox(SMALL, away)
    result = await tools.call(REQUEST, {"type": "refund", "details": "x"})
    assert result.startswith("error")
    assert "database" not in result
    assert tools.requests == []


async def test_what_no_row_can_hold_reserves_nothing() -> None:
    reserved: list[int] = []

    async def reserve(requests: int) -> str:
        reserved.append(requests)
        return "granted"

    tools = Toolbox(SMALL, reserve)
    context = {"sum": float("nan")}
    arguments = {"type": "refund", "details": "x", "context": context}
    assert (await tools.call(REQUEST, arguments)).startswith("error")
    assert (tools.requests, reserved) == ([], [])


async def test_a_big_base_is_searched_and_a_small_one_not() -> None:
    assert len(BIG.rows) > INLINE_ROWS
    tools = box(knowledge=BIG)
    assert [s["function"]["name"] for s in tools.schemas] == [SEARCH, REQUEST]
    assert [s["function"]["name"] for s in box().schemas] == [REQUEST]
    assert Toolbox(SMALL, None).schemas == []
    found = json.loads(await tools.call(SEARCH, {"query": "where can I park"}))
    assert found[0] == {
        "id": 400,
        "category": None,
        "question": "Is there parking?",
        "answer": "Behind the house.",
    }
    assert tools.kb_ids[0] == 400
    assert (await tools.call(SEARCH, {"query": "\u3053"})).startswith("nothing found")
    assert (await tools.call(SEARCH, {"query": 7})).startswith("error")


def test_what_fits_the_prompt() -> None:
    latin, thai = "x" * 400, "\u0e01" * 100
    known = Knowledge(1, (Row(1, None, latin, latin), Row(2, None, thai, thai)))
    assert fits_prompt(known, 400 + 2 * ROW_TOKENS)
    assert not fits_prompt(known, 399 + 2 * ROW_TOKENS)


async def test_other_ways_to_ask_find_the_row_and_make_no_base_big() -> None:
    rows = (
        *(Row(n, None, f"What is item {n}?", "An item.") for n in range(20)),
        Row(77, None, "Returns", "Within 30 days.", ("can I send it back", "bring it back")),
    )
    known = Knowledge(1, rows)
    assert (await known.search("I want to send this back", 1))[0][0].id == 77
    others = tuple("y" * 2_000 for _ in range(50))
    assert fits_prompt(Knowledge(1, (Row(1, None, "q", "a", others),)), 4_000)
    assert Knowledge(1, (Row(1, None, "q", "a", others),)).nbytes > 6 * 100_000


async def test_public_questions_find_their_row() -> None:
    """Other words than the row's, typos and another form of the word."""
    rows = (
        ("How do I locate my card?", "how to locate my crad"),
        ("What is the exchange rate?", "exchanging rates for euros"),
        ("My transfer was declined", "why did you decline the transfer i made"),
        ("How can I change my PIN?", "changing the pin number"),
        ("Where can I withdraw cash?", "cash withdrawals, where?"),
        ("Do you support Apple Pay?", "applepay"),
        ("How do I close my account?", "i want to delete and close the account"),
    )
    known = Knowledge(1, tuple(Row(n, None, row, "-") for n, (row, _) in enumerate(rows)))
    first = [(await known.search(asked, 1))[0][0].id for _, asked in rows]
    assert first == list(range(len(rows)))


# ---- threads that every server takes ------------------------------------------------------------


def test_calls_come_back_with_ids_and_names_of_their_own() -> None:
    function = {"name": "a b", "arguments": "{}"}
    calls = [
        {"id": "1", "type": "function", "function": function},
        {"id": "1", "type": "function", "function": function | {"name": ""}},
        {"id": None, "type": "function", "function": function},
        {"id": "1", "type": "function", "function": {"name": None, "arguments": "{"}},
    ]
    message = {"role": "assistant", "content": "text", "tool_calls": calls}
    body = json.dumps({"choices": [{"message": message}]}).encode()
    clean = as_message(answer.read(body, [], may_call=True))
    ids = [c["id"] for c in (*clean.tool_calls, *clean.invalid_tool_calls)]
    assert len(set(ids)) == 4
    assert None not in ids
    assert [c["name"] for c in clean.tool_calls] == ["a_b", "nameless", "a_b"]
    assert clean.additional_kwargs == {}
    asked_no_more = as_message(answer.read(body, [], may_call=False))
    assert (asked_no_more.text, asked_no_more.tool_calls) == ("text", [])
    assert asked_no_more.invalid_tool_calls == []


def exchange(n: int, calls: int, name: str) -> list[AnyMessage]:
    made = [{"name": name, "args": {}, "id": f"{n}.{c}"} for c in range(calls)]
    return [
        HumanMessage(f"q{n}"),
        *([AIMessage("", tool_calls=made)] if calls else ()),
        *(ToolMessage("found", tool_call_id=c["id"], name=name) for c in made),
        AIMessage(f"a{n}"),
    ]


def event(n: int) -> list[AnyMessage]:
    return exchange(n, 1, "system_event")[1:-1]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from([SEARCH, REQUEST]))),
    st.integers(0, 30),
    st.integers(0, 30),
)
def test_a_window_is_valid_and_holds_what_is_to_be_answered(
    past: list[tuple[int, bool, str]], events: int, inputs: int
) -> None:
    messages: list[AnyMessage] = []
    for n, (calls, of_a_customer, name) in enumerate(past):
        messages += exchange(n, calls, name)[0 if of_a_customer else 1 :]
    fresh = [m for n in range(events) for m in event(1_000 + n)]
    fresh += [HumanMessage(f"new {n}") for n in range(inputs)]
    kept = windowed([*messages, *fresh], len(fresh), 100)
    before = kept[: len(kept) - len(fresh)]
    assert of_messages(before) <= 100
    assert kept[len(kept) - len(fresh) :] == fresh
    assert len(before) <= HISTORY_MESSAGES
    open_calls: set[str | None] = set()
    for message in kept:
        if isinstance(message, ToolMessage):
            assert message.tool_call_id in open_calls
            open_calls.remove(message.tool_call_id)
            if message.name == SEARCH:
                assert message.content == NOT_KEPT
        else:
            assert not open_calls
            if isinstance(message, AIMessage):
                open_calls = {c["id"] for c in message.tool_calls}
    assert not open_calls
