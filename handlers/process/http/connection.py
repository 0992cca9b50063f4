"""One connection of an HTTP server: aiohttp's, which tells the gate what it keeps us waiting for
and is closed when that takes too long."""

import asyncio
from typing import Any, cast

from aiohttp import web
from aiohttp.http import HttpProcessingError
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from handlers.process.http.bounds import (
    BODY_BYTES_PER_S,
    HEAD_BYTES,
    IDLE_S,
    REST_BYTES,
    REST_S,
    STREAM_IDLE_S,
    WASTE_BYTES,
)
from handlers.process.http.gate import Gate, Reason, State, closed

WORDS = {
    Reason.SLOW: (408, f"too slow: send at least {BODY_BYTES_PER_S} bytes a second"),
    Reason.GAVE_WAY: (503, "too much in flight: come again"),
    Reason.REFUSED: (503, "too many connections: come again"),
    Reason.WASTEFUL: (400, "the chunks are too small: send larger ones, or the body in one piece"),
    Reason.TOO_LARGE: (431, f"the headers are larger than {HEAD_BYTES // 1024} KiB"),
}


SLICE_BYTES = 16 * 1024  # that are parsed before they are judged


class Unfinished(TimeoutError):
    """Raised to who reads a body that will not come to its end. (A TimeoutError is what aiohttp
    expects while it throws a rest away.)"""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Connection(RequestHandler):
    __slots__ = (
        "_ahead",
        "_answered",
        "_body",
        "_chunks",
        "_due",
        "_gate",
        "_line",
        "_rest",
        "_streams",
        "_timer",
        "arrived",
        "peer",
        "since",
        "state",
    )

    def __init__(self, manager: web.Server, gate: Gate, **settings: Any) -> None:
        super().__init__(
            manager,
            auto_decompress=False,  # 1 MiB unpacks to 1 GiB
            keepalive_timeout=IDLE_S,
            lingering_time=REST_S,
            **settings,
        )
        # A second request on the way while the first is in hand stops the reading: what clients
        # hardly ever do must not be memory that a client can fill.
        self._msg_queue_resume_size = 0
        self._gate = gate
        self._line: asyncio.Transport | None = None
        self._body: StreamReader | None = None  # of the newest request
        self._chunks = 0  # bytes of the body as they came; of its first piece what is body
        self._answered = 0
        self._ahead = 0  # of `arrived`, what came after the request in hand was whole
        self._streams = False  # the body in hand is read as it comes, and by nobody kept
        self._rest = 0  # of a body that was answered before its end
        self._due: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.arrived = 0
        self.peer: str | None = None
        self.state = State.SILENT
        self.since = self._loop.time()

    # ---- what aiohttp and the loop tell ------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._line = cast("asyncio.Transport", transport)
        self.peer = self._gate.bounds.peer_of(transport.get_extra_info("peername"))
        if self._gate.enters(self):
            self._until(self.since + self._gate.bounds.head_s)
        else:
            self._end(Reason.REFUSED)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._gate.leaves(self)
        self._until(None)
        super().connection_lost(exc)
        self._line = None

    def data_received(self, data: bytes) -> None:
        """Also called without data, when reading goes on with what was left from before."""
        if len(data) <= SLICE_BYTES:
            self._takes(data)
            return
        # A read has 256 KB, in which there may be 50,000 chunks: 0.1 s of the loop, before anybody
        # has looked at what they are worth.
        for at in range(0, len(data), SLICE_BYTES):
            if self._force_close or self._close:
                return
            self._takes(data[at : at + SLICE_BYTES])

    def _takes(self, data: bytes) -> None:
        in_body, in_hand = self._in_body, self._in_hand
        if in_body and not in_hand:
            self._rest += len(data)
            if self._rest > REST_BYTES:
                self._end(Reason.GAVE_WAY)
        elif data:
            if in_hand and not in_body:
                self._ahead += len(data)
            if not (in_body and self._streams):
                self._gate.takes(self, len(data))
        self._chunks += len(data) if in_body else 0
        super().data_received(data)
        if self._messages and self._request_in_progress and not self._buffer_paused:
            self._pause_reading_for_buffer()
        self._looks_again(len(data), begun=bool(data) and not in_body)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._answers()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._is_unread()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._looks_again()

    def log_exception(self, *args: Any, **details: Any) -> None:
        """Not of who hangs up or sends no HTTP: those are anybody's, and as many as they like."""
        if not isinstance(details.get("exc_info"), ConnectionError | HttpProcessingError):
            super().log_exception(*args, **details)

    def streams(self) -> None:
        """The body in hand is of any length and read as it comes: it is not charged, and may take
        its time as long as it does not stand still."""
        self._streams = True
        if self._in_body:
            self._until(self._loop.time() + STREAM_IDLE_S)

    # ---- what it is waited for ---------------------------------------------------------------

    @property
    def _in_body(self) -> bool:
        return self._body is not None and not self._body.is_eof()

    @property
    def _in_hand(self) -> bool:
        return self._request_count > self._answered

    def _looks_again(self, count: int = 0, *, begun: bool = False) -> None:
        """After anything that may have changed it. `begun`: what came belongs to a new request."""
        if self._messages and self._messages[-1][1] is not self._body:
            self._body = self._messages[-1][1]
            self._chunks = self._body.total_bytes
            self._streams = False
        if self.writing_paused or self._force_close:
            return
        if self._in_body:
            self._reads_body(count)
        elif self._in_hand:
            self._turns(State.HANDLED)
        elif self._line is not None and self._line.get_write_buffer_size():
            self._is_unread()
        elif begun:
            self._reads_head()
        else:
            self._turns(State.IDLE)

    def _is_unread(self) -> None:
        if self.state is not State.UNREAD:
            self._turns(State.UNREAD)
            self._until(self.since + self._gate.bounds.unread_s)

    def _reads_head(self) -> None:
        if self.state is not State.HEAD:
            due = self._due if self.state is State.SILENT else None  # its time began already
            self._turns(State.HEAD)
            self._until(due or self.since + self._gate.bounds.head_s)
        if self.arrived > HEAD_BYTES:
            self.give_way(Reason.TOO_LARGE)

    def _reads_body(self, count: int) -> None:
        if self.state is not State.BODY:
            self._turns(State.BODY)
            self._until(self._gate.bounds.body_due(self.since, 0))
        elif self._is_wasteful:
            self.give_way(Reason.WASTEFUL)
        elif count and self._streams:
            self._due = self._loop.time() + STREAM_IDLE_S
        elif count and self._due is not None:
            self._due = self._gate.bounds.body_due(self.since, max(self.arrived, self._rest))

    @property
    def _is_wasteful(self) -> bool:
        if self._body is None or self._close or self._reading_paused or self._buffer_paused:
            return False  # some of what came is not read yet, or will never be
        body = self._body.total_bytes
        return self._chunks - body > WASTE_BYTES + body // 4

    def _answers(self) -> None:
        self._answered += 1
        ahead, self._ahead = self._ahead, 0
        self._gate.settles(self, self.arrived - ahead)
        self._looks_again(begun=ahead > 0)

    def _turns(self, state: State) -> None:
        if state is self.state:
            return
        self.since = self._loop.time()
        self._due = None
        self._gate.turns(self, state)

    # ---- its end -----------------------------------------------------------------------------

    def _until(self, due: float | None) -> None:
        """A timer that is early looks again, so nothing has to be cancelled at every request."""
        self._due = due
        if self._timer is not None and (due is None or due < self._timer.when()):
            self._timer.cancel()
            self._timer = None
        if due is not None and self._timer is None:
            self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due is None:
            return
        if self.state is State.BODY and (self._reading_paused or self._buffer_paused):
            # It is we who keep it waiting.
            self._due = max(self._due, self._loop.time() + self._gate.bounds.body_grace_s)
        if self._loop.time() < self._due:
            self._until(self._due)
        elif self.state is State.UNREAD and self._line and not self._line.get_write_buffer_size():
            self._looks_again()
        else:
            self.give_way(Reason.UNREAD if self.state is State.UNREAD else Reason.SLOW)

    def give_way(self, reason: Reason) -> None:
        if self.state is State.BODY and self._in_hand and self._body is not None:
            # Whoever reads the body says so, in the words of the place.
            closed(reason)
            self._gate.leaves(self)
            self._until(None)
            self._body.set_exception(Unfinished(*WORDS[reason]))
            self.close()
        else:
            self._end(reason)

    def _end(self, reason: Reason) -> None:
        begun = self.state in (State.HEAD, State.SILENT) and self.arrived
        closed(reason)
        self._gate.leaves(self)
        self._until(None)
        line = self._line
        if line is None:
            return
        if line.is_closing():  # and would be for ever, to one who does not read
            line.abort()
            return
        if begun or reason is Reason.REFUSED:
            status, text = WORDS[reason]
            line.write(
                f"HTTP/1.1 {status} {text.partition(':')[0]}\r\nContent-Type: text/plain\r\n"
                f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
            )
        self.force_close()
        if line.get_write_buffer_size():  # to one who does not read, it would never be closed
            line.abort()
