"""How much of webhooks is held at once: what there is no room for is refused, because Meta comes
again, and a process out of memory does not."""

from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from handlers.process import telemetry
from handlers.process.http.connection import Unfinished
from handlers.process.http.gate import Gate

MAX_BODY_BYTES = 4 * 1024 * 1024  # Meta's largest is 3 MB; aiohttp's default of 1 MiB loses those
IN_FLIGHT_MAX = 1_024  # whole POSTs: each is parsed, encoded and waits for its confirm, 2 s at most

_UNFINISHED = {400: "wasteful", 408: "slow"}

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Doorkeeper:
    """Before a handler of POSTs, which gets those that there is room for, with all of their body.

    Only what has arrived takes room: who announces a body and does not send it takes none (that is
    the gate's matter). No middleware: those run for every path, and cost a webhook a tenth of its
    CPU."""

    def __init__(
        self, handler: Callable[[web.Request, bytes], Awaitable[web.Response]], gate: Gate
    ) -> None:
        self._handler = handler
        self._gate = gate
        self._requests = 0
        telemetry.WEBHOOKS_IN_FLIGHT.set_function(lambda: self._requests)

    async def admit(self, request: web.Request) -> web.Response:
        body = await _whole_body(request)
        if isinstance(body, web.Response):
            return body
        if self._requests >= IN_FLIGHT_MAX or not self._gate.has_room:
            return refused(request, 503, "busy", "too much in flight: come again")
        self._requests += 1
        try:
            return await self._handler(request, body)
        finally:
            self._requests -= 1


async def _whole_body(request: web.Request) -> bytes | web.Response:
    """Or why there is none."""
    try:
        if (request.content_length or 0) <= MAX_BODY_BYTES:
            return await request.read()
    except Unfinished as error:
        reason = _UNFINISHED.get(error.status, "busy")
        return refused(request, error.status, reason, error.text)
    except web.HTTPRequestEntityTooLarge:
        pass
    limit = f"the body is larger than {MAX_BODY_BYTES // 1024 // 1024} MiB"
    return refused(request, 413, "oversize", limit)


def refused(request: web.BaseRequest, status: int, reason: str, text: str) -> web.Response:
    telemetry.WEBHOOKS.labels(str(status)).inc()
    log.warning("webhook.refused", reason=reason, content_length=request.content_length)
    again = {"Retry-After": "1"} if status == 503 else None
    return web.Response(status=status, text=text, headers=again)
