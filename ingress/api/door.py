"""The tenant API's door: whose key, is there room, is the request valid; then one transaction.

It shares the process with the webhooks and nothing else: a pool of its own, and bounds of its own
on what is held at once, so that no API client can keep a webhook waiting.
"""

import asyncio
import functools
import hashlib
import json
import time
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic_core import to_json

from db.api_keys import KeyOwner
from db.idempotency import Once
from db.pool import CONFLICT, UNAVAILABLE, Conn, Pool, tenant
from handlers.process import telemetry
from handlers.process.http.connection import Unfinished
from handlers.process.http.server import NOT_UNPACKED
from ingress.api.description import openapi
from ingress.api.encoding import encoded, pieces
from ingress.api.endpoints import ENDPOINTS
from ingress.api.fields import Body, Parameters
from ingress.api.keys import Keys
from ingress.api.meter import Meter
from ingress.api.mistakes import Mistake
from ingress.api.places import Places, pause_s
from ingress.api.principal import Principal, permit, principal_of_key
from ingress.api.problems import CONTENT_TYPE, Problem, invalid, unavailable
from ingress.api.reading import read_json, read_parameters
from ingress.api.table import IDEMPOTENCY_CHARS, Answer, AnyEndpoint, B, Call, Endpoint, P

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PREFIX = "/v1"
MAX_BODY_BYTES = 64 * 1024
TRIES_ON_CONFLICT = 3
OWNER = web.RequestKey("owner", KeyOwner)
COUNTED = web.RequestKey("counted", bool)


class Door:
    def __init__(self, pool: Pool, keys: Keys, meter: Meter) -> None:
        self._pool = pool
        self._meter = meter
        self._keys = keys
        self._places = Places()

    async def call(self, request: web.Request, endpoint: AnyEndpoint) -> web.Response:
        owner = await self._keys.owner(request.headers.get("Authorization", ""))
        request[OWNER] = owner
        async with self._places.of(owner.user_id) as connections:
            raw = await _body(request) if endpoint.has_body else b""
            async with connections:
                answer = await self._answered(request, endpoint, owner, raw)
                body = await encoded(answer.body)
                await asyncio.sleep(pause_s(len(body)))
        return web.Response(body=body, status=answer.status, content_type="application/json")

    async def _answered(
        self, request: web.Request, endpoint: AnyEndpoint, owner: KeyOwner, raw: bytes
    ) -> Answer[Any]:
        for tries_left in reversed(range(TRIES_ON_CONFLICT)):
            try:
                async with tenant(self._pool, owner.user_id) as conn:
                    return await self._in_transaction(conn, request, endpoint, owner, raw)
            except CONFLICT:
                if not tries_left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _in_transaction(
        self, conn: Conn, request: web.Request, endpoint: AnyEndpoint, owner: KeyOwner, raw: bytes
    ) -> Answer[Any]:
        principal = await principal_of_key(conn, owner)
        if COUNTED not in request:  # a transaction that is done again is one call
            request[COUNTED] = True
            self._meter.note(owner.user_id, owner.id, principal.usage_day)
        permit(principal, endpoint.permission)
        # Only now: what is wrong with a request is nobody's business who may not make it.
        return await endpoint.work(conn, read_call(request, endpoint, principal, raw))


def read_call(
    request: web.Request, endpoint: Endpoint[P, B, Any], principal: Principal, raw: bytes
) -> Call[P, B]:
    """Raises with everything that is wrong with the request."""
    now = datetime.now(UTC)
    query = {name: request.query.getall(name) for name in request.query}
    parameters = read_parameters(endpoint.parameters, request.match_info, query, now)
    body = read_json(endpoint.body, raw, now)
    key = _idempotency_key(request) if endpoint.once else None
    if isinstance(parameters, list) or isinstance(body, list) or isinstance(key, list):
        parts = (parameters, body, key)
        raise invalid([one for part in parts if isinstance(part, list) for one in part])
    once = None if key is None else Once(key, _fingerprint(endpoint, parameters, body))
    return Call(principal=principal, parameters=parameters, body=body, once=once, now=now)


def _idempotency_key(request: web.Request) -> str | list[Mistake] | None:
    key = request.headers.get("Idempotency-Key")
    if key is None or (key.isascii() and key.isprintable() and 0 < len(key) <= IDEMPOTENCY_CHARS):
        return key
    detail = f"not 1 to {IDEMPOTENCY_CHARS} printable ASCII characters"
    return [Mistake("Idempotency-Key", detail)]


def _fingerprint(endpoint: AnyEndpoint, parameters: Parameters, body: Body) -> bytes:
    """Of what was given and understood: spaces make no other request, nor does a field that a
    later release adds."""
    given = [
        endpoint.method,
        endpoint.path,
        parameters.model_dump(mode="json", exclude_unset=True),
        body.model_dump(mode="json", exclude_unset=True),
    ]
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).digest()


async def _body(request: web.Request) -> bytes:
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
        if error.status == 400:
            raise Problem("invalid_request", f"Of the body, {error.text}.") from None
        if error.status == 408:
            raise Problem("request_timeout", f"The body came {error.text}.") from None
        raise unavailable(f"There is {error.text}.", 1) from None
    if body and request.content_type != "application/json":
        raise Problem("unsupported_media_type", "Send `Content-Type: application/json`.")
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
            "Perhaps it was done, perhaps not. Repeat it in a moment: that is safe, for messages"
            " with an Idempotency-Key."
        )
    except Exception as error:  # the client gets an answer, the log where it happened
        log.error("api.failed", exc_info=error)
        problem = Problem("internal_error", "It is in our log. Repeating it may help.")
    if problem is not None:
        response = _told(request, problem)
    assert response is not None, "every way sets one"
    # What it says is a tenant's, and true for a moment.
    response.headers["Cache-Control"] = "no-store"
    owner = request.get(OWNER)
    route = request.match_info.route.resource
    telemetry.API_CALLS.labels(str(response.status)).inc()
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


def refuse_packed(request: web.BaseRequest) -> web.Response:
    """Of a request that was not even read, so nobody knows whose it is."""
    telemetry.API_CALLS.labels("415").inc()
    return _told(request, Problem("unsupported_media_type", NOT_UNPACKED))


def _told(request: web.BaseRequest, problem: Problem) -> web.Response:
    return web.Response(
        body=b"".join(pieces(problem.body(request.path))),
        status=problem.status,
        headers={**problem.headers, "Content-Type": CONTENT_TYPE},
    )


def application(pool: Pool, keys: Keys, meter: Meter) -> web.Application:
    """To be put under PREFIX."""
    door = Door(pool, keys, meter)

    @functools.cache  # when first asked for: a process starts sooner
    def described() -> bytes:
        return to_json(openapi())

    async def describe(_: web.Request) -> web.Response:
        return web.Response(body=described(), content_type="application/json")

    def route(endpoint: AnyEndpoint) -> web.RouteDef:
        async def handle(request: web.Request) -> web.Response:
            return await door.call(request, endpoint)

        return web.route(endpoint.method, endpoint.path, handle)

    api = web.Application(middlewares=[answer_problems])
    api.add_routes([web.route("GET", "/openapi.json", describe), *map(route, ENDPOINTS)])
    return api
