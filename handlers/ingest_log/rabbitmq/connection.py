"""A connection to RabbitMQ, and the loop that makes it again."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    AMQPError,
    AuthenticationError,
    ConnectionClosed,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelInvalidStateError, ConnectionNotAllowed, InvalidFrameError
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    wait_random_exponential,
)

from handlers.ingest_log.port import (
    RECONNECT_MAX_S,
    RECONNECT_MIN_S,
    HandBack,
)
from handlers.process import telemetry
from handlers.rules.brokers import brokers

log: structlog.stdlib.BoundLogger = structlog.get_logger()

CONNECT_TIMEOUT_S = 5.0
HEARTBEAT_S = 10  # a machine that vanished is noticed after two of them
ANSWER_TIMEOUT_S = 5.0  # of the broker, for one step of setting up; there are some sixty
CLOSE_TIMEOUT_S = 1.0

UNREACHABLE = (AMQPError, ChannelInvalidStateError, OSError, TimeoutError)


class _Connection(aio_pika.Connection):
    """One that could not be opened is closed at once. aio_pika does that when it is collected as
    garbage, which may be in a thread whose loop is another one, or that has none."""

    async def connect(self, timeout: float | None = None) -> None:
        try:
            await super().connect(timeout)
        except BaseException:
            await self.close()
            raise

    def __del__(self) -> None:
        """aio_pika's starts a close, on whichever loop runs by then, or on none: a coroutine that
        nobody awaits. Whoever opens a connection here closes it."""


class NoBroker(ConnectionError):
    """`told` is for people: each broker and its cause, and no password."""

    def __init__(self, told: str) -> None:
        super().__init__(told)
        self.told = told


# By AMQP_URL, the broker that answered last: it is asked first, so that one that hangs is waited
# for once and not at every connection.
_answered: dict[str, int] = {}


async def connect(urls: str, name: str) -> AbstractConnection:
    """To the first of the brokers that answers. Raises NoBroker."""
    several = brokers(urls)
    first = _answered.get(urls, 0)
    causes: dict[int, str] = {}
    for place in (*range(first, len(several)), *range(first)):
        try:
            connection = await connect_one(several[place], name)
        except UNREACHABLE as error:
            causes[place] = f"{address(several[place])}: {cause(error)}"
        except asyncio.CancelledError:  # whoever had less patience: not this one first again
            _answered[urls] = (place + 1) % len(several)
            raise
        else:
            _answered[urls] = place
            return connection
    raise NoBroker("; ".join(causes[place] for place in sorted(causes)))


async def connect_one(url: str, name: str) -> AbstractConnection:
    # aio_pika's own timeout is asyncio.wait_for(), which up to Python 3.11 forgets that it was
    # cancelled when the attempt fails at that moment: a process told to stop while the broker was
    # away then tried for ever (seen once in some eighty stops on a loaded machine).
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        return await aio_pika.connect(
            url,
            client_properties={"connection_name": name},
            heartbeat=HEARTBEAT_S,
            connection_class=_Connection,
        )


def address(url: str) -> str:
    """Without login and password."""
    parts = urlsplit(url)
    port = parts.port or (5671 if parts.scheme == "amqps" else 5672)
    host = parts.hostname or "?"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def cause(error: BaseException) -> str:
    """Why a broker could not be connected, and what to do. It names hosts and logins at most."""
    said = " ".join(str(error).split()) or type(error).__name__
    match error:
        case ProbableAuthenticationError() | AuthenticationError():
            return f"{said} Are user and password those of the broker?"
        case InvalidFrameError() | ConnectionClosed() | ConnectionNotAllowed():
            return "it let us in and closed: is there such a virtual host, and may the user use it?"
        case AMQPError() if error.__cause__ is not None and error.__cause__ is not error:
            return cause(error.__cause__)
        case TimeoutError():
            return (
                f"no answer in {CONNECT_TIMEOUT_S:.0f} s: are host and port right, and does a"
                " firewall let us through?"
            )
        case socket.gaierror():
            return f"the host's name is not known ({error.strerror})"
        case ConnectionRefusedError():
            return "nothing listens there: is RabbitMQ running, and is the port right?"
        case ssl.SSLError():
            return f"TLS failed ({said}): is amqps:// right, and its port (5671)?"
        case _:
            return (
                f"{type(error).__name__} ({said}): is it RabbitMQ's port, with TLS as the URL says?"
            )


async def serve(
    url: str,
    name: str,
    session: Callable[[AbstractConnection], Awaitable[None]],
    is_over: Callable[[], bool],
) -> None:
    """One connection after the other, and on each a session, until it is over."""
    while not is_over():
        try:
            await _serve_once(await _connect_patiently(url, name), session)
        except HandBack:
            log.warning("ingest_log.handed_back", connection=name)
        except UNREACHABLE as error:
            log.warning("ingest_log.lost", connection=name, error=str(error) or repr(error))
        if not is_over():
            await asyncio.sleep(RECONNECT_MIN_S)


async def _serve_once(
    connection: AbstractConnection, session: Callable[[AbstractConnection], Awaitable[None]]
) -> None:
    try:
        await session(connection)
    finally:
        with contextlib.suppress(*UNREACHABLE):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await connection.close()


async def _connect_patiently(url: str, name: str) -> AbstractConnection:
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(UNREACHABLE),
        wait=wait_random_exponential(multiplier=RECONNECT_MIN_S, max=RECONNECT_MAX_S),
        before_sleep=lambda state: log.warning(
            "ingest_log.unreachable",
            connection=name,
            attempt=state.attempt_number,
            **_told(state.outcome.exception() if state.outcome else None),
        ),
    ):
        with attempt:
            return await connect(url, name)
    raise AssertionError("unreachable: it tries for ever")


def _told(error: BaseException | None) -> dict[str, str]:
    return {} if error is None else telemetry.named(error)


async def first_closed(
    connection: AbstractConnection, channel: AbstractChannel, *others: Awaitable[Any]
) -> None:
    waits = [asyncio.ensure_future(w) for w in (connection.closed(), channel.closed(), *others)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
