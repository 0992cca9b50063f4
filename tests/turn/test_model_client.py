"""What goes to the model's server, and what becomes of its errors.

`Completions` takes a short cut past ChatOpenAI's and the SDK's own methods. If a new version of
either says something else to the server, or does not see an error any more, this fails.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from handlers.agent.answerer import NoAnswer
from handlers.agent.knowledge import Knowledge
from handlers.agent.model import Model
from handlers.agent.prompt import Briefing, Row, situation, system_prompt
from handlers.agent.tools import Toolbox
from handlers.outbound.kept import Connector
from handlers.rules.budgets import OUTPUT_TOKENS

BRIEFING = Briefing(
    chatbot_name="Luma",
    general_instructions='Be brief. "Quotes", ünïcödé and a\ttab stay as they are.',
    knowledge=(),
    conversation_instructions=(),
    customer_name=None,
    now=datetime(2026, 11, 2, 9, 30, tzinfo=UTC),
    timezone="UTC",
)
THREAD: list[AnyMessage] = [
    HumanMessage("Hi", id="row-1"),
    AIMessage("Hello!", id="row-2"),
    HumanMessage("Are you open?", id="row-3"),
    AIMessage(
        "",
        id="row-4",
        tool_calls=[ToolCall(name="search_knowledge_base", args={"query": "öffnen"}, id="c1")],
    ),
    ToolMessage("[]", tool_call_id="c1", name="search_knowledge_base"),
]


@dataclass(slots=True)
class Server:
    """Answers with what it is told to, one after the other; the last one again and again."""

    url: str = ""
    answers: list[Callable[[], web.Response]] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    hangs: bool = False
    cuts: int = 0

    async def complete(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.json())
        if self.cuts:
            self.cuts -= 1
            assert request.transport is not None
            request.transport.close()
        if self.hangs:
            await asyncio.sleep(60)
        return (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()


def said(text: str | None, calls: list[dict[str, Any]] | None = None) -> web.Response:
    message = {"role": "assistant", "content": text, "tool_calls": calls}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    return web.json_response(
        {"id": "x", "object": "chat.completion", "model": "m", "choices": [choice], "usage": usage}
    )


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server(answers=[lambda: said("Yes.")])
    app = web.Application()
    app.router.add_post("/v1/chat/completions", server.complete)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    yield server
    await runner.cleanup()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """With connections as the worker's."""
    async with aiohttp.ClientSession(connector=Connector(), auto_decompress=False) as session:
        yield session


def toolbox() -> Toolbox:
    async def reserve(requests: int) -> str:
        return "granted"

    rows = tuple(Row(n, None, "question" * 50, "answer" * 50) for n in range(40))
    return Toolbox(Knowledge(1, rows), reserve)


@pytest.mark.parametrize("may_call", [True, False])
async def test_same_request_as_without_the_short_cut(
    server: Server, session: aiohttp.ClientSession, may_call: bool
) -> None:
    tools = toolbox()
    await Model.create("some-model", "sk-1", server.url, session).answer(
        BRIEFING, THREAD, tools, may_call
    )
    plain = ChatOpenAI(
        model="some-model",
        api_key=SecretStr("sk-1"),
        base_url=server.url,
        max_completion_tokens=OUTPUT_TOKENS,
        use_responses_api=False,
    ).bind_tools(tools.schemas, tool_choice=None if may_call else "none")
    await plain.ainvoke(
        [("system", system_prompt(BRIEFING)), ("user", situation(BRIEFING)), *THREAD]
    )

    ours, theirs = server.bodies
    assert len(ours["tools"]) == 2
    assert ours == theirs


async def test_answer_and_what_it_cost(server: Server, session: aiohttp.ClientSession) -> None:
    answer = await Model.create("m", "sk-1", server.url, session).answer(
        BRIEFING, THREAD, toolbox(), True
    )

    assert answer.text == "Yes."
    assert answer.usage_metadata is not None
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (7, 3)


async def test_calls_well_formed_and_not(server: Server, session: aiohttp.ClientSession) -> None:
    def call(n: int, arguments: str) -> dict[str, Any]:
        function = {"name": "search_knowledge_base", "arguments": arguments}
        return {"id": f"c{n}", "type": "function", "function": function}

    calls = [call(1, json.dumps({"query": "open"})), call(2, "{")]
    server.answers = [lambda: said(None, calls)]
    answer = await Model.create("m", "sk-1", server.url, session).answer(
        BRIEFING, THREAD, toolbox(), True
    )

    assert [c["args"] for c in answer.tool_calls] == [{"query": "open"}]
    assert [c["id"] for c in answer.invalid_tool_calls] == ["c2"]


async def test_server_error_is_retried_once(server: Server, session: aiohttp.ClientSession) -> None:
    server.answers = [lambda: web.Response(status=500), lambda: said("Yes.")]
    answer = await Model.create("m", "sk-1", server.url, session).answer(
        BRIEFING, THREAD, toolbox(), True
    )

    assert answer.text == "Yes."
    assert len(server.bodies) == 2


@pytest.mark.parametrize(("status", "requests"), [(400, 1), (401, 1), (429, 2), (500, 2)], ids=str)
async def test_what_the_server_refuses_is_no_answer(
    server: Server, session: aiohttp.ClientSession, status: int, requests: int
) -> None:
    body = {"error": {"message": "no", "type": "x", "param": None, "code": None}}
    server.answers = [
        lambda: web.json_response(body, status=status, headers={"Retry-After-Ms": "1"})
    ]
    with pytest.raises(NoAnswer, match=f"^http_{status}$"):
        await Model.create("m", "sk-1", server.url, session).answer(
            BRIEFING, THREAD, toolbox(), True
        )

    assert len(server.bodies) == requests


async def test_nobody_there(session: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    model = Model.create("m", "sk-1", f"http://127.0.0.1:{unused_tcp_port}/v1", session)
    with pytest.raises(NoAnswer, match=r"^unreachable$"):
        await model.answer(BRIEFING, THREAD, toolbox(), True)


async def test_an_answer_that_does_not_come(
    server: Server, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.agent.model.MODEL_TIMEOUT_S", 0.2)
    server.hangs = True
    with pytest.raises(NoAnswer, match=r"^timeout$"):
        await Model.create("m", "sk-1", server.url, session).answer(
            BRIEFING, THREAD, toolbox(), True
        )

    assert len(server.bodies) == 2


async def test_connection_cut_in_the_middle_is_retried_once(
    server: Server, session: aiohttp.ClientSession
) -> None:
    server.cuts = 1
    model = Model.create("m", "sk-1", server.url, session)
    assert (await model.answer(BRIEFING, THREAD, toolbox(), True)).text == "Yes."


async def test_compressed_answer(server: Server, session: aiohttp.ClientSession) -> None:
    def packed() -> web.Response:
        response = said("Yes. " * 500)
        response.enable_compression()
        return response

    server.answers = [packed]
    model = Model.create("m", "sk-1", server.url, session)
    assert (await model.answer(BRIEFING, THREAD, toolbox(), True)).text.startswith("Yes. Yes.")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def packed(text: str) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    body = json.dumps({"choices": [choice | {"finish_reason": "stop"}]}).encode()
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("waits_s", [0.0, 0.2])
async def test_a_second_answer_is_nobody_else_s(
    session: aiohttp.ClientSession, waits_s: float
) -> None:
    """At once, or while nobody asks: it may be another customer's, or another tenant's."""
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                asked += 1
                writer.write(packed(f"answer {asked}"))
                await asyncio.sleep(waits_s)
                writer.write(packed(f"again {asked}"))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as raw:
        url = f"http://127.0.0.1:{raw.sockets[0].getsockname()[1]}/v1"
        model = Model.create("m", "sk-1", url, session)
        texts = []
        for _ in range(4):
            texts.append((await model.answer(BRIEFING, THREAD, toolbox(), True)).text)
            await asyncio.sleep(waits_s * 2)
    assert texts == [f"answer {n}" for n in range(1, 5)]


@pytest.mark.parametrize(
    ("wire", "word"),
    [
        (b"", "unreachable"),
        (b"garbage\r\n\r\n", "unreachable"),
        (b"HTTP/1.1 abc\r\n\r\n", "unreachable"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "unreachable"),
        (HEAD + b"Content-Length: 100\r\n\r\n{}", "unreachable"),
        (HEAD + b"Content-Length: 1\r\n\r\n{}", "unreachable"),
        (HEAD + b"Content-Length: -5\r\n\r\n{}", "unreachable"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 16 + b"\r\n{}", "unreachable"),
        (HEAD + b"X: y\r\n" * 10_000 + b"\r\n", "unreachable"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}", "unreachable"),
        (HEAD + b"Content-Length: 2\r\nContent-Encoding: br\r\n\r\n{}", "unreadable"),
        (HEAD + b"Content-Length: 2\r\nContent-Encoding: gzip\r\n\r\n{}", "unreadable"),
        (HEAD + b"Content-Length: 2\r\nContent-Encoding: identity\r\n\r\n{}", "no_choices"),
        (HEAD.replace(b"200 OK", b"204 None") + b"\r\n", "unreadable"),
        (
            HEAD.replace(b"200", b"302") + b"Location: http://[\r\nContent-Length: 0\r\n\r\n",
            "unreachable",
        ),
        (
            HEAD.replace(b"200", b"302") + b"Location: /v1/\r\nContent-Length: 0\r\n\r\n",
            "unreachable",
        ),
        (
            HEAD.replace(b"200", b"302") + b"Location: ftp://x/\r\nContent-Length: 0\r\n\r\n",
            "unreachable",
        ),
        (HEAD.replace(b"200", b"302") + b"Content-Length: 0\r\n\r\n", "http_302"),
    ],
    ids=lambda value: str(value)[:70],
)
async def test_whatever_comes_over_the_wire_is_no_answer(
    session: aiohttp.ClientSession, wire: bytes, word: str
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(wire)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as raw:
        url = f"http://127.0.0.1:{raw.sockets[0].getsockname()[1]}/v1"
        with pytest.raises(NoAnswer) as none:
            await Model.create("m", "sk-1", url, session).answer(BRIEFING, THREAD, toolbox(), True)
    assert none.value.word == word
