"""The tenant API's door: whose key, is there room, is the request valid; then one transaction.

It shares the process with the webhooks and nothing else: a pool of its own, and bounds of its own
on what is held at once, so that no API client can keep a webhook waiting.
"""

import asyncio
import functools
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import Counter
from pydantic_core import to_json

from db.api_keys import KeyOwner
from db.idempotency import Once
from db.pool import CHANGED, CONFLICT, UNAVAILABLE, Conn, Pool, tenant
from handlers.media_store.port import NoStore, Store, StoreProblem
from handlers.process import telemetry
from handlers.process.http.connection import Unfinished
from handlers.process.http.server import NOT_UNPACKED
from ingress.api.asking import Asks
from ingress.api.description import openapi
from ingress.api.elsewhere import Abroad
from ingress.api.encoding import encoded, pieces
from ingress.api.endpoints import ENDPOINTS
from ingress.api.keys import Keys
from ingress.api.meter import Meter
from ingress.api.mistakes import Mistake
from ingress.api.once import done_once, fingerprint
from ingress.api.outflow import stored
from ingress.api.pace import Pace
from ingress.api.places import Places, pause_s
from ingress.api.preconditions import IF_MATCH, IfMatch, read_if_match
from ingress.api.principal import Principal, permit, principal_of_key
from ingress.api.problems import CONTENT_TYPE, Problem, invalid, not_found, unavailable
from ingress.api.reading import read_json, read_parameters
from ingress.api.stream import Stream
from ingress.api.streams import Streams, unfinished
from ingress.api.table import (
    IDEMPOTENCY_CHARS,
    JSON,
    Answer,
    AnyEndpoint,
    Awaited,
    B,
    Call,
    Elsewhere,
    Endpoint,
    Installation,
    Intake,
    Outflow,
    P,
    Rows,
    StoredFile,
    Upload,
)
from ingress.api.uploads import Uploads
from ingress.still import Still, still

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PREFIX = "/v1"
MAX_BODY_BYTES = 64 * 1024
TRIES_ON_CONFLICT = 3
OWNER = web.RequestKey("owner", KeyOwner)
PACE = web.RequestKey("pace", Pace)
COUNTED = web.RequestKey("counted", bool)


class Door:
    def __init__(
        self, pool: Pool, keys: Keys, meter: Meter, here: Installation, store: Store
    ) -> None:
        self._pool = pool
        self._here = here
        self._store = store
        self._meter = meter
        self._keys = keys
        self._places = Places()
        self._asks = Asks(pool, here.ask_wait)
        self._abroad = Abroad()
        self._streams = Streams()
        self._uploads = Uploads(self._streams)

    async def call(self, request: web.Request, endpoint: AnyEndpoint) -> web.StreamResponse:
        owner = await self._keys.owner(request.headers.get("Authorization", ""))
        request[OWNER] = owner
        request[PACE] = self._meter.pace
        await self._meter.pace.admit(owner)
        async with self._places.of(owner.user_id) as connections:
            if isinstance(endpoint, Intake | Outflow | Upload):
                async with connections:
                    call, rows = await self._entered(request, endpoint, owner)
                still = functools.partial(still_may, owner, endpoint)
                stream = Stream(self._pool, self._store, connections, call, rows, still)
                if isinstance(endpoint, Intake):
                    return await self._streams.takes(request, stream)
                if isinstance(endpoint, Upload):
                    return await self._uploads.takes(request, stream, endpoint)
                return await self._streams.gives(request, stream)
            raw = await _body(request, endpoint.takes) if endpoint.has_body else b""
            async with connections:
                answer = await self._answered(request, endpoint, owner, raw)
                later = isinstance(answer.body, StoredFile | Awaited | Elsewhere)
                body = b"" if later or answer.status == 204 else await encoded(answer.body)
                if (pause := pause_s(len(body))) > 0:
                    await asyncio.sleep(pause)
            if isinstance(answer.body, StoredFile):
                return await self._stored(request, answer.body, endpoint, owner)
        if later:  # it takes no place of what answers at once
            answer = await self._later(request, endpoint, owner, answer)
            body = b"" if answer.status == 204 else await encoded(answer.body)
        if answer.status == 204:
            return web.Response(status=204, headers=answer.headers)
        headers = {**answer.headers, "Content-Type": JSON}
        return web.Response(body=body, status=answer.status, headers=headers)

    async def _later(
        self, request: web.Request, endpoint: AnyEndpoint, owner: KeyOwner, answer: Answer[Any]
    ) -> Answer[Any]:
        if isinstance(answer.body, Elsewhere):
            return await self._from_elsewhere(owner, endpoint, answer.body)
        return await self._asks.answer(
            owner.user_id, answer.body.ask_id, lambda: request.transport is None
        )

    async def _stored(
        self, request: web.Request, file: StoredFile, endpoint: AnyEndpoint, owner: KeyOwner
    ) -> web.StreamResponse:
        async def still() -> None:
            async with tenant(self._pool, owner.user_id) as conn:
                await still_may(owner, endpoint, conn)

        try:
            return await stored(request, self._store, file, _pace(request), still)
        except FileNotFoundError:  # expired, or its tenant erased somebody, at this moment
            raise not_found() from None
        except StoreProblem as problem:
            log.warning("api.not_stored", exc_info=problem)
            raise unavailable("MEDIA_STORE, where files are, gives none now.", 30) from None

    async def _entered(
        self, request: web.Request, endpoint: AnyEndpoint, owner: KeyOwner
    ) -> tuple[Call[Any, Any], Rows | None]:
        """Before a stream: who makes the call, and may they."""
        async with tenant(self._pool, owner.user_id) as conn:
            principal = await self._principal(conn, request, endpoint, owner)
            call = read_call(request, endpoint, principal, b"", self._here)
            about = (await endpoint.work(conn, call)).body
            return call, about if isinstance(about, Rows) else None

    async def _answered(
        self, request: web.Request, endpoint: AnyEndpoint, owner: KeyOwner, raw: bytes
    ) -> Answer[Any]:
        return await self._transacted(
            owner, lambda conn: self._in_transaction(conn, request, endpoint, owner, raw)
        )

    async def _transacted(
        self, owner: KeyOwner, work: Callable[[Conn], Awaitable[Answer[Any]]]
    ) -> Answer[Any]:
        for tries_left in reversed(range(TRIES_ON_CONFLICT)):
            try:
                async with tenant(self._pool, owner.user_id) as conn:
                    return await work(conn)
            except Problem as problem:
                if problem.afterwards is not None:
                    async with tenant(self._pool, owner.user_id) as conn:
                        await problem.afterwards(conn)
                raise
            except CHANGED:
                if not tries_left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _in_transaction(
        self, conn: Conn, request: web.Request, endpoint: AnyEndpoint, owner: KeyOwner, raw: bytes
    ) -> Answer[Any]:
        principal = await self._principal(conn, request, endpoint, owner)
        # Only now: what is wrong with a request is nobody's business who may not make it.
        call = read_call(request, endpoint, principal, raw, self._here)
        return await done_once(conn, call, functools.partial(endpoint.work, conn, call))

    async def _from_elsewhere(
        self, owner: KeyOwner, endpoint: AnyEndpoint, elsewhere: Elsewhere[Any, Any]
    ) -> Answer[Any]:
        async with self._abroad.of(owner.user_id):
            said = await elsewhere.ask()

        async def finished(conn: Conn) -> Answer[Any]:
            await still_may(owner, endpoint, conn)
            finish = functools.partial(elsewhere.finish, conn, said)
            return await done_once(conn, elsewhere.call, finish)

        # Where no place is free, what Meta has done would be told to nobody.
        return await self._transacted(owner, finished)

    async def _principal(
        self, conn: Conn, request: web.Request, endpoint: AnyEndpoint, owner: KeyOwner
    ) -> Principal:
        try:
            principal = await principal_of_key(conn, owner)
        except Problem:
            self._keys.forget(owner)
            raise
        if COUNTED not in request:  # a transaction that is done again is one call
            request[COUNTED] = True
            self._meter.note(owner.user_id, owner.id, principal.usage_day)
        permit(principal, endpoint.permission, endpoint.features)
        return principal


async def still_may(owner: KeyOwner, endpoint: AnyEndpoint, conn: Conn) -> None:
    """Raises what the call would be refused with by now."""
    permit(await principal_of_key(conn, owner), endpoint.permission, endpoint.features)


def read_call(
    request: web.Request,
    endpoint: Endpoint[P, B, Any],
    principal: Principal,
    raw: bytes,
    here: Installation,
) -> Call[P, B]:
    """Raises with everything that is wrong with the request."""
    now = datetime.now(UTC)
    query: dict[str, list[str]] = {}
    if request.query_string:
        query = {name: request.query.getall(name) for name in request.query}
    parameters = read_parameters(endpoint.parameters, request.match_info, query, now)
    body: B | list[Mistake]
    if endpoint.has_body:
        body = read_json(endpoint.body, raw, now, here.outbound)
    else:
        body = endpoint.body()
    key = _idempotency_key(request) if endpoint.once else None
    if_match = _if_match(request) if endpoint.conditional else None
    if (
        isinstance(parameters, list)
        or isinstance(body, list)
        or isinstance(key, list)
        or isinstance(if_match, list)
    ):
        parts = (parameters, body, key, if_match)
        raise invalid([one for part in parts if isinstance(part, list) for one in part])
    once = None if key is None else Once(key, fingerprint(endpoint, parameters, body))
    return Call(principal, parameters, body, once, if_match, now, here)


def _if_match(request: web.Request) -> IfMatch | list[Mistake] | None:
    lines = request.headers.getall(IF_MATCH, ())
    return read_if_match(", ".join(lines)) if lines else None


def _idempotency_key(request: web.Request) -> str | list[Mistake] | None:
    key, *more = request.headers.getall("Idempotency-Key", [None])
    if more:
        return [Mistake("Idempotency-Key", "given more than once")]
    if key is None or (key.isascii() and key.isprintable() and 0 < len(key) <= IDEMPOTENCY_CHARS):
        return key
    detail = f"not 1 to {IDEMPOTENCY_CHARS} printable ASCII characters"
    return [Mistake("Idempotency-Key", detail)]


async def _body(request: web.Request, takes: Sequence[str]) -> bytes:
    """Bounded by itself: the process's bound is that of webhooks, sixty times as much."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        while piece := await request.content.readany():
            body += piece
            if len(body) > MAX_BODY_BYTES:
                raise _too_large()
    except Unfinished as error:
        raise unfinished(error) from None
    if body and request.content_type not in takes:
        known = " or ".join(takes)
        raise Problem("unsupported_media_type", f"Send `Content-Type: {known}`.")
    return bytes(body)


def _too_large() -> Problem:
    return Problem("too_large", f"The body may have {MAX_BODY_BYTES} bytes.")


# ---- answers -------------------------------------------------------------------------------------


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Whatever happens is an answer in JSON and one log line without content."""
    started = time.monotonic()
    problem: Problem | None = None
    response: web.StreamResponse | None = None
    try:
        response = await handler(request)
    except Problem as raised:
        problem = raised
    except web.HTTPMethodNotAllowed as refused:
        allowed = ", ".join(sorted(refused.allowed_methods))
        problem = Problem("method_not_allowed", f"It knows {allowed}.", headers={"Allow": allowed})
    except web.HTTPException:
        problem = Problem("not_found", f"The addresses are listed at {PREFIX}/openapi.json.")
    except (*UNAVAILABLE, *CONFLICT) as error:
        log.warning("api.unavailable", exc_info=error)
        problem = unavailable(
            "Perhaps it was done, perhaps not. Repeat it in a moment: that is safe; what makes"
            " something needs an Idempotency-Key for it."
        )
    except Exception as error:  # the client gets an answer, the log where it happened
        log.error("api.failed", exc_info=error)
        problem = Problem("internal_error", "It is in our log. Repeating it may help.")
    if problem is not None:
        response = _told(request, problem)
    assert response is not None, "every way sets one"
    # What it says is a tenant's, and true for a moment; but the description is everybody's.
    if not response.prepared:
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers.update(_pace(request))
    owner = request.get(OWNER)
    route = request.match_info.route.resource
    _calls(response.status).inc()
    log.info(
        "api.called",
        user_id=owner.user_id if owner else None,
        api_key_id=owner.id if owner else None,
        method=request.method,
        route=route.canonical if route is not None else None,
        status=response.status,
        problem=problem.name if problem else None,
        duration_ms=round((time.monotonic() - started) * 1000, 1),
    )
    return response


@functools.cache
def _calls(status: int) -> Counter:
    return telemetry.API_CALLS.labels(str(status))


def _pace(request: web.Request) -> dict[str, str]:
    """Nobody's, where it is not known whose call it is."""
    return request[PACE].told(request[OWNER]) if PACE in request else {}


def refuse_packed(request: web.BaseRequest) -> web.Response:
    """Of a request that was not even read, so nobody knows whose it is."""
    _calls(415).inc()
    response = _told(request, Problem("unsupported_media_type", NOT_UNPACKED))
    response.headers["Cache-Control"] = "no-store"
    return response


def _told(request: web.BaseRequest, problem: Problem) -> web.Response:
    return web.Response(
        body=b"".join(pieces(problem.body(request.path))),
        status=problem.status,
        headers={**problem.headers, "Content-Type": CONTENT_TYPE},
    )


def application(
    pool: Pool, keys: Keys, meter: Meter, here: Installation, store: Store | None = None
) -> web.Application:
    """To be put under PREFIX."""
    door = Door(pool, keys, meter, here, store or NoStore())

    @functools.cache  # when first asked for: a process starts sooner
    def described() -> Still:
        return still(to_json(openapi()), JSON)

    async def describe(request: web.Request) -> web.Response:
        return described().answer(request, {"Cache-Control": "no-cache"})

    def route(endpoint: AnyEndpoint) -> web.RouteDef:
        async def handle(request: web.Request) -> web.StreamResponse:
            return await door.call(request, endpoint)

        # Digits, or /contacts/export would be a contact too, which knows PATCH.
        path = re.sub(r"{(\w+)}", r"{\1:[0-9]+}", endpoint.path)
        return web.route(endpoint.method, path, handle)

    api = web.Application(middlewares=[answer_problems])
    api.add_routes([web.route("GET", "/openapi.json", describe), *map(route, ENDPOINTS)])
    return api
