"""What comes of whatever servers send as a model: docs/models.md has the table, this fills it."""

import itertools
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.agent import answerer
from handlers.agent.completions.dialect import Concession
from handlers.agent.tools import REQUEST
from handlers.fixed.texts import Kind, fixed_text
from tests.turn.shop import Shop, Turn, open_shop

OPEN = "We are open from 7 to 18."
SHORTENED = f"\n\n{fixed_text(Kind.SHORTENED, (), {})}"
KEPT = fixed_text(Kind.REQUEST_KEPT, (), {})
REFUSED = fixed_text(Kind.REFUSED, (), {})
SECRET = "Margin is 40%."
MIB = 1024 * 1024
WORDS = (
    *("CONTENT_FILTER", "CONTEXT_LENGTH", "EMPTY_ANSWER", "ERROR_IN_ANSWER", "ONLY_THOUGHT"),
    *("THOUGHT_TOO_LONG", "REFUSED"),
)
Rules = list[dict[str, Any]]


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        yield shop


def says(content: Any, finish: str = "stop", **message: Any) -> Rules:
    return [{"message": {"content": content, **message}, "finish_reason": finish}]


def calls(arguments: Any, name: str = REQUEST, then: str = OPEN, **call: Any) -> Rules:
    function = {"name": name, "arguments": arguments}
    made = [{"id": "call_1", "type": "function", "function": function, **call}]
    return [{"message": {"content": None, "tool_calls": made}, "times": 1}, {"reply": then}]


def raw(body: Any = None, **given: Any) -> Rules:
    return [{"raw": {"json": body, **given} if "body" not in given else given}]


def refuses(status: int, body: Any, **rule: Any) -> Rules:
    return [{"status": status, "raw": {"json": body}, **rule}]


def error(message: str, code: Any = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "x", "param": None, "code": code}}


REFUND = {"type": "refund", "details": "cake broken"}
NO_CALL = '{"name": "weather", "arguments": {}}'
CALL = json.dumps({"name": REQUEST, "arguments": REFUND})
NESTED: Any = "x"
for _ in range(500):
    NESTED = [NESTED]

# What the server does, in words and as the simulator's rules.
ANSWERS: list[tuple[str, Rules]] = [
    ("an answer", says(OPEN)),
    ("`<think>...</think>` before it", says(f"<think>{SECRET}</think>\n\n{OPEN}")),
    ("only its end, `...</think>`", says(f"{SECRET}\n</think>\n\n{OPEN}")),
    ("`<think>` that does not end", says(f"<think>{SECRET}")),
    ("`[THINK]...[/THINK]`", says(f"[THINK]{SECRET}[/THINK]{OPEN}")),
    (
        "harmony's channels",
        says(
            f"<|channel|>analysis<|message|>{SECRET}<|end|><|start|>assistant<|channel|>final"
            f"<|message|>{OPEN}"
        ),
    ),
    ("`reasoning_content` beside it", says(OPEN, reasoning_content=SECRET)),
    ("`reasoning_content` alone", says("", reasoning_content=SECRET)),
    ("content in parts, one a thought", says([{"type": "think", "text": SECRET}, {"text": OPEN}])),
    ("half an emoji", says("Happy birthday \ud83c")),
    ("an empty text", says("")),
    ("an empty text once, then an answer", [{"reply": "", "times": 1}, *says(OPEN)]),
    ("only invisible characters", says("\u200b\ufeff")),
    ("`refusal`", says(None, refusal="I can't help with that.")),
    ("`finish_reason` `length`", says("We have lemon cake. It comes fresh and the ch", "length")),
    ("`length`, and no text", says("", "length", reasoning_content=SECRET)),
    ("`content_filter`", says("We have lem", "content_filter")),
    ("a call of a tool", calls(json.dumps(REFUND))),
    ("arguments as an object", calls(REFUND)),
    ("arguments as JSON of JSON", calls(json.dumps(json.dumps(REFUND)))),
    ("arguments that are a list", calls([1])),
    ("arguments that are a text", calls("refund the cake")),
    ("arguments that are a number", calls(7)),
    ("arguments that are cut off", calls('{"type": "refund", "det')),
    ("no arguments", calls(None)),
    ("`NaN` in them", calls('{"type": "refund", "details": "x", "context": {"sum": NaN}}')),
    ("`1e400` in them", calls('{"type": "refund", "details": "x", "context": {"sum": 1e400}}')),
    ("a number of 30 digits in them", calls(REFUND | {"context": {"order": 10**29}})),
    ("half an emoji in them", calls('{"type": "refund", "details": "cake \\ud83c"}')),
    ("nested 500 deep", calls(REFUND | {"context": NESTED})),
    ("arguments of 1 MB", calls(REFUND | {"context": {"x": "y" * MIB}})),
    ("a tool that does not exist", calls("{}", "weather")),
    ("a call without id or name", calls("{}", id=None, function=None)),
    ("a bad call, again and again", [calls("{")[0] | {"times": None}]),
    ("a call in the text", [{"reply": f"<tool_call>{CALL}</tool_call>", "times": 1}, *says(OPEN)]),
    ("a call as the text", [{"reply": CALL, "times": 1}, *says(OPEN)]),
    ("a call of no tool in the text", says(f"{OPEN}\n<tool_call>{NO_CALL}</tool_call>")),
    ("an empty answer after the result of its call", calls(json.dumps(REFUND), then="")),
    ("a stream, though nobody asked", [{"reply": OPEN, "streamed": True}]),
    ("`choices` `null`", raw({"id": "x", "choices": None})),
    ("`choices` empty", raw({"choices": []})),
    ("`message` `null`", raw({"choices": [{"message": None}]})),
    ("nonsense as `usage`", [{"reply": OPEN, "usage": {"prompt_tokens": -1, "total_tokens": "x"}}]),
    ("200 with an error, code 502", raw(error("Provider returned error", 502))),
    ("200 with an error, code 401", raw(error("No auth", 401))),
    ("200 with an error without a code", raw({"error": "overloaded"})),
    ("HTML", raw(body="<html>Welcome</html>", content_type="text/html")),
    ("an empty body", raw(body="")),
    ("an answer of 20 MB", raw(body="", filler=20 * MIB)),
    ("20 MB in a compressed body", raw(body="", filler=20 * MIB, gzip=True)),
    ("400 that nothing is known about", refuses(400, error("no"))),
    ("401", refuses(401, error("Incorrect API key"))),
    ("404", refuses(404, error("model not found"))),
    ("429, `Retry-After: 30`", refuses(429, error("slow down"), retry_after=30)),
    ("429 twice, `Retry-After: 0`", refuses(429, error("slow down"), retry_after=0)),
    ("429, no credit left", refuses(429, error("no", "insufficient_quota"), retry_after=60)),
    ("500 once, then an answer", [*refuses(500, {}, times=1), *says(OPEN)]),
    ("500 twice", refuses(500, {})),
    ("500 with 20 MB", [{"status": 500, "raw": {"body": "", "filler": 20 * MIB}}]),
]  # fmt: skip


def got(turn: Turn, shop: Shop) -> str:
    if turn.failed:
        return "THE TURN FAILED"
    if turn.said:
        said = " / ".join(turn.said).replace(SHORTENED, " (shortened)").replace("\n", " ")
        in_code = {KEPT: "the request is kept", REFUSED: "it is declined politely"}
        return in_code.get(said, f'"{said}"')
    assert turn.none is not None
    assert turn.due != turn.with_a_person
    if turn.with_a_person:
        return f"a person takes over: `{turn.none.word}`"
    wait = turn.none.retry_after_s
    after = f", after {wait:.0f} s" if wait else ""
    return f"it is asked again{after}: `{turn.none.word}`"


async def test_the_table_of_answers(shop: Shop) -> None:
    """Each by itself, of a customer who asks the first time."""
    table = ["| the server sends | the customer gets | requests |", "|---|---|---|"]
    for name, rules in ANSWERS:
        await shop.simulator.rules(*rules)
        turn = await shop.turn(await shop.customer(), "When are you open?")
        asked = len(await shop.requested())
        made = " and a person is asked" if asked else ""
        await shop.owner.execute("DELETE FROM actions")
        table.append(f"| {name} | {got(turn, shop)}{made} | {len(turn.requests)} |")
        assert SECRET not in "".join(turn.said)
    held("What a server sends", table)


def test_every_word_is_documented() -> None:
    root = Path(__file__).parents[2]
    sources = [path.read_text() for path in (root / "handlers" / "agent").rglob("*.py")]
    said = [re.findall(r"NoAnswer\(\s*\"(\w+)\"", source) for source in sources]
    words = {*itertools.chain.from_iterable(said), *(answerer.__dict__[name] for name in WORDS)}
    assert len(words) > 12
    text = (root / "docs" / "models.md").read_text()
    assert [word for word in words if f"`{word}`" not in text] == []


def held(section: str, table: list[str]) -> None:
    """docs/models.md has this table in this section."""
    text = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
    there = text.partition(f"## {section}\n")[2].partition("\n## ")[0]
    wanted = "\n".join(table)
    assert wanted in there, f"docs/models.md, {section}, should have\n\n{wanted}\n"


# ---- what a server cannot take -------------------------------------------------------------------

# What servers want, as the simulator's quirks.
SERVERS: list[tuple[str, dict[str, Any]]] = [
    ("nothing else than OpenAI's", {}),
    ("`max_tokens`, not `max_completion_tokens`", {"no_max_completion_tokens": True}),
    ("roles in turns", {"alternating_roles": True}),
    ("no system message, and roles in turns", {"no_system": True, "alternating_roles": True}),
    ("a text beside calls of tools", {"no_null_content": True}),
    ("one call at a time", {"one_call": True}),
    ("ids of nine letters and digits", {"nine_character_ids": True}),
    (
        "the last two, `max_tokens` and roles in turns",
        {
            "one_call": True,
            "nine_character_ids": True,
            "alternating_roles": True,
            "no_max_completion_tokens": True,
        },
    ),
    ("no tools", {"no_tools": True}),
    ("its reasoning back", {"reasoning_back": True}),
    ("calls with its signature", {"signed_calls": True}),
    ("to be asked for a stream", {"streams_only": True}),
    ("to stream always", {"streams": True}),
]


async def two_turns(shop: Shop) -> list[Turn]:
    """With everything in them that some server objects to: two inputs, calls side by side, their
    results, and an input after them."""
    made = [
        {"id": f"call_{n}", "type": "function", "function": {"name": REQUEST, "arguments": "{}"}}
        for n in range(2)
    ]
    call: dict[str, Any] = {"message": {"content": None, "tool_calls": made}, "match": "wish"}
    await shop.simulator.rules({**call, "times": 2}, {"reply": OPEN})
    who = await shop.customer()
    return [
        await shop.turn(who, "Hello", "I wish to have my money back"),
        await shop.turn(who, "When are you open?"),
    ]


@pytest.mark.parametrize("quirks", [quirks for _, quirks in SERVERS], ids=str)
async def test_a_server_gets_what_it_can_take(shop: Shop, quirks: dict[str, Any]) -> None:
    await shop.simulator.config(model_quirks=quirks)
    for _ in range(2):
        assert [turn.said for turn in await two_turns(shop)] == [[OPEN], [OPEN]]


async def test_the_table_of_servers(shop: Shop) -> None:
    """What is found out is found out once: the second customer's turns cost what OpenAI's do."""
    table = [
        "| the server wants | requests of the first customer's two turns | of the next one's |",
        "|---|---|---|",
    ]
    for name, quirks in SERVERS:
        shop.model.model.concessions = frozenset()
        await shop.simulator.config(model_quirks=None)
        await shop.simulator.config(model_quirks=quirks)
        first, second = [await two_turns(shop) for _ in range(2)]
        assert [turn.said for turn in (*first, *second)] == [[OPEN]] * 4
        costs = [" + ".join(str(len(turn.requests)) for turn in turns) for turns in (first, second)]
        table.append(f"| {name} | {costs[0]} | {costs[1]} |")
    held("What a server cannot take", table)


async def test_a_round_without_calls_says_so_to_whom_can_hear_it(shop: Shop) -> None:
    await shop.simulator.config(model_quirks={"no_tool_choice": True})
    call = {"tool_calls": [{"name": REQUEST, "arguments": "{"}], "times": 2}
    await shop.simulator.rules(call, {"reply": OPEN})
    turn = await shop.turn(await shop.customer(), "Hello")
    assert turn.said == [OPEN]
    assert [r.get("tool_choice") for r in turn.requests] == [None, None, "none", None]
    assert shop.model.model.concessions == {Concession.NO_TOOL_CHOICE}


async def test_what_did_not_help_is_not_remembered(shop: Shop) -> None:
    """The server's words fit, and what it is given it does not want either."""
    await shop.simulator.rules(*refuses(400, error("tools are not supported")))
    turn = await shop.turn(await shop.customer(), "Hello")
    assert turn.none is not None
    assert (turn.none.word, turn.none.kind) == ("http_400", "never")
    assert ["tools" in request for request in turn.requests] == [True, False]
    assert not shop.model.model.concessions
    await shop.simulator.rules({"reply": OPEN})
    turn = await shop.turn(await shop.customer(), "Hello")
    assert "tools" in turn.requests[0]


# ---- what is refused because of all that is told -------------------------------------------------

FILTERED = {"filtered": "forbidden"}


async def test_the_table_of_histories(shop: Shop) -> None:
    """What each turn of a conversation costs, and that none is refused for ever."""
    table = [
        "| the server refuses | the turn | the customer gets | requests |",
        "|---|---|---|---|",
    ]

    def noted(refuses: str, what: str, turn: Turn) -> None:
        table.append(f"| {refuses} | {what} | {got(turn, shop)} | {len(turn.requests)} |")

    await shop.simulator.rules({"reply": OPEN})
    name, who = "a word, anywhere in the conversation", await shop.customer()
    await shop.simulator.config(model_quirks=FILTERED)
    noted(name, "it is in the newest message", await shop.turn(who, "the forbidden word"))
    noted(name, "it is in the one before", await shop.turn(who, "When are you open?"))
    noted(name, "the next one", await shop.turn(who, "And on Sunday?"))

    name, who = "a message, with a 400 that nothing is known about", await shop.customer()
    await shop.simulator.config(model_quirks={"filtered": None, "disliked": "odd"})
    noted(name, "it is the newest", await shop.turn(who, "something odd"))
    noted(name, "it is the one before", await shop.turn(who, "When are you open?"))
    noted(name, "the next one", await shop.turn(who, "And on Sunday?"))

    name, who = "more than 20,000 characters", await shop.customer()
    await shop.simulator.config(model_quirks={"disliked": None})
    await shop.owner.execute("UPDATE chatbots SET budgets = '{\"input_tokens\": 60000}'")
    for _ in range(6):
        await shop.turn(who, "A long story. " * 290)
    await shop.simulator.config(model_quirks={"max_prompt_chars": 20_000})
    noted(name, "the history is too long", await shop.turn(who, "When are you open?"))
    noted(name, "the next one", await shop.turn(who, "And on Sunday?"))
    noted(name, "six long messages at once", await shop.turn(who, *["A long story. " * 290] * 6))
    noted(name, "the next one", await shop.turn(who, "When are you open?"))

    name, who = "more than 6,000 characters", await shop.customer()
    await shop.simulator.config(model_quirks={"max_prompt_chars": 6_000})
    await shop.knows(
        *((f"How much is cake {n}?", f"Cake {n} costs {n} EUR." * 8) for n in range(40))
    )
    await shop.owner.execute("UPDATE chatbots SET kb_version = kb_version + 1")
    first = await shop.turn(who, "How much is cake 17?")
    assert "Cake 17 costs 17 EUR" in json.dumps(first.requests[-1])
    noted(name, "the knowledge base is too long", first)
    noted(name, "the next one", await shop.turn(who, "And cake 18?"))
    held("What is refused because of all that is told", table)


async def test_the_newest_messages_stay_when_the_history_gives_way(shop: Shop) -> None:
    who = await shop.customer()
    await shop.turn(who, "the forbidden word")
    await shop.simulator.config(model_quirks=FILTERED)
    turn = await shop.turn(who, "one", "two")
    roles = [[m["role"] for m in request["messages"]] for request in turn.requests]
    assert roles == [
        ["system", "user", "assistant", "user", "user", "user"],
        ["system", "user", "user", "user"],
    ]
    turn = await shop.turn(who, "three")
    (request,) = turn.requests
    one, two, answer, now, three = (m["content"] for m in request["messages"][1:])
    assert (one.partition("\n")[2], two, answer, three) == (
        *("one", "two", "Re: one | two", "three"),
    )
    assert now.startswith("[It is ")


async def test_what_was_asked_for_stays_when_the_history_gives_way_in_mid_turn(shop: Shop) -> None:
    """The call and its result are of this turn."""
    who = await shop.customer()
    for _ in range(5):
        await shop.turn(who, "A long story. " * 290)
    history = len(json.dumps((await shop.turn(who, "Hm.")).requests[-1]["messages"]))
    await shop.simulator.config(model_quirks={"max_prompt_chars": history})
    call = {
        "tool_calls": [{"name": REQUEST, "arguments": REFUND | {"context": {"x": "y" * 3_500}}}]
    }
    await shop.simulator.rules({**call, "times": 1}, {"reply": "Asked."})
    turn = await shop.turn(who, "Refund please. " * 250)
    assert turn.said == ["Asked."]
    assert [m["role"] for m in turn.requests[-1]["messages"]] == [
        "system",
        "user",  # how things are now
        "user",
        "assistant",
        "tool",
    ]
    assert [one["request_type"] for one in await shop.requested()] == ["refund"]
