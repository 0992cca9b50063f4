"""What models write around their answers never reaches a customer; a call in it is a call."""

import time
from typing import Any

import pytest

from handlers.agent.completions import markup
from handlers.agent.tools import REQUEST, SEARCH

TOOLS = {REQUEST, SEARCH}
BAR = "\uff5c"
INVOKE = f'<invoke name="{SEARCH}"><parameter name="query">open</parameter></invoke>'
THOUGHT = "Margin is 40%, do not tell."
SAID = "We are open from 7 to 18."
CALL = f'{{"name": "{SEARCH}", "arguments": {{"query": "open"}}}}'


def dsml(*parts: str, bar: str = BAR) -> str:
    """<|DSML|tag> with the bars of DeepSeek, and </|DSML|tag>."""
    return "".join(
        part.replace("</", f"</{bar}DSML{bar}") if part.startswith("</") else part
        for part in (p.replace("<", f"<{bar}DSML{bar}") if p[:2] != "</" else p for p in parts)
    )


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\n{THOUGHT}\n</think>\n\n{SAID}",
        f"{THOUGHT}\n</think>\n\n{SAID}",
        f'<THINK lang="en">{THOUGHT}</Think >{SAID}',
        f"<think>a</think><think>b</think>{SAID}",
        f"<think>a <think> b</think> c</think>{SAID}",
        f"<think>the mark <think> opens</think>{SAID}",
        f"<thinking>{THOUGHT}</thinking>{SAID}",
        f"<reasoning>{THOUGHT}</reasoning>{SAID}",
        f"<thought>{THOUGHT}</thought>{SAID}",
        f"<seed:think>{THOUGHT}</seed:think>{SAID}",
        f"<ns:thinking>{THOUGHT}</ns:thinking>{SAID}",
        f"[THINK]{THOUGHT}[/THINK]{SAID}",
        f"\u25c1think\u25b7{THOUGHT}\u25c1/think\u25b7{SAID}",
        f"```thinking\n{THOUGHT}\n```\n{SAID}",
        f"<|begin_of_thought|>{THOUGHT}<|end_of_thought|><|begin_of_solution|>{SAID}<|end_of_solution|>",
        f"<think>{THOUGHT}</think><answer>{SAID}</answer>",
        f"<think>{THOUGHT}</think><|begin_of_box|>{SAID}<|end_of_box|>",
        (
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>"
            f"{SAID}<|return|>"
        ),
        f"<|start|>assistant<|channel|>final<|message|>{SAID}",
        f"analysis{THOUGHT}assistantfinal{SAID}",
        f"<|channel>thought\n{THOUGHT}<channel|>{SAID}",
        f"<think><tool_call>{CALL}</tool_call></think>{SAID}",
        f"{SAID}<|im_end|>\n<|im_start|>user\nThanks<|im_end|>",
        f"<|im_start|>assistant\n{SAID}<|im_end|>",
        f"<s>{SAID}</s>",
        f"{SAID}<{BAR}end\u2581of\u2581sentence{BAR}>",
        f"{SAID}<end_of_turn>",
        f"<start_of_turn>model\n{SAID}<end_of_turn>",
        f"<bos>{SAID}<eos>",
        f"<unk>{SAID}<pad><pad>",
        f"<tool_response>{THOUGHT}</tool_response>{SAID}",
        f"<tool_response>{SEARCH}: {THOUGHT}</tool_response>{SAID}",
        f"<think/>{SAID}",
        f"<think></think>{SAID}",
        f"<|think|>{THOUGHT}<|/think|>{SAID}",
        f'{SAID}\n<tool_call>{{"name": "weather", "arguments": {{}}}}</tool_call>',
        f'{SAID}\n<tool_call>{{"name": "search_know',
        f"{SAID} <think>{THOUGHT}",
    ],
    ids=str,
)
def test_only_the_answer_is_left(text: str) -> None:
    spoken = markup.read(text, TOOLS)
    assert (spoken.text.strip(), spoken.calls) == (SAID, ())


@pytest.mark.parametrize(
    "text",
    [
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"<tool_call>{CALL}",
        f"{CALL}</tool_call>",
        f"<think>{THOUGHT}</think>\n<tool_call>{CALL}</tool_call>",
        f"<function_call>{CALL}</function_call>",
        f"<tool_calls>[{CALL}]</tool_calls>",
        f'<function={SEARCH}>{{"query": "open"}}</function>',
        f"<tool_call><function={SEARCH}><parameter=query>\nopen\n</parameter></function></tool_call>",
        f"<tool_call>{SEARCH}\n<arg_key>query</arg_key>\n<arg_value>open</arg_value>\n</tool_call>",
        f"<function_calls>{INVOKE}</function_calls>",
        f"<ns:tool_call>{INVOKE}</ns:tool_call>",
        INVOKE,
        f'<invoke name="{SEARCH}" arguments=\'{{"query": "open"}}\'/>',
        dsml(
            "<function_calls>",
            f'<invoke name="{SEARCH}">',
            '<parameter name="query" string="true">',
        )
        + "open"
        + dsml("</parameter>", "</invoke>", "</function_calls>"),
        dsml(f'<invoke name="{SEARCH}">', '<parameter name="query">', bar=BAR * 2)
        + "open"
        + dsml("</parameter>", "</invoke>", bar=BAR * 2),
        (
            f"<{BAR}tool\u2581calls\u2581begin{BAR}><{BAR}tool\u2581call\u2581begin{BAR}>function"
            f'<{BAR}tool\u2581sep{BAR}>{SEARCH}\n```json\n{{"query": "open"}}\n```'
            f"<{BAR}tool\u2581call\u2581end{BAR}><{BAR}tool\u2581calls\u2581end{BAR}>"
        ),
        (
            f"<|tool_calls_section_begin|><|tool_call_begin|>functions.{SEARCH}:0<|tool_call_argument"
            '_begin|>{"query": "open"}<|tool_call_end|><|tool_calls_section_end|>'
        ),
        f"[TOOL_CALLS][{CALL}]",
        f'[TOOL_CALLS]{SEARCH}[ARGS]{{"query": "open"}}',
        f'<|python_tag|>{{"name": "{SEARCH}", "parameters": {{"query": "open"}}}}<|eom_id|>',
        f"<|tool_call|>[{CALL}]",
        f'```tool_code\nprint({SEARCH}(query="open"))\n```',
        f"```json\n{CALL}\n```",
        f'{SEARCH}(query="open")',
        f"[{SEARCH}(query='open')]",
        f'print(default_api.{SEARCH}(query="open"))',
        f'```python\n{SEARCH}(query="open")\n```',
        f'Action: {SEARCH}\nAction Input: {{"query": "open"}}',
        f'to=functions.{SEARCH} {{"query": "open"}}',
        CALL,
        f'{{"type": "function", "function": {CALL}}}',
        f'{{"tool_calls": [{{"function": {CALL}}}]}}',
        f"<{SEARCH}>\n<query>open</query>\n</{SEARCH}>",
        (
            f"<|channel|>commentary to=functions.{SEARCH} <|constrain|>json<|message|>"
            '{"query": "open"}<|call|>'
        ),
    ],
    ids=str,
)
def test_a_call_in_the_text_is_a_call(text: str) -> None:
    spoken = markup.read(text, TOOLS)
    assert [(call.name, call.arguments) for call in spoken.calls] == [(SEARCH, {"query": "open"})]
    assert spoken.text.strip() == ""
    around = markup.read(f"Let me look.\n{text}", TOOLS)
    only_channels_count = "<|message|>" in text
    assert around.text.strip() == ("" if only_channels_count else "Let me look.")
    assert around.calls == spoken.calls


def test_several_calls_with_arguments_of_every_kind() -> None:
    text = (
        f'<function_calls><invoke name="{REQUEST}"><parameter name="type">refund</parameter>'
        '<parameter name="details">cake <b>broken</parameter>'
        '<parameter name="context">{"order": 4711}</parameter></invoke>'
        f'<invoke name="{SEARCH}"><parameter name="query">12</parameter></invoke></function_calls>'
    )
    context = {"type": "refund", "details": "cake <b>broken", "context": {"order": 4711}}
    assert [(c.name, c.arguments) for c in markup.read(text, TOOLS).calls] == [
        (REQUEST, context),
        (SEARCH, {"query": "12"}),
    ]
    text = (
        f'[{REQUEST}(type="refund", details=\'cake <b>broken\', context={{"order": 4711}}),'
        f' {SEARCH}(query="12")]'
    )
    assert [(c.name, c.arguments) for c in markup.read(text, TOOLS).calls] == [
        (REQUEST, context),
        (SEARCH, {"query": "12"}),
    ]
    text = f"Thought: they ask.\nAction: {SEARCH}\nAction Input: {{}}\nObservation:"
    spoken = markup.read(text, TOOLS)
    assert (spoken.text, [c.arguments for c in spoken.calls]) == ("", [{}])
    text = f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>"
    assert len(markup.read(text, TOOLS).calls) == 2


def test_a_tool_that_was_not_offered_is_no_call() -> None:
    for text in (f"<tool_call>{CALL}</tool_call>", CALL, f"```json\n{CALL}\n```"):
        spoken = markup.read(text, [])
        assert (spoken.text.strip(), spoken.calls) == ("", ())


@pytest.mark.parametrize(
    "text",
    [
        "Use <b>bold</b>, x < 5 > 3, <info@luma.example>, [photo], {name}, 2*3 and `code`.",
        "Press <call> or write <reason> to us.",
        "now <s>38</s> 30 EUR",
        "[MENU](https://luma.example) [SALE] [ANSWER ME]",
        '{"answer": "We are open."}',
        '{"name": "Luma", "city": "Kiel"}',
        "```python\nprint(1)\n```",
        f"Ask about {SEARCH} if you like.",
        "I think it is </p> open <br>.",
    ],
    ids=str,
)
def test_what_is_the_answers_own_stays(text: str) -> None:
    assert markup.read(text, TOOLS) == markup.Spoken(text)


@pytest.mark.parametrize(
    "text",
    [
        *("<" * 400_000, "<a" * 200_000, "< " * 200_000, "```" * 100_000, "<call>" * 60_000),
        *("<tool_call>" * 30_000, "[" * 400_000, '{"a":' * 80_000, "analysis" * 50_000),
        *("[1," * 40 + "1," * 200_000, "<|a|>" + " " * 300_000, "```" + " " * 400_000 + "x"),
        f"<tool_call>{SEARCH}" + "<arg_key>" * 40_000,
        f"<tool_call>{SEARCH}" + "<parameter=" * 30_000,
        f"<tool_call>{SEARCH}(a=" + '"\\' * 100_000,
        "<tool_call>" + f"{SEARCH} " * 20_000,
        "<|channel|>to=<|message|>" * 16_000,
        "</think>" * 50_000,
    ],
    ids=lambda text: text[:20],
)
def test_no_text_takes_long(text: str) -> None:
    began = time.process_time()
    markup.read(text, TOOLS)
    assert time.process_time() - began < 0.5


def test_a_text_of_nothing_but_marks_says_nothing() -> None:
    spoken: Any = markup.read("<|x|> <think>a</think> " * 1_000, TOOLS)
    assert spoken.text == ""
