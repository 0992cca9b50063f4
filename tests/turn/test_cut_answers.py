"""What a tenant's tool answers over a raw socket: 200 says that an answer began well, and only its
end says that it is all."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest

from db.pool import Conn, Pool
from handlers.fixed.texts import Kind, fixed_text
from handlers.tools.outcome import NOT_CERTAIN
from tests.outbound.servers import Speak, answer, listening
from tests.turn.own_tools import calls, has_tool, ledger
from tests.turn.shop import Shop, open_shop

NOT_DONE = fixed_text(Kind.NOT_DONE, "en")
LONG = json.dumps({"rows": ["table 7"] * 1_500}).encode()


@pytest.fixture
async def shop(pool: Pool, owner: Conn) -> AsyncIterator[Shop]:
    async with open_shop(pool, owner) as shop:
        yield shop


def head(kind: str, more: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{more}\r\n\r\n".encode()


def cut(kind: str, said: bytes, more: str = "Content-Length: 90000") -> Speak:
    async def speak(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(head(kind, more) + said)
        await writer.drain()
        writer.close()

    return speak


def packed(kind: str, said: bytes) -> Speak:
    body = gzip.compress(said)
    return answer(head(kind, f"Content-Encoding: gzip\r\nContent-Length: {len(body)}"), body)


@pytest.mark.parametrize(
    ("speak", "error"),
    [
        (cut("text/plain", b"Booked: table"), "protocol"),
        (cut("text/plain", b""), "protocol"),
        (cut("text/plain", b"5\r\nBooke\r\n", "Transfer-Encoding: chunked"), "protocol"),
        (cut("application/json", LONG[:9_000]), "protocol"),
        (packed("text/plain", b"Booked: table 7"), "unreadable_answer"),
        (packed("application/json", bytes(60_000_000)), "unreadable_answer"),
    ],
    ids=["cut text", "no text", "cut chunks", "cut JSON", "packed", "a bomb"],
)
async def test_what_breaks_off_or_is_packed_is_not_certain(
    shop: Shop, speak: Speak, error: str
) -> None:
    who = await shop.customer()
    async with listening(speak) as server:
        await has_tool(shop, url=f"http://127.0.0.1:{server.port}/book")
        call = calls(day="Friday", people=2)
        await shop.simulator.rules(call, {"reply": "Your table is booked."})
        turn = await shop.turn(who, "A table?")
    assert turn.said == [NOT_DONE]
    assert turn.requests[1]["messages"][-1]["content"] == NOT_CERTAIN
    (row,) = await ledger(shop)
    assert (row["status"], row["status_code"], row["error"]) == ("unknown", 200, error)
    assert (len(server.requests), row["tries"]) == (1, 1)


async def test_what_is_longer_than_is_read_says_something(shop: Shop) -> None:
    """We cut it, not the endpoint."""
    who = await shop.customer()
    body = json.dumps({"rows": ["table 7"] * 3_000}).encode()
    speak = answer(head("application/json", f"Content-Length: {len(body)}"), body)
    async with listening(speak) as server:
        await has_tool(shop, url=f"http://127.0.0.1:{server.port}/book")
        await shop.simulator.rules(calls(day="Friday"), {"reply": "Your table is booked."})
        turn = await shop.turn(who, "A table?")
    assert turn.said == ["Your table is booked."]
    (row,) = await ledger(shop)
    assert row["status"] == "done"
    assert row["result"].endswith("(shortened)")
