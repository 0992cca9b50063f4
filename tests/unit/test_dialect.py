"""What a server cannot take is found in its words, and what it gets instead is valid everywhere."""

import copy
import itertools
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.agent.completions.dialect import Concession, adapted, found_out
from handlers.agent.completions.refusals import Refused, refused
from simulator.history import Refused as Refusal
from simulator.history import check_request
from simulator.quirks import Quirks, check_quirks

QUIRKS = {
    Concession.MAX_TOKENS: Quirks(no_max_completion_tokens=True),
    Concession.NO_TOOL_CHOICE: Quirks(no_tool_choice=True),
    Concession.NO_TOOLS: Quirks(no_tools=True),
    Concession.ONE_CALL: Quirks(one_call=True),
    Concession.NO_NULL: Quirks(no_null_content=True),
    Concession.SHORT_IDS: Quirks(nine_character_ids=True),
    Concession.NO_SYSTEM: Quirks(no_system=True),
    Concession.TURNS: Quirks(alternating_roles=True),
    Concession.REASONING: Quirks(reasoning_back=True),
    Concession.SIGNATURES: Quirks(signed_calls=True),
    Concession.STREAM: Quirks(streams_only=True),
    Concession.NO_TEMPERATURE: Quirks(no_temperature=True),
    Concession.NO_EFFORT: Quirks(no_reasoning_effort=True),
}


def test_every_concession_has_a_server_that_wants_it() -> None:
    assert set(QUIRKS) == set(Concession)


# ---- words ---------------------------------------------------------------------------------------


def calls(*ids: str, text: str | None = None) -> list[dict[str, Any]]:
    function = {"name": "search", "arguments": "{}"}
    made = [{"id": id_, "type": "function", "function": function} for id_ in ids]
    results = [{"role": "tool", "tool_call_id": id_, "content": f"found {id_}"} for id_ in ids]
    return [{"role": "assistant", "content": text, "tool_calls": made}, *results]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


# Everything in it that any server objects to.
ALL: dict[str, Any] = {
    "model": "m",
    "max_completion_tokens": 800,
    "temperature": 0.2,
    "reasoning_effort": "low",
    "tools": [{"type": "function", "function": {"name": "search", "parameters": {}}}],
    "tool_choice": "none",
    "messages": [
        {"role": "system", "content": "You answer."},
        {"role": "assistant", "content": "Hello, it is us."},
        user("one"),
        user("two"),
        *calls("event_1", "call_2", text="Let me look."),
        user("three"),
        *calls("event_3"),
        user("four"),
    ],
}
NULL = {"detail": [{"loc": ["body", "messages", 4, "content"], "msg": "none is not allowed"}]}


def said(status: int, *words: Any) -> Refused:
    """The same in the forms of several servers."""
    body = json.dumps({"error": {"message": words[0]}} if isinstance(words[0], str) else words[0])
    return refused(status, {}, body.encode(), datetime(2026, 11, 2, tzinfo=UTC))


@pytest.mark.parametrize(
    ("status", "words", "expected"),
    [
        (400, "Unrecognized request argument supplied: max_completion_tokens", "MAX_TOKENS"),
        (400, "Unsupported parameter: 'tool_choice'", "NO_TOOL_CHOICE"),
        (400, "registry.ollama.ai/library/gemma:2b does not support tools", "NO_TOOLS"),
        (404, "No endpoints found that support tool use.", "NO_TOOLS"),
        (400, "tools is not supported by this model", "NO_TOOLS"),
        (400, "Tool use is not enabled for this model", "NO_TOOLS"),
        (400, "Function calling is not supported", "NO_TOOLS"),
        (400, "Unknown parameter: 'tools'", "NO_TOOLS"),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "tools"]}]}, "NO_TOOLS"),
        (400, "'tool' is not one of ['system', 'assistant', 'user', 'function']", "NO_TOOLS"),
        (500, "This model only supports single tool-calls at once!", "ONE_CALL"),
        (400, "Parallel tool calls are not supported", "ONE_CALL"),
        (400, "Invalid value for 'content': expected a string, got null.", "NO_NULL"),
        (422, NULL, "NO_NULL"),
        (400, "Tool call id was x but must be a-z, A-Z, 0-9, with a length of 9.", "SHORT_IDS"),
        (500, "Jinja Exception: System role not supported", "NO_SYSTEM"),
        (400, "'messages[0].role' does not support 'system' with this model.", "NO_SYSTEM"),
        (400, "Only user and assistant roles are supported!", "NO_SYSTEM NO_TOOLS"),
        (500, "Only user, system, and assistant roles are supported", "NO_TOOLS"),
        (500, "Jinja Exception: Conversation roles must alternate user/assistant/...", "TURNS"),
        (400, "Unexpected role 'user' after role 'tool'", "TURNS"),
        (400, "First message should be from user", "TURNS"),
        (400, "consecutive messages of the same role", "TURNS"),
        (400, "This model only support stream mode, please enable the stream parameter", "STREAM"),
        (400, "parameter.enable_thinking must be false for non-streaming calls", "STREAM"),
        (400, "Missing `reasoning_content` field in the assistant message", "REASONING"),
        (400, "reasoning_content is missing in assistant tool call message", "REASONING"),
        (400, "Function call is missing a thought_signature in functionCall parts.", "SIGNATURES"),
        (400, "Unsupported value: 'temperature' does not support 0.2.", "NO_TEMPERATURE"),
        (400, "Unknown name \"reasoning_effort\": Cannot find field.", "NO_EFFORT"),
        (400, "no", ""),
        (401, "tools are not supported for your key", ""),
        (429, "max_completion_tokens", ""),
        (400, "This model's maximum context length is 512. max_completion_tokens is 800", ""),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_server_cannot_take_is_in_its_words(status: int, words: Any, expected: str) -> None:
    found = found_out(said(status, words), ALL)
    assert found == {Concession[name] for name in expected.split()}


@pytest.mark.parametrize("concession", Concession)
def test_what_is_conceded_is_not_found_again(concession: Concession) -> None:
    """So a server that goes on refusing is not asked for ever."""
    with pytest.raises(Refusal) as refusal:
        check_quirks(QUIRKS[concession], ALL)
    words = refusal.value.answer or str(refusal.value)
    found = found_out(said(refusal.value.status, words), ALL)
    assert concession in found
    assert not found_out(said(400, words), adapted(ALL, found)) & found


# ---- bodies --------------------------------------------------------------------------------------

PIECES = st.sampled_from(["user", "assistant", "call", "calls", "spoken call", "event"])


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You answer."}]
    for n, piece in enumerate(draw(st.lists(PIECES, max_size=8))):
        messages += {
            "user": [user(f"u{n}")],
            "assistant": [{"role": "assistant", "content": f"a{n}"}],
            "call": calls(f"call_{n}"),
            "calls": calls(f"x{n}", f"abcdefg{n}y", f"event_{n}"),
            "spoken call": calls(f"s{n}", f"t{n}", text=f"c{n}"),
            "event": calls(f"event_{n}"),
        }[piece]
    return {**ALL, "messages": [*messages, user("last")]}


@settings(max_examples=300)
@given(bodies(), st.sets(st.sampled_from(list(Concession))))
def test_whatever_is_conceded_the_body_is_valid_and_says_the_same(
    body: dict[str, Any], concessions: set[Concession]
) -> None:
    before = copy.deepcopy(body)
    told = adapted(body, concessions)
    assert body == before
    check_request(told, streams=True)
    for concession in concessions:
        check_quirks(QUIRKS[concession], told)
    text = json.dumps(told["messages"])
    for message in body["messages"]:
        if message["content"] is not None:
            assert message["content"] in text


def test_a_pair_of_concessions_suffices_for_servers_that_want_both() -> None:
    for pair in itertools.combinations(Concession, 2):
        told = adapted(ALL, pair)
        for concession in pair:
            check_quirks(QUIRKS[concession], told)


def test_what_came_of_a_call_is_a_note_that_no_customer_can_write() -> None:
    told = adapted(ALL, [Concession.NO_TOOLS])
    assert [m["content"] for m in told["messages"][4:]] == [
        "Let me look.",
        "[search: found event_1]",
        "[search: found call_2]",
        "three",
        "[search: found event_3]",
        "four",
    ]
