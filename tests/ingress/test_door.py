"""Who has no key and wants the door for himself: bodies and headers that do not come, that come too
slowly, too many connections, answers that nobody reads, bombs."""

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator
from functools import cache, partial
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from handlers.process.http.bounds import BODY_BYTES_PER_S, HEAD_BYTES, Bounds
from handlers.process.http.gate import Gate
from handlers.process.http.server import Runner
from handlers.whatsapp.cloud_api.signature import sign
from ingress.doorkeeper import MAX_BODY_BYTES
from local.servers.rabbitmq import RabbitMQ
from tests.e2e.conftest import until
from tests.ingress import DEAD_BROKER, SECRET, Door, door
from tests.ingress.lines import WEBHOOKS, Line, head, lines
from tests.unit import payloads

SILENT_BODIES = [
    head("POST", WEBHOOKS, f"Content-Length: {MAX_BODY_BYTES}"),
    head("POST", WEBHOOKS, "Transfer-Encoding: chunked"),
    head("POST", "/v1/actions/1/approve", "Content-Length: 60000"),
    head("POST", "/nowhere", "Content-Length: 60000"),
]
HALF_A_HEAD = b"POST /webhooks/whatsapp HTTP/1.1\r\nHost: x\r\nX-Slow: "


@pytest.fixture(scope="module")
async def ingress(rabbitmq_server: RabbitMQ) -> AsyncIterator[Door]:
    async with door(rabbitmq_server.url) as opened:
        await opened.ready()
        yield opened


async def taken_in(opened: Door, count: int = 20) -> None:
    """A webhook is answered, and soon."""
    for _ in range(count):
        answer = await opened.post(payloads.TEXT)
        assert (answer.status, answer.seconds < 1) == (200, True), answer


# ---- bodies --------------------------------------------------------------------------------------


async def test_what_is_announced_and_not_sent_takes_no_room(ingress: Door) -> None:
    """Sixteen that announce 4 MiB, and sixteen that do not say how much, are more than the 32 MiB
    that there are; 1,100 are more than the POSTs."""
    for count in (8, 1_100):
        async with lines(ingress.url, SILENT_BODIES[:2] * (count // 2)):
            await taken_in(ingress)


@pytest.mark.parametrize("said", SILENT_BODIES, ids=["whole", "chunked", "api", "nowhere"])
async def test_a_body_that_does_not_come_is_given_up(said: bytes) -> None:
    async with (
        door(DEAD_BROKER, bounds=Bounds(body_grace_s=0.5)) as opened,
        lines(opened.url, [said]) as (line,),
    ):
        loop = asyncio.get_running_loop()
        started = loop.time()
        heard = await line.end()
        if b"/nowhere" in said:  # answered before its body, which is waited for all the same
            assert b" 404 " in heard.partition(b"\r\n")[0]
        elif b"/v1" in said:
            assert b" 401 " in heard.partition(b"\r\n")[0]
        else:
            assert heard.startswith(b"HTTP/1.1 408 ")
            assert b"too slow" in heard
        assert 0.4 < loop.time() - started < 2


async def test_a_body_wants_a_pace(rabbitmq_server: RabbitMQ) -> None:
    announced = head("POST", WEBHOOKS, "Content-Length: 12000")
    async with (
        door(rabbitmq_server.url, bounds=Bounds(body_grace_s=0.5)) as opened,
        lines(opened.url, [announced] * 2) as (slow, fair),
    ):
        for _ in range(30):
            slow.say(b"x" * (BODY_BYTES_PER_S // 100))
            fair.say(b"x" * 400)
            await asyncio.sleep(0.1)
        assert (await slow.end()).startswith(b"HTTP/1.1 408 ")
        assert (await fair.answer())[0] == 401  # whole, and only not signed


async def test_what_has_arrived_takes_room_and_the_oldest_gives_way(
    rabbitmq_server: RabbitMQ,
) -> None:
    announced = head("POST", WEBHOOKS, f"Content-Length: {MAX_BODY_BYTES}")
    async with (
        door(rabbitmq_server.url, bounds=Bounds(arrived_bytes=2_000_000)) as opened,
        lines(opened.url, [announced + b" " * 700_000] * 2) as held,
    ):
        await opened.ready()
        await taken_in(opened, 3)
        async with lines(opened.url, [announced + b" " * 900_000]) as (newest,):
            assert (await held[0].end()).startswith(b"HTTP/1.1 503 ")
            assert held[1].is_open
            assert newest.is_open
            await taken_in(opened, 3)


async def test_whole_bodies_beyond_the_room_are_refused(rabbitmq_server: RabbitMQ) -> None:
    async with door(rabbitmq_server.url, bounds=Bounds(arrived_bytes=100_000)) as opened:
        answer = await opened.send(b" " * 90_000, None)
        assert answer.status == 401
        answer = await opened.send(b" " * 200_000, None)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        assert answer.text == "too much in flight: come again"
        await opened.ready()
        assert (await opened.post(payloads.TEXT)).status == 200


async def test_pipelined_requests_are_answered_in_order(ingress: Door) -> None:
    asked = [head("GET", f"/{n}") for n in range(100)] + [
        head("POST", "/healthz", "Content-Length: 70000") + b"x" * 70_000,
        head("GET", "/healthz"),
    ]
    async with lines(ingress.url, [b""]) as (line,):
        line.say(b"".join(asked))
        statuses = [(await line.answer())[0] for _ in asked]
        assert statuses == [*([404] * 100), 405, 200]
        line.say(head("GET", "/healthz"))  # and it goes on
        assert (await line.answer())[0] == 200


# ---- headers -------------------------------------------------------------------------------------


async def test_headers_that_do_not_come_to_their_end_are_given_up(ingress: Door) -> None:
    async with door(DEAD_BROKER, bounds=Bounds(head_s=0.5)) as opened:
        whole = head("GET", "/healthz")
        async with lines(opened.url, [HALF_A_HEAD] * 100 + [b""] * 100 + [whole] * 2) as all_of_it:
            idle, again = all_of_it[-2:]
            assert (await idle.answer())[0] == (await again.answer())[0] == 200
            again.say(HALF_A_HEAD)
            for _ in range(12):  # a byte now and then does not help
                for line in all_of_it[:50]:
                    line.say(b"x")
                await asyncio.sleep(0.1)
            heard = [await line.end() for line in (*all_of_it[:200], again)]
            assert {h.partition(b"\r\n")[0] for h in heard[:100]} <= {
                b"HTTP/1.1 408 too slow",
                b"",  # reset: what was written meanwhile was not read any more
            }
            assert heard[50].startswith(b"HTTP/1.1 408 ")
            assert set(heard[100:200]) == {b""}
            assert heard[200].startswith(b"HTTP/1.1 408 ")
            idle.say(whole)  # who has nothing to ask may wait
            assert (await idle.answer())[0] == 200


@pytest.mark.parametrize("path", [WEBHOOKS, "/v1/actions/1/approve", "/nowhere"])
@pytest.mark.parametrize(
    "chunk", [b"1\r\na\r\n", b"2;" + b"x" * 100 + b"\r\nab\r\n"], ids=["tiny", "framed"]
)
async def test_a_body_that_is_mostly_chunks_is_refused(
    ingress: Door, path: str, chunk: bytes
) -> None:
    """The parser works for every chunk: 12 MB/s of them let no webhook in for half a minute."""
    flood = head("POST", path, "Transfer-Encoding: chunked") + chunk * (1_000_000 // len(chunk))
    async with lines(ingress.url, [flood] * 50) as all_of_it:
        await taken_in(ingress)
        for line in all_of_it:
            heard = await line.end()
            assert heard == b"" or heard.split()[1] in (b"400", b"401", b"404", b"405"), heard
    said = (await ingress.get("/metrics")).text
    assert 'swiftreplies_http_connections_closed_total{reason="wasteful"}' in said


@pytest.mark.parametrize("size", [64, 4_000])
async def test_a_body_in_chunks_is_taken(ingress: Door, size: int) -> None:
    body = json.dumps(payloads.TEXT | {"more": "x" * 300_000}).encode()
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    signed = f"X-Hub-Signature-256: {sign(body, SECRET)}"
    said = head("POST", WEBHOOKS, "Transfer-Encoding: chunked", signed) + framed
    async with lines(ingress.url, [said]) as (line,):
        assert (await line.answer())[0] == 200


async def test_endless_headers_are_refused(ingress: Door) -> None:
    field = b"X-More: " + b"x" * 4_000 + b"\r\n"
    async with lines(ingress.url, [b"GET / HTTP/1.1\r\nHost: x\r\n"]) as (line,):
        for _ in range(HEAD_BYTES // len(field) + 2):
            line.say(field)
            await asyncio.sleep(0.01)
        assert (await line.end()).startswith(b"HTTP/1.1 431 ")


# ---- connections ---------------------------------------------------------------------------------


async def test_the_oldest_unfinished_connection_gives_way(rabbitmq_server: RabbitMQ) -> None:
    async with door(rabbitmq_server.url, bounds=Bounds(connections=20)) as opened:
        await opened.ready()
        async with lines(opened.url, [*SILENT_BODIES, b"", *([HALF_A_HEAD] * 40)]) as flood:
            await taken_in(opened)
            await until(partial(_open, flood), lambda n: n < 20)
            assert [line.is_open for line in flood[:25]] == [False] * 25
            assert flood[-1].is_open
        said = (await opened.get("/metrics")).text
        assert 'swiftreplies_http_connections_closed_total{reason="gave_way"}' in said


async def _open(flood: list[Line]) -> int:
    await asyncio.sleep(0.02)
    return sum(line.is_open for line in flood)


async def test_one_peer_has_its_share_and_a_proxy_is_many() -> None:
    whole = head("GET", "/healthz")
    for trusted, left in ((Bounds().trusted, 30), ((), 5)):
        bounds = Bounds(peer_connections=5, trusted=trusted)
        async with (
            door(DEAD_BROKER, bounds=bounds) as opened,
            lines(opened.url, [whole] * 30) as flood,
        ):
            await flood[-1].answer()
            await asyncio.sleep(0.1)
            assert await _open(flood) == left
            flood[-1].say(whole)
            assert (await flood[-1].answer())[0] == 200


async def test_who_does_not_read_its_answers_is_closed() -> None:
    async with door(DEAD_BROKER, bounds=Bounds(unread_s=0.5)) as opened:
        at = opened.url.rpartition(":")[2]
        quiet = socket.socket()
        quiet.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        quiet.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(quiet, ("127.0.0.1", int(at)))

        async def ask() -> None:
            while True:
                await loop.sock_sendall(quiet, head("GET", "/v1/openapi.json") * 10)
                await asyncio.sleep(0.01)

        try:
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(ask(), 15)
        finally:
            quiet.close()
        assert (await opened.get("/healthz")).status == 200


ODD = {
    "a queued body": head("GET", "/healthz") + SILENT_BODIES[0],
    "a body behind a body": head("POST", "/nowhere", "Content-Length: 3") + b"abc" + HALF_A_HEAD,
    "behind an upgrade": head("GET", "/", "Connection: upgrade", "Upgrade: websocket")
    + SILENT_BODIES[0],
    "half behind an upgrade": head("GET", "/", "Connection: upgrade", "Upgrade: websocket")
    + HALF_A_HEAD,
    "connect": head("CONNECT", "x:1"),
    "connect and more": head("CONNECT", "x:1") + b"x" * 100_000,
    "continue": head("POST", WEBHOOKS, "Expect: 100-continue", "Content-Length: 9"),
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "old": b"POST /webhooks/whatsapp HTTP/1.0\r\nContent-Length: 9\r\n\r\n",
    "empty lines": b"\r\n" * 50,
    "a chunk begun": SILENT_BODIES[1] + b"ffff\r\nabc",
    "an endless chunk header": SILENT_BODIES[1] + b"1;" + b"x" * 1_000,
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD.keys())
async def test_whatever_is_said_gives_way_to_a_webhook(
    rabbitmq_server: RabbitMQ, said: bytes
) -> None:
    async with door(rabbitmq_server.url, bounds=Bounds(connections=8)) as opened:
        await opened.ready()
        async with lines(opened.url, [said] * 30):
            await asyncio.sleep(0.3)
            async with aiohttp.ClientSession() as anew:
                other = Door(opened.url, anew)
                await taken_in(other, 3)


async def test_what_is_queued_is_bounded_and_charged() -> None:
    """A second request behind one in hand is not read into memory."""
    async with door(DEAD_BROKER) as opened:
        key = f"Authorization: Bearer sr_{'A' * 43}"
        flood = head("GET", "/v1/chatbots", key) + head(
            "POST", "/nowhere", f"Content-Length: {MAX_BODY_BYTES}"
        )
        before = rss_mb()
        async with lines(opened.url, [flood + b" " * (MAX_BODY_BYTES - 1)] * 40):
            await asyncio.sleep(1)
            assert rss_mb() - before < 400  # 160 MB of them are this test's own
            assert (await opened.get("/healthz")).status == 200


async def test_who_hangs_up_before_the_answer_leaves_nothing_charged() -> None:
    """The answer comes after the end of the connection, and what was said behind the request was
    charged once more by it: 192 such connections refused every webhook until a restart."""
    arrived, answer = asyncio.Event(), asyncio.Event()

    async def waits(_: web.Request) -> web.Response:
        arrived.set()
        await answer.wait()
        return web.Response()

    async def held() -> int:
        return gate.arrived

    app, gate = web.Application(), Gate(Bounds())
    app.router.add_get("/", waits)
    runner = Runner(app, gate)
    await runner.setup()
    try:
        await runner.listen("127.0.0.1", 0)
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with lines(url, [head("GET", "/")]) as (line,):
            await asyncio.wait_for(arrived.wait(), 5)
            line.say(HALF_A_HEAD + b"x" * 5_000)
            await until(held, lambda count: count > 5_000)
        await until(held, lambda count: count == 0)  # it has left
        answer.set()
        await asyncio.sleep(0.1)
        assert gate.arrived == 0
    finally:
        await runner.cleanup()


# ---- bombs ---------------------------------------------------------------------------------------


@cache
def bomb(mib: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1024 * 1024)) for _ in range(mib)) + packer.flush()


def rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 1024 / 1024


@pytest.mark.parametrize("path", [WEBHOOKS, "/v1/actions/1/approve", "/healthz", "/nowhere", "/"])
async def test_nothing_is_unpacked(ingress: Door, path: str) -> None:
    packed = bomb(64)
    before = rss_mb()
    loop = asyncio.get_running_loop()
    for method in ("POST", "PUT", "GET", "PATCH", "DELETE"):
        started = loop.time()
        async with ingress.http.request(
            method, ingress.url + path, data=packed, headers={"Content-Encoding": "gzip"}
        ) as response:
            assert response.status == 415
            assert response.headers["Accept-Encoding"] == "identity"
            assert "not unpacked" in await response.text()
        assert loop.time() - started < 1
    assert rss_mb() - before < 20


@pytest.mark.parametrize(
    ("coding", "expected"),
    [
        *((c, 415) for c in ("gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "x-what")),
        *((c, 200) for c in ("identity", "Identity", "", "identity, identity")),
    ],
)
async def test_any_content_encoding_is_refused_in_words(
    ingress: Door, coding: str, expected: int
) -> None:
    body = json.dumps(payloads.TEXT).encode()
    async with ingress.http.post(
        ingress.url + WEBHOOKS,
        data=body,
        headers={"Content-Encoding": coding, "X-Hub-Signature-256": sign(body, SECRET)},
    ) as response:
        assert response.status == expected


async def test_the_api_refuses_it_as_a_problem(ingress: Door) -> None:
    async with ingress.http.post(
        ingress.url + "/v1/actions/1/approve",
        data=gzip.compress(b"{}"),
        headers={"Content-Encoding": "gzip"},
    ) as response:
        assert response.content_type == "application/problem+json"
        assert (await response.json(content_type=None))["type"].endswith(":unsupported_media_type")


async def test_packed_chunks_are_not_unpacked(ingress: Door) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield bomb(64)

    async with (
        aiohttp.ClientSession() as http,
        http.post(
            ingress.url + WEBHOOKS, data=pieces(), headers={"Content-Encoding": "deflate"}
        ) as response,
    ):
        assert response.status == 415
