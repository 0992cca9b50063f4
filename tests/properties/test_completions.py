"""Whatever a server of chat completions answers is an answer, calls that tools can take or refuse
in words, or a named reason."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from handlers.agent.answerer import Kind, NoAnswer
from handlers.agent.completions import answer
from handlers.agent.completions.answer import Answer
from handlers.agent.completions.calls import (
    MAX_CHARS,
    NO_NUMBER,
    NO_OBJECT,
    TOO_DEEP,
    TOO_LONG,
)
from handlers.agent.completions.stream import assembled
from handlers.agent.model import as_message
from handlers.agent.tools import REQUEST, SEARCH
from simulator.model import _events

TOOLS = [REQUEST, SEARCH]
USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def read(
    message: Any = None, *, may_call: bool = True, finish: Any = "stop", **rest: Any
) -> Answer:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return read_body({"choices": [choice], "usage": USAGE, **rest}, may_call=may_call)


def read_body(body: Any, *, may_call: bool = True) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer.read(raw, TOOLS, may_call=may_call)


def why(read: Any) -> tuple[str, Kind]:
    with pytest.raises(NoAnswer) as none:
        read()
    assert str(none.value) == none.value.word
    return none.value.word, none.value.kind


def called(arguments: Any, **call: Any) -> dict[str, Any]:
    function = {"name": REQUEST, "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function, **call}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


# ---- texts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "Open.",
        ["Open."],
        [{"type": "text", "text": "Open."}],
        [{"type": "output_text", "text": "Op"}, {"type": "text", "text": "en."}, None, 7],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "40%"}]}, {"text": "Open."}],
        [{"type": "reasoning", "text": "40%"}, {"type": "text", "text": "Open."}],
        {"type": "text", "text": "Open."},
        "\u200b\nOpen.\x00\x07\n",
        "Open.\ud83c",
        "<think>40%</think>Open.",
    ],
    ids=str,
)
def test_a_text_in_any_form_is_the_text(content: Any) -> None:
    read_ = read({"role": "assistant", "content": content, "reasoning_content": "40%"})
    assert read_.text.strip("\u200b\n") == "Open."
    assert (read_.calls, read_.cut) == ((), False)


def test_two_halves_of_a_character_in_a_stream_are_one() -> None:
    parts = ["\ud83c", "\udf82 cake"]
    body = "".join(
        f"data: {json.dumps({'choices': [{'delta': {'content': part}}]})}\n\n" for part in parts
    )
    assert read_body(f"{body}data: [DONE]\n\n".encode()).text == "\U0001f382 cake"


@pytest.mark.parametrize(
    ("message", "finish", "word"),
    [
        ({"content": None, "refusal": "I can't help with that."}, "stop", "refused"),
        ({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "refused"),
        ({"content": ""}, "refusal", "refused"),
        ({"content": "half of it"}, "content_filter", "content_filter"),
        ({"content": ""}, "length", "thought_too_long"),
        ({"content": "<think>and then"}, "length", "thought_too_long"),
        ({"content": "<think>and then"}, "stop", "only_thought"),
        ({"content": "", "reasoning_content": "hm"}, "stop", "only_thought"),
        ({"content": "", "reasoning": "hm"}, None, "only_thought"),
        ({"content": ""}, "stop", "empty_answer"),
        ({"content": "\u200b\ufeff \n"}, "stop", "empty_answer"),
        ({"content": 42}, "stop", "empty_answer"),
        (
            {"content": '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'},
            "stop",
            "empty_answer",
        ),
        ({"content": None, "tool_calls": []}, "tool_calls", "empty_answer"),
        ({}, {}, "empty_answer"),
    ],
    ids=str,
)
def test_nothing_to_say_has_a_name_and_will_be_so_again(
    message: Any, finish: Any, word: str
) -> None:
    assert why(lambda: read(message, finish=finish)) == (word, Kind.NEVER)


@pytest.mark.parametrize(
    ("body", "word", "kind"),
    [
        (b"", "unreadable", Kind.LATER),
        (b"<html><body>502</body></html>", "unreadable", Kind.LATER),
        (b"[" * 100_000, "unreadable", Kind.LATER),
        (b'{"a": ' + b"1" * 5_000 + b"}", "no_choices", Kind.LATER),
        (b"\xff\xfe\x00", "unreadable", Kind.LATER),
        (b"null", "unreadable", Kind.LATER),
        (b'"text"', "unreadable", Kind.LATER),
        ([], "unreadable", Kind.LATER),
        ({}, "no_choices", Kind.LATER),
        ({"choices": None}, "no_choices", Kind.LATER),
        ({"choices": []}, "no_choices", Kind.LATER),
        ({"choices": {}}, "no_choices", Kind.LATER),
        ({"choices": [None, 3]}, "no_choices", Kind.LATER),
        ({"choices": [{}]}, "no_choices", Kind.LATER),
        ({"choices": [{"message": None}]}, "no_choices", Kind.LATER),
        ({"choices": [{"text": ""}]}, "empty_answer", Kind.NEVER),
        ({"error": {"message": "Provider returned error", "code": 502}}, "http_502", Kind.LATER),
        ({"error": {"message": "x", "code": "429"}}, "http_429", Kind.LATER),
        ({"error": {"error": {"code": 503}}}, "http_503", Kind.LATER),
        ({"error": {"message": "No auth", "code": 401}}, "http_401", Kind.BROKEN),
        ({"error": "overloaded"}, "error_in_answer", Kind.LATER),
        ({"error": "model 'x' not found"}, "error_in_answer", Kind.BROKEN),
        ({"error": {"type": "invalid_request_error"}}, "error_in_answer", Kind.NEVER),
        ([{"error": {"code": 400, "status": "INVALID_ARGUMENT"}}], "http_400", Kind.NEVER),
        ({"object": "error", "message": "x", "code": 500}, "http_500", Kind.LATER),
        ({"detail": "x"}, "error_in_answer", Kind.LATER),
        ({"error": {"code": "context_length_exceeded"}}, "context_length", Kind.NEVER),
        ({"error": {"code": "content_filter"}}, "content_filter", Kind.NEVER),
        ({"choices": [{"error": {"code": 502}}]}, "http_502", Kind.LATER),
        (b'data: {"error": {"code": 429}}\n\n', "http_429", Kind.LATER),
    ],
    ids=str,
)
def test_what_is_no_answer_has_a_name(body: Any, word: str, kind: Kind) -> None:
    assert why(lambda: read_body(body)) == (word, kind)


def test_a_text_that_was_cut_says_so() -> None:
    assert read({"content": "We have lemon, choc"}, finish="length").cut
    assert read({"content": "We have lemon, choc"}, finish="max_tokens").cut
    assert not read({"content": "We have lemon."}).cut


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        (None, None),
        ("12", None),
        ({}, (0, 0)),
        ({"prompt_tokens": 12.0, "completion_tokens": None}, (12, 0)),
        ({"prompt_tokens": -1, "completion_tokens": True}, (0, 0)),
        ({"prompt_tokens": float("nan"), "completion_tokens": 10**30}, (0, 0)),
        ({"prompt_tokens": "many", "completion_tokens": [1]}, (0, 0)),
        ({"input_tokens": 5, "output_tokens": 6}, (5, 6)),
    ],
    ids=str,
)
def test_what_it_cost_is_counted_where_it_can_be(
    usage: Any, tokens: tuple[int, int] | None
) -> None:
    found = read({"content": "Open."}, usage=usage).usage
    assert (found and (found.input_tokens, found.output_tokens)) == tokens


# ---- calls ---------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return {"type": "refund", "context": value}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"type": "refund"}', {"type": "refund"}),
        ({"type": "refund"}, {"type": "refund"}),
        ('"{\\"type\\": \\"refund\\"}"', {"type": "refund"}),
        ("", {}),
        (None, {}),
        ('{"details": "a\nb"}', {"details": "a\nb"}),
        ('{"details": "cake \\ud83c"}', {"details": "cake "}),
        ('{"details": "\\u0000"}', {"details": ""}),
        ('{"n": 12345678901234567890}', {"n": "12345678901234567890"}),
        ('{"n": ' + "9" * 6_000 + "}", {"n": "9" * 6_000}),
        ({"n": 2**70, "m": -5}, {"n": str(2**70), "m": -5}),
        ('{"n": 1.5, "b": true, "l": [null]}', {"n": 1.5, "b": True, "l": [None]}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_arguments_become_plain(arguments: Any, expected: dict[str, Any]) -> None:
    (call,) = read(called(arguments)).calls
    assert (call.arguments, call.problem) == (expected, None)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("{", NO_OBJECT),
        ("[1]", NO_OBJECT),
        ([1], NO_OBJECT),
        ("refund", NO_OBJECT),
        ('"refund"', NO_OBJECT),
        (7, NO_OBJECT),
        (True, NO_OBJECT),
        ('{"n": NaN}', NO_NUMBER),
        ('{"n": -Infinity}', NO_NUMBER),
        ('{"n": 1e400}', NO_NUMBER),
        (nested(500), TOO_DEEP),
        (json.dumps(nested(500)), TOO_DEEP),
        ('{"a": ' + "[" * 100_000, TOO_LONG),
        (json.dumps({"details": "x" * 1_000_000}), TOO_LONG),
        ({"details": "x" * 1_000_000}, TOO_LONG),
        ({"l": [0] * 2_000}, TOO_LONG),
        ({"details": "x" * MAX_CHARS}, TOO_LONG),
    ],
    ids=lambda value: str(value)[:40],
)
def test_arguments_that_no_tool_can_take_are_refused_in_words(arguments: Any, problem: str) -> None:
    (call,) = read(called(arguments)).calls
    assert (call.arguments, call.problem) == ({}, problem)
    message = as_message(read(called(arguments)))
    (invalid,) = message.invalid_tool_calls
    assert (invalid["args"], invalid["error"]) == ("{}", problem)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (SEARCH, SEARCH),
        (f"functions.{SEARCH}", SEARCH),
        (f"{SEARCH}<|channel|>commentary", SEARCH),
        ("weather", "weather"),
        ("a b", "a_b"),
        ("", "nameless"),
        (None, "nameless"),
        (["x"], "nameless"),
        ("x" * 100, "x" * 64),
    ],
    ids=str,
)
def test_names_are_those_of_tools_or_what_every_server_takes(name: Any, expected: str) -> None:
    message = called("{}", function={"name": name, "arguments": "{}"})
    assert [call.name for call in read(message).calls] == [expected]


@pytest.mark.parametrize(
    ("message", "names"),
    [
        ({"tool_calls": {"function": {"name": SEARCH, "arguments": {}}}}, [SEARCH]),
        ({"tool_calls": [None, 7, {"function": None, "name": SEARCH}]}, [SEARCH]),
        ({"function_call": {"name": SEARCH, "arguments": "{}"}}, [SEARCH]),
        ({"tool_calls": [{}] * 1_000}, ["nameless"] * 16),
    ],
    ids=lambda value: str(value)[:60],
)
def test_calls_in_other_forms(message: dict[str, Any], names: list[str]) -> None:
    assert [call.name for call in read(message).calls] == names


def test_ids_are_each_calls_own() -> None:
    calls = [
        called("{}", id=id_)["tool_calls"][0] for id_ in ("1", "1", None, 7, "", "a\n", "x" * 65)
    ]
    message = as_message(read({"tool_calls": calls}))
    ids = [call["id"] for call in message.tool_calls]
    assert ids[0] == "1"
    assert len(set(ids)) == 7
    assert all(id_ and id_.isalnum() and len(id_) <= 9 for id_ in ids)


def test_who_may_not_call_gets_the_text_alone() -> None:
    message = called("{}") | {
        "content": f'Open. <tool_call>{{"name": "{SEARCH}", "arguments": {{}}}}'
    }
    without = read(message, may_call=False)
    assert (without.text, without.calls) == ("Open.", ())
    assert why(lambda: read(called("{}"), may_call=False)) == ("only_calls", Kind.NEVER)


def test_a_call_with_a_text_is_never_a_text_that_was_cut() -> None:
    read_ = read(called("{}") | {"content": "Let me look"}, finish="length")
    assert (read_.text, len(read_.calls), read_.cut) == ("Let me look", 1, False)


# ---- streams -------------------------------------------------------------------------------------


def completion(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    head = {"id": "x", "created": 1, "model": "m"}
    return {**head, "choices": [choice], "usage": USAGE}


@pytest.mark.parametrize(
    "message",
    [
        {"content": "We are open\u2028from 7 to 18. 🍋"},
        called('{"type": "refund", "details": "cake"}'),
        {"content": "Hm.", "tool_calls": called("{}")["tool_calls"] * 2},
    ],
    ids=str,
)
def test_a_stream_is_what_it_amounts_to(message: dict[str, Any]) -> None:
    whole = completion(message)
    streamed = "".join(_events(whole))
    for ends in ("\n", "\r\n", "\r"):
        assert read_body(streamed.replace("\n", ends).encode()) == read_body(whole)


def delta(**delta: Any) -> str:
    return f"data: {json.dumps({'choices': [{'delta': delta}]})}\n\n"


def test_calls_in_a_stream_are_told_apart_however_they_are_numbered() -> None:
    def part(
        index: int | None, id_: str | None, name: str | None, arguments: Any
    ) -> dict[str, Any]:
        return {"index": index, "id": id_, "function": {"name": name, "arguments": arguments}}

    for first, second in ((0, 1), (0, 0), (None, None)):
        body = (
            delta(tool_calls=[part(first, "a", SEARCH, '{"que')])
            + delta(tool_calls=[part(first, None, None, 'ry": "x"}')])
            + delta(tool_calls=[part(second, "b", REQUEST, {"type": "y"})])
            + "data: [DONE]\n\n"
        )
        calls = read_body(body.encode()).calls
        assert [(c.id, c.name, c.arguments) for c in calls] == [
            ("a", SEARCH, {"query": "x"}),
            ("b", REQUEST, {"type": "y"}),
        ]


def test_a_stream_that_just_ends_was_cut() -> None:
    assert read_body(delta(content="We have lemon, choc").encode()).cut
    assert not read_body((delta(content="Lemon.") + "data: [DONE]\n\n").encode()).cut
    assert assembled(b"no events at all") is None


# ---- anything ------------------------------------------------------------------------------------

SERDE = JsonPlusSerializer()
FIELDS = (
    *("choices", "message", "content", "tool_calls", "function", "name", "arguments", "id", "type"),
    *("text", "finish_reason", "usage", "prompt_tokens", "error", "code", "refusal", "delta"),
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**64, -(2**63) - 1, 10**400])
WORDS = st.sampled_from(
    [
        "length",
        "tool_calls",
        SEARCH,
        "{",
        "{}",
        "<think>",
        "</think>",
        "<tool_call>",
        "[TOOL_CALLS]",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec=None)) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)
GOOD = completion(called('{"type": "refund", "context": {"order": [1, "x"]}}') | {"content": "Hm."})


def spoilt(value: Any, other: Any, draw: Any) -> Any:
    """With something else in any one place."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 5)):
        places = list(value) if isinstance(value, dict) else range(len(value))
        place = draw(st.sampled_from(list(places)))
        copy: Any = dict(value) if isinstance(value, dict) else list(value)
        copy[place] = spoilt(value[place], other, draw)
        return copy
    return other


def holds(body: bytes, may_call: bool) -> None:
    """What comes out can be kept in a checkpoint and sent to a server again."""
    try:
        message = as_message(answer.read(body, TOOLS, may_call=may_call))
    except NoAnswer:
        return
    assert message.text or message.tool_calls or message.invalid_tool_calls
    SERDE.dumps_typed(message)
    results = [ToolMessage("x", tool_call_id=str(call["id"])) for call in message.tool_calls]
    thread: list[BaseMessage] = [HumanMessage("x"), message, *results]
    SERDE.dumps_typed(thread)
    text = json.dumps([call["args"] for call in message.tool_calls], allow_nan=False)
    (text + message.text).encode()


@settings(max_examples=500)
@given(ANYTHING, st.booleans())
def test_any_json_is_an_answer_or_none(value: Any, may_call: bool) -> None:
    holds(json.dumps(value).encode(), may_call)


@settings(max_examples=500)
@given(st.data(), ANYTHING, st.booleans())
def test_any_good_answer_spoilt_anywhere_is_an_answer_or_none(
    data: st.DataObject, value: Any, may_call: bool
) -> None:
    body = json.dumps(spoilt(GOOD, value, data.draw))
    holds(body.encode(), may_call)
    holds("".join(f"data: {part}\n\n" for part in (body, body)).encode(), may_call)


@settings(max_examples=300)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_an_answer_or_none(body: bytes) -> None:
    holds(body, True)
    holds(b"data: " + body, True)


MARKS = st.sampled_from(
    [
        *("<think>", "</think>", "[THINK]", "<|channel|>", "<|message|>", "final", "analysis"),
        *("<tool_call>", "</tool_call>", "<function=", ">", "<|tool_call|>", "[TOOL_CALLS]", "```"),
        *(
            "```tool_code\n",
            SEARCH,
            '{"name": ',
            '"arguments": {',
            "}",
            '"',
            "<",
            "\uff5c",
            "<|im_end|>",
        ),
        *(
            "<parameter=query>",
            "<arg_key>",
            "</arg_key>",
            "(query='x')",
            "\n",
            " ",
            "Open.",
            "\ud83c",
        ),
    ]
)


@settings(max_examples=500)
@given(st.lists(MARKS, max_size=14).map("".join), st.booleans())
def test_any_markup_is_an_answer_or_none(text: str, may_call: bool) -> None:
    holds(json.dumps(completion({"content": text})).encode(), may_call)


def test_numbers_that_are_none_are_looked_at_everywhere() -> None:
    assert not math.isfinite(json.loads("1e400"))
    body = b'{"choices": [{"message": {"content": "Open."}, "logprobs": NaN}], "usage": Infinity}'
    assert read_body(body).text == "Open."


def test_the_message_has_nothing_of_the_servers_besides() -> None:
    message = as_message(read({"content": "Open.", "annotations": [1]}, finish="length"))
    assert message == AIMessage(
        "Open.",
        response_metadata={"finish_reason": "length", "cut": True},  # the run takes the first
        usage_metadata={"input_tokens": 7, "output_tokens": 3, "total_tokens": 10},
    )
