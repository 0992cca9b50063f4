"""Whatever answers: bounded in time and bytes, a status or a class, and nothing is raised."""

import asyncio
import gzip
import ssl
from pathlib import Path
from typing import Any

import pytest

from handlers.outbound.guard import ANSWER_BYTES, ARRIVED_BYTES, TEXT_BYTES, Outbound, Outcome
from tests.outbound.servers import (
    Answers,
    Certificates,
    Server,
    Speak,
    allowed,
    answer,
    certificates,
    listening,
)

PATIENT_S = 20.0  # nothing here may take it
# What the kernel's buffers of a connection on loopback hold at most, on top of what is read.
BUFFERS = 16 * 1024 * 1024


async def posted(speak: Speak, seconds: float = PATIENT_S) -> tuple[Outcome, Server]:
    async with listening(speak) as server:
        allow = allowed(f"127.0.0.1:{server.port}")
        async with Outbound(allow, connections=5, seconds=seconds) as outbound:
            return await outbound.post(f"http://127.0.0.1:{server.port}/", b"{}", {}), server


def body_of(length: int, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + extra + b"Content-Length: %d\r\n\r\n" % length


@pytest.mark.parametrize("status", [200, 204, 304, 400, 410, 429, 500, 599, 999])
async def test_a_status_is_a_status(status: int) -> None:
    body = b"" if status in (204, 304) else b"said"
    head = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    outcome, _ = await posted(answer(head, body))
    assert (outcome.status, outcome.error, outcome.text) == (status, None, body.decode())
    assert outcome.milliseconds >= 0


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        ("für dich".encode(), "für dich"),
        (b"a\0b\xff\xfe", "a\ufffdb\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd" * 3),  # half of a character
        (b"a" * 5_000, "a" * TEXT_BYTES),
    ],
)
async def test_the_text_can_be_stored(body: bytes, text: str) -> None:
    outcome, _ = await posted(answer(body_of(len(body)), body))
    assert (outcome.status, outcome.text) == (200, text)
    outcome.text.encode()


@pytest.mark.parametrize(
    ("value", "told"),
    [(b"120", "120"), (b"x\xff", "x\ufffd"), (b"9" * 5_000, "9" * 100), (None, None)],
)
async def test_retry_after_as_it_is(value: bytes | None, told: str | None) -> None:
    extra = b"" if value is None else b"Retry-After: " + value + b"\r\n"
    outcome, _ = await posted(answer(body_of(0, extra), b""))
    assert outcome.retry_after == told


async def test_connections_are_used_again() -> None:
    async with listening() as server:
        allow = allowed(f"127.0.0.1:{server.port}")
        async with Outbound(allow, connections=5, seconds=PATIENT_S) as outbound:
            for _ in range(20):
                assert (
                    await outbound.post(f"http://127.0.0.1:{server.port}/", b"", {})
                ).text == "ok"
        assert (server.connections, len(server.requests)) == (1, 20)


async def test_what_is_kept_open_and_closed_at_the_next_post_is_not_sent_twice() -> None:
    posts = 0

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal posts
        posts += 1
        if posts > 1:
            raise ConnectionError("closes instead of answering")
        writer.write(body_of(2) + b"ok")

    async with listening(speak) as server:
        allow = allowed(f"127.0.0.1:{server.port}")
        async with Outbound(allow, connections=5, seconds=PATIENT_S) as outbound:
            url = f"http://127.0.0.1:{server.port}/"
            assert (await outbound.post(url, b"", {})).status == 200
            assert (await outbound.post(url, b"", {})).error == "protocol"
        assert (posts, server.connections) == (2, 1)


async def test_no_cookie_comes_back() -> None:
    async with listening(answer(body_of(2, b"Set-Cookie: a=b\r\n"))) as server:
        allow = allowed(f"127.0.0.1:{server.port}")
        async with Outbound(allow, connections=5, seconds=PATIENT_S) as outbound:
            for _ in range(2):
                await outbound.post(f"http://127.0.0.1:{server.port}/", b"", {})
    assert len(server.requests) == 2
    assert b"cookie" not in b"".join(server.requests).lower()


async def test_nothing_is_unpacked() -> None:
    bomb = gzip.compress(b"0" * 30_000_000)
    outcome, _ = await posted(answer(body_of(len(bomb), b"Content-Encoding: gzip\r\n"), bomb))
    assert outcome.status == 200
    assert outcome.text.startswith("\x1f\ufffd\x08")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
FLOODS = {
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a" * 4096, 200),
    "announced": (body_of(10**12), b"a" * 4096, 200),
    "chunks": (CHUNKED, b"1\r\na\r\n" * 100, 200),
    "a chunk's size": (CHUNKED, b"0" * 4096, 200),
    "a chunk's extension": (CHUNKED + b"1;", b"a" * 4096, 200),
    "trailers": (CHUNKED + b"1\r\na\r\n0\r\n", b"A: a\r\n" * 100, None),
    "interim answers": (b"", b"HTTP/1.1 100 C\r\n\r\n" * 100, None),
    "a header": (b"HTTP/1.1 200 OK\r\nA: ", b"a" * 4096, None),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: a\r\n" * 100, None),
    "a reason": (b"HTTP/1.1 200 ", b"a" * 4096, None),
    "empty lines": (b"", b"\r\n" * 1000, None),
    "another protocol": (
        b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"a" * 4096,
        101,
    ),
    "no HTTP": (b"SSH-2.0-x\r\n", b"a" * 4096, None),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_an_answer_without_an_end_is_left(name: str) -> None:
    """Or the post would take the whole of its time."""
    head, piece, status = FLOODS[name]
    sent = 0

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    outcome, _ = await posted(speak)
    # Of trailers it depends on what has come with them whether the status is known.
    assert outcome.status in ({status, 200} if name == "trailers" else {status})
    assert outcome.error == (None if outcome.status else "protocol")
    assert outcome.milliseconds < PATIENT_S * 1_000
    assert sent < BUFFERS + ARRIVED_BYTES


@pytest.mark.parametrize("length", [ANSWER_BYTES, 4 * ANSWER_BYTES, 16 * ANSWER_BYTES])
async def test_a_long_answer_is_an_answer(length: int) -> None:
    outcome, _ = await posted(answer(body_of(length), b"a" * length))
    assert (outcome.status, outcome.error) == (200, None)
    assert outcome.text == "a" * TEXT_BYTES


async def test_no_more_of_a_body_is_read() -> None:
    """Neither all of the time is taken, nor is the connection kept for somebody else."""
    closed = asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(body_of(10**9) + b"a" * (ANSWER_BYTES + 1_000))
        await writer.drain()
        await reader.read()
        closed.set()

    async with listening(speak) as server:
        allow = allowed(f"127.0.0.1:{server.port}")
        async with Outbound(allow, connections=5, seconds=PATIENT_S) as outbound:
            outcome = await outbound.post(f"http://127.0.0.1:{server.port}/", b"{}", {})
            await closed.wait()
    assert (outcome.status, outcome.text) == (200, "a" * TEXT_BYTES)
    assert outcome.milliseconds < PATIENT_S * 1_000


def dripping(head: bytes, piece: bytes) -> Speak:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    return speak


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize(
    ("speak", "status"),
    [
        (silence, None),
        (dripping(b"HTTP/1.1 200 OK\r\nA: ", b"a"), None),
        (dripping(b"", b"HTTP/1.1 100 C\r\n\r\n"), None),
        (dripping(b"HTTP/1.1 200 OK\r\n\r\n", b"a"), 200),
        (dripping(CHUNKED, b"1\r\na\r\n"), 200),
    ],
)
async def test_time_ends_it(speak: Speak, status: int | None) -> None:
    outcome, server = await posted(speak, seconds=0.5)
    assert outcome.status == status
    assert outcome.error == (None if status else "timeout")
    assert outcome.milliseconds >= 490
    assert server.connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/9.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"<html>",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 200 OK\r\n" + b"A: a\r\n" * 1_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"a" * 65_536 + b"\r\n\r\n",
        b"",
    ],
)
async def test_what_is_no_answer(head: bytes) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        raise ConnectionError("closes")

    outcome, _ = await posted(speak)
    assert (outcome.error, outcome.status, outcome.text) == ("protocol", None, "")


async def test_a_status_counts_though_its_body_breaks() -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(body_of(100) + b"half of")
        await writer.drain()
        raise ConnectionError("closes")

    outcome, _ = await posted(speak)
    assert (outcome.status, outcome.error) == (200, None)


async def test_who_listens_on_nothing() -> None:
    async with listening() as server:
        pass
    async with Outbound(allowed("127.0.0.1"), connections=5, seconds=PATIENT_S) as outbound:
        outcome = await outbound.post(f"http://127.0.0.1:{server.port}/", b"", {})
    assert outcome.error == "connect"


@pytest.mark.parametrize("host", ["hooks.example.com", "a" * 64 + ".example.com", "a..example.com"])
async def test_a_name_that_is_none(host: str) -> None:
    async with Outbound(allowed(), connections=5, seconds=PATIENT_S) as outbound:
        # The system is asked; "invalid" is nobody's top level.
        url = f"https://{host.removesuffix('.com')}.invalid/"
        assert (await outbound.post(url, b"", {})).error == "dns"


async def test_a_name_that_fails() -> None:
    names = Answers(OSError("no such name"))
    async with Outbound(allowed(), connections=5, seconds=PATIENT_S, names=names) as outbound:
        assert (await outbound.post("https://hooks.example.com/", b"", {})).error == "dns"


async def test_a_cancellation_passes_through() -> None:
    async with listening(silence) as server:
        allow = allowed(f"127.0.0.1:{server.port}")
        async with Outbound(allow, connections=5, seconds=PATIENT_S) as outbound:
            post = outbound.post(f"http://127.0.0.1:{server.port}/", b"", {})
            task = asyncio.create_task(post)
            while not server.requests:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def over_tls(made: Certificates, tls: ssl.SSLContext | None, host: str) -> Outcome:
    async with listening(tls=made.serving) as server:
        allow = allowed(f"127.0.0.1:{server.port}")
        to: dict[str, Any] = {"names": Answers(["127.0.0.1"]), "tls": tls}
        async with Outbound(allow, connections=5, seconds=PATIENT_S, **to) as outbound:
            outcome = await outbound.post(f"https://{host}:{server.port}/", b"{}", {})
        assert outcome.status is not None or not server.requests
        return outcome


async def test_a_certificate_that_holds(tmp_path: Path) -> None:
    made = certificates(tmp_path, name="hooks.example.com")
    outcome = await over_tls(made, made.trusting, "hooks.example.com")
    assert (outcome.status, outcome.text) == (200, "ok")


async def test_certificates_that_do_not(tmp_path: Path) -> None:
    made = certificates(tmp_path, name="hooks.example.com")
    assert (await over_tls(made, None, "hooks.example.com")).error == "tls"  # nobody trusts it
    assert (await over_tls(made, made.trusting, "other.example.com")).error == "tls"
    assert (await over_tls(made, made.trusting, "127.0.0.1")).error == "tls"
    old = certificates(tmp_path, name="hooks.example.com", expired=True)
    assert (await over_tls(old, old.trusting, "hooks.example.com")).error == "tls"


@pytest.mark.parametrize(
    ("said", "seconds", "error"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", PATIENT_S, "tls"), (b"", 0.5, "timeout")],
)
async def test_tls_with_who_speaks_none(said: bytes, seconds: float, error: str) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(said)
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(hold, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, Outbound(allowed("127.0.0.1"), connections=5, seconds=seconds) as outbound:
        assert (await outbound.post(f"https://127.0.0.1:{port}/", b"{}", {})).error == error
