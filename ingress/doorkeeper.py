"""How much of webhooks is held at once: what there is no room for is refused, because Meta comes
again, and a process out of memory does not."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from handlers.process import telemetry

MAX_BODY_BYTES = 4 * 1024 * 1024  # Meta's largest is 3 MB; aiohttp's default of 1 MiB loses those
# What is held in memory at once: a body is parsed, encoded and waits for its confirm, 2 s at most.
IN_FLIGHT_MAX = 1_024  # POSTs
IN_FLIGHT_BYTES = 32 * 1024 * 1024  # of their bodies
BODY_TIMEOUT_S = 10.0  # for a body to arrive

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Doorkeeper:
    """Before a handler of POSTs, which gets those that there is room for, with all of their body.

    No middleware: those run for every path, and cost a webhook a tenth of its CPU."""

    def __init__(self, handler: Callable[[web.Request, bytes], Awaitable[web.Response]]) -> None:
        self._handler = handler
        self._requests = 0
        self._bytes = 0
        telemetry.WEBHOOKS_IN_FLIGHT.set_function(lambda: self._requests)

    async def admit(self, request: web.Request) -> web.Response:
        # A length that is not said is taken for the longest.
        declared = request.content_length
        size = min(declared if declared is not None else MAX_BODY_BYTES, MAX_BODY_BYTES)
        if not has_room(self._requests, self._bytes, size):
            return _refused(request, 503, "busy", "too much in flight: come again")
        self._requests += 1
        self._bytes += size
        try:
            body = await _whole_body(request)
            if isinstance(body, web.Response):
                return body
            return await self._handler(request, body)
        finally:
            self._requests -= 1
            self._bytes -= size


def has_room(requests: int, in_flight_bytes: int, size: int) -> bool:
    """For one more POST of this size, beside those in flight."""
    return requests < IN_FLIGHT_MAX and in_flight_bytes + size <= IN_FLIGHT_BYTES


async def _whole_body(request: web.Request) -> bytes | web.Response:
    """Or why there is none."""
    try:
        if request.content.is_eof():  # it is there, as nearly always: no timer
            return await request.read()
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await request.read()
    except TimeoutError:
        return _refused(request, 408, "slow", f"the body took longer than {BODY_TIMEOUT_S:.0f} s")
    except web.HTTPRequestEntityTooLarge:
        limit = f"the body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB"
        return _refused(request, 413, "oversize", limit)


def _refused(request: web.Request, status: int, reason: str, text: str) -> web.Response:
    telemetry.WEBHOOKS.labels(str(status)).inc()
    log.warning("webhook.refused", reason=reason, content_length=request.content_length)
    again = {"Retry-After": "1"} if status == 503 else None
    return web.Response(status=status, text=text, headers=again)
