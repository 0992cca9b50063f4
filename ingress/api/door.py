"""The tenant API's door: whose key, is there room, is the request valid; then one transaction.

It shares the process with the webhooks and nothing else: a pool of its own, and bounds of its own
on what is held at once, so that no API client can keep a webhook waiting.
"""

import asyncio
import dataclasses
import hashlib
import json
import time
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from db.api_keys import Access, KeyOwner, read_access
from db.idempotency import Once
from db.pool import CONFLICT, UNAVAILABLE, Conn, Pool, tenant
from handlers.api_keys import may
from handlers.process import telemetry
from ingress.api.description import openapi
from ingress.api.endpoints import ENDPOINTS
from ingress.api.fields import an_id, read_body, read_query
from ingress.api.keys import Keys, not_authenticated
from ingress.api.meter import Meter
from ingress.api.places import Places
from ingress.api.problems import CONTENT_TYPE, Problem, invalid, unavailable
from ingress.api.table import Answer, Call, Endpoint

log: structlog.stdlib.BoundLogger = structlog.get_logger()

PREFIX = "/v1"
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_S = 10.0
TRIES_ON_CONFLICT = 3
MAX_IDEMPOTENCY_CHARS = 255
OWNER = web.RequestKey("owner", KeyOwner)
COUNTED = web.RequestKey("counted", bool)


class Door:
    def __init__(self, pool: Pool, meter: Meter) -> None:
        self._pool = pool
        self._meter = meter
        self._keys = Keys(pool)
        self._places = Places()

    async def call(self, request: web.Request, endpoint: Endpoint) -> web.Response:
        owner = await self._keys.owner(request.headers.get("Authorization", ""))
        request[OWNER] = owner
        async with self._places.of(owner.user_id) as connections:
            raw = await _body(request)
            async with connections:
                answer = await self._answered(request, endpoint, owner, raw)
        return _json(answer.body, answer.status)

    async def _answered(
        self, request: web.Request, endpoint: Endpoint, owner: KeyOwner, raw: bytes
    ) -> Answer:
        for tries_left in reversed(range(TRIES_ON_CONFLICT)):
            try:
                async with tenant(self._pool, owner.user_id) as conn:
                    return await self._in_transaction(conn, request, endpoint, owner, raw)
            except CONFLICT:
                if not tries_left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _in_transaction(
        self, conn: Conn, request: web.Request, endpoint: Endpoint, owner: KeyOwner, raw: bytes
    ) -> Answer:
        access = await read_access(conn, owner.user_id, owner.id)
        if access is None or not access.usable:
            raise not_authenticated(
                "The API key is revoked or has expired, or the account is not active."
            )
        if COUNTED not in request:  # a transaction that is done again is one call
            request[COUNTED] = True
            self._meter.note(owner.user_id, owner.id, access.usage_day)
        _permit(access, endpoint)
        # Only now: what is wrong with a request is nobody's business who may not make it.
        call = _read(request, endpoint, owner, access, raw)
        return await endpoint.work(conn, call)


def _permit(access: Access, endpoint: Endpoint) -> None:
    if not access.api_access:
        raise Problem(
            "not_in_plan",
            "The plan has features.premium_features.api_access = false: ask the operator for"
            " another plan.",
        )
    if not may(access.permissions, endpoint.permission):
        raise Problem(
            "permission_missing",
            f"This needs a key with the permission {endpoint.permission}.",
            permission=endpoint.permission,
        )


def _read(
    request: web.Request, endpoint: Endpoint, owner: KeyOwner, access: Access, raw: bytes
) -> Call:
    """Raises with everything that is wrong with the request."""
    now = datetime.now(UTC)
    path_id = an_id(request.match_info["id"]) if endpoint.has_id else 0
    if path_id is None:
        raise Problem("not_found", "There is nothing with this id, or it is not yours.")
    names = {name: request.query.getall(name) for name in request.query}
    query = read_query(names, endpoint.query)
    body = read_body(raw, endpoint.body, now) if endpoint.method == "POST" else {}
    idempotency_key = request.headers.get("Idempotency-Key") if endpoint.creates else None
    errors = [e for part in (query, body) if isinstance(part, list) for e in part]
    if idempotency_key is not None and not _is_token(idempotency_key):
        detail = f"not 1 to {MAX_IDEMPOTENCY_CHARS} printable ASCII characters"
        errors.append({"field": "Idempotency-Key", "detail": detail})
    if errors or isinstance(query, list) or isinstance(body, list):
        raise invalid(errors)
    # Of what was understood, not of the bytes: spaces make no other request.
    understood = json.dumps([endpoint.path, path_id, body], default=str, sort_keys=True)
    return Call(
        user_id=owner.user_id,
        key_id=owner.id,
        access=access,
        id=path_id,
        query=query,
        body=body,
        once=Once(idempotency_key, hashlib.sha256(understood.encode()).digest())
        if idempotency_key is not None
        else None,
        now=now,
    )


def _is_token(text: str) -> bool:
    return text.isascii() and text.isprintable() and 0 < len(text) <= MAX_IDEMPOTENCY_CHARS


async def _body(request: web.Request) -> bytes:
    """Bounded by itself: the process's bound is that of webhooks, sixty times as much."""
    if request.method != "POST":
        return b""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while piece := await request.content.readany():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise Problem("request_timeout", f"Send the body within {BODY_TIMEOUT_S:.0f} s.") from None
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
        response = web.Response(
            body=_encoded(problem.body(request.path)),
            status=problem.status,
            headers={**problem.headers, "Content-Type": CONTENT_TYPE},
        )
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


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=_encoded(body), status=status, content_type="application/json")


def _encoded(body: Any) -> bytes:
    return json.dumps(body, default=_spelt).encode()


def _spelt(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, date):  # datetimes too
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def application(pool: Pool, meter: Meter) -> web.Application:
    """To be put under PREFIX."""
    door = Door(pool, meter)
    described = json.dumps(openapi()).encode()

    async def describe(_: web.Request) -> web.Response:
        return web.Response(body=described, content_type="application/json")

    def route(endpoint: Endpoint) -> web.RouteDef:
        async def handle(request: web.Request) -> web.Response:
            return await door.call(request, endpoint)

        return web.route(endpoint.method, endpoint.path, handle)

    api = web.Application(middlewares=[answer_problems])
    api.add_routes([web.route("GET", "/openapi.json", describe), *map(route, ENDPOINTS)])
    return api
