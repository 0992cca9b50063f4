"""The model, the Graph API and a tenant's endpoint at the price of two `find`s: what is measured is
who calls them.

    python -m bench.outside

Says its URL in the first line. The simulator checks what it is sent and takes milliseconds for it,
which would be the bottleneck here. The model answers with a text; a customer's "look it up" makes
it ask for a search first.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from local.processes import Process

LOOK_UP = "look it up"  # in the customer's last message: one tool call, then the text
ANSWER = (
    "We are open from eight to {hour}, on Saturdays until two. On Sundays we are closed, but orders"
    " of {what} can be placed at any time and are ready on {day} morning."
)
_HOURS = ("five", "six", "seven", "eight", "nine", "ten")
_WHAT = ("bread", "rolls", "cakes", "pies", "buns", "tarts", "bagels", "biscuits")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")


def _completion(message: dict[str, Any], finish: str) -> bytes:
    return json.dumps(
        {
            "id": "chatcmpl-000000000000000000000000",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": "bench",
            "choices": [
                {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
            ],
            "usage": {
                "prompt_tokens": 900,
                "completion_tokens": 40,
                "total_tokens": 940,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
        }
    ).encode()


REFUSED = b'{"error":{"message":"Invalid OAuth access token.","type":"OAuthException","code":190}}'
# Not always the same: whoever keeps what it read of an answer would read none.
TEXTS = [
    _completion(
        {
            "role": "assistant",
            "content": ANSWER.format(hour=hour, what=f"{one} and {other}", day=day),
            "refusal": None,
        },
        "stop",
    )
    for hour, one, other, day in product(_HOURS, _WHAT, _WHAT, _DAYS)
]
CALL = _completion(
    {
        "role": "assistant",
        "content": None,
        "refusal": None,
        "tool_calls": [
            {
                "id": "call_000000000000000000000000",
                "type": "function",
                "function": {
                    "name": "search_knowledge_base",
                    "arguments": json.dumps({"query": "opening hours on Saturday"}),
                },
            }
        ],
    },
    "tool_calls",
)


class Outside:
    def __init__(self) -> None:
        self.latency_s = 0.0
        self.asked = 0
        self.model_calls = 0
        self.graph_calls = 0
        self.thinking = 0
        self.refused: set[bytes] = set()
        self.sends: list[tuple[str, float]] = []  # to whom, and when the request was here

    def answer(self, path: bytes, body: bytes) -> tuple[float, bytes]:
        """After how long, and what."""
        if path.endswith(b"/chat/completions"):
            self.model_calls += 1
            self.asked += 1
            asked = body.rfind(LOOK_UP.encode())
            wants = asked >= 0 and body.find(b'"tool_call_id"', asked) < 0
            return self.latency_s, CALL if wants else TEXTS[self.asked % len(TEXTS)]
        if path.endswith(b"/messages"):
            self.graph_calls += 1
            if b'"typing_indicator"' in body:
                return 0.0, b'{"success":true}'
            if path.split(b"/")[-2] in self.refused:
                return 0.0, REFUSED
            self.sends.append((json.loads(body)["to"].lstrip("+"), time.time()))
            sent = {
                "messaging_product": "whatsapp",
                "messages": [{"id": f"wamid.{time.time_ns()}"}],
            }
            return 0.0, json.dumps(sent).encode()
        if path.startswith(b"/hook/"):  # a tenant's endpoint
            return 0.0, b'{"received":true}'
        if path.startswith(b"/refuse/"):  # whatever this number sends
            self.refused.add(path.rpartition(b"/")[2])
        if path.startswith(b"/latency/"):
            self.latency_s = float(path.rpartition(b"/")[2])
        seen = {
            "model": self.model_calls,
            "graph": self.graph_calls,
            "thinking": self.thinking,
            "sends": self.sends,
        }
        self.model_calls, self.graph_calls, self.sends = 0, 0, []
        return 0.0, json.dumps(seen).encode()


class Connection(asyncio.Protocol):
    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        self._seen = b""
        self._transport: Any = None  # uvloop's is of no class of asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._seen += data
        while (end := self._seen.find(b"\r\n\r\n")) >= 0:
            head = self._seen[:end].lower()
            place = head.find(b"content-length:")
            length = int(head[place + 15 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self._seen) < end + 4 + length:
                return
            body = self._seen[end + 4 : end + 4 + length]
            path = self._seen.split(b" ", 2)[1]
            self._seen = self._seen[end + 4 + length :]
            wait, answer = self._outside.answer(path, body)
            if wait:
                self._outside.thinking += 1
                asyncio.get_running_loop().call_later(wait, self._thought, answer)
            else:
                self._say(answer)

    def _thought(self, answer: bytes) -> None:
        self._outside.thinking -= 1
        self._say(answer)

    def _say(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            status = "401 Unauthorized" if answer is REFUSED else "200 OK"
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: "
            self._transport.write(f"{head}{len(answer)}\r\n\r\n".encode() + answer)


async def serve() -> None:
    outside = Outside()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(outside), "127.0.0.1", 0, backlog=2_000
    )
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


@asynccontextmanager
async def outside() -> AsyncIterator[str]:
    """Its URL; on the core of who starts it."""
    with tempfile.TemporaryDirectory(prefix="swiftreplies-bench-") as directory:
        arguments = [sys.executable, "-m", "bench.outside"]
        process = await Process.start("outside", arguments, os.environ, Path(directory) / "log")
        try:
            yield (await process.first_line(10)).strip()
        finally:
            process.terminate()
            await process.ended()


async def told(url: str, path: str = "seen") -> dict[str, Any]:
    """What the servers outside were asked since this was last asked; `latency/2.5` makes the model
    take so many seconds from now on."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/{path}") as response:
        seen: dict[str, Any] = await response.json()
        return seen


if __name__ == "__main__":
    uvloop.run(serve())
