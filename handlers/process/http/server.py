"""An HTTP server for the outside: bounded in everything that somebody without a key can make it
hold, and it never unpacks what it is sent."""

import resource
from collections.abc import Callable
from typing import Any

from aiohttp import hdrs, web

from handlers.process import telemetry
from handlers.process.http.bounds import connections_for, is_packed
from handlers.process.http.connection import Connection
from handlers.process.http.gate import Gate

FILES_WANTED = 8_192
BACKLOG = 512  # a connection that finds it full tries again after a second
NOT_UNPACKED = "Content-Encoding: request bodies are not unpacked here, send it as it is"

Refuse = Callable[[web.BaseRequest], web.Response]


def not_unpacked(_: web.BaseRequest) -> web.Response:
    return web.Response(status=415, text=NOT_UNPACKED)


class _Server(web.Server):
    def __init__(self, plain: web.Server, gate: Gate, refuse: Refuse, **settings: Any) -> None:
        super().__init__(
            _before(plain.request_handler, refuse), request_factory=plain.request_factory
        )
        self._gate = gate
        self._settings = settings

    def __call__(self) -> Connection:
        return Connection(self, self._gate, loop=self._loop, **self._settings)


def _before(handler: Any, refuse: Refuse) -> Any:
    """Before any routing, so for paths and methods that there are not, too."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if hdrs.CONTENT_ENCODING in request.headers and is_packed(
            request.headers.getall(hdrs.CONTENT_ENCODING)
        ):
            response = refuse(request)
            response.headers[hdrs.ACCEPT_ENCODING] = "identity"
            response.force_close()
            return response
        answered: web.StreamResponse = await handler(request)
        return answered

    return answer


class Runner(web.AppRunner):
    def __init__(
        self,
        app: web.Application,
        gate: Gate,
        *,
        refuse: Refuse = not_unpacked,
        shutdown_timeout: float = 10.0,
    ) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)
        self._gate = gate
        self._refuse = refuse

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        telemetry.CONNECTIONS.set_function(lambda: len(self._gate))
        return _Server(plain, self._gate, self._refuse, access_log=None)

    async def listen(self, host: str, port: int) -> None:
        await web.TCPSite(self, host, port, backlog=BACKLOG).start()


def connections_allowed() -> int:
    """With as many files open as the machine lets this process have. 1,024, the usual limit, is
    there for programs that use select()."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return connections_for(FILES_WANTED if soft == resource.RLIM_INFINITY else soft)
