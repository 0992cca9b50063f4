"""Connections that are kept for the next request, and bring nothing that was sent for another.

A server, or a proxy before it, that answers twice has its second answer read as the next request's:
of another customer, or another tenant. aiohttp closes a connection that had more when it was given
back; what arrives later, while nobody asks, it would keep and take for the next answer.
"""

from collections.abc import Callable
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler


class Answering(ResponseHandler):
    is_asked = True  # from a request to the end of its answer

    def set_response_params(self, **params: Any) -> None:
        self.is_asked = True
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        if self.is_asked or not data:  # nothing: aiohttp reads on in what it has
            super().data_received(data)
        elif self.transport is not None:
            self.transport.abort()


class Connector(aiohttp.TCPConnector):
    def __init__(self, *, protocol: Callable[..., Answering] = Answering, **options: Any) -> None:
        super().__init__(**options)
        # aiohttp says that it is a partial
        self._factory = lambda: protocol(loop=self._loop)  # type: ignore[assignment]

    def _release(self, key: Any, protocol: ResponseHandler, **options: Any) -> None:
        if isinstance(protocol, Answering):
            protocol.is_asked = False
        super()._release(key, protocol, **options)
