"""A tenant's own server, which receives the product's outgoing webhooks."""

import time

from aiohttp import web

from simulator.endpoint_mode import Mode
from simulator.endpoint_record import Delivery, Endpoint
from simulator.script import EndpointAnswer
from simulator.state import STATE, State, drop_connection

PIECE = b"x" * 16_384  # of an endless body
LOOK_MS = 250  # whether who waits for an answer has gone


async def receive(request: web.Request) -> web.StreamResponse:
    state = request.app[STATE]
    name = request.match_info["name"]
    endpoint = state.endpoints.of(name)
    body = await request.read()
    scripted = endpoint.script.take(lambda _: True)
    mode = endpoint.mode if scripted is None else _mode(scripted)
    delivery = state.endpoints.took(endpoint, request.method, request.headers, body, time.time())
    status = mode.status_for(delivery.arrival)
    if endpoint.journal:
        state.journal.add(
            "endpoint",
            name=name,
            headers=dict(request.headers),
            body=body.decode(errors="replace"),
            status=status,
        )
    if mode.name == "dead":
        return drop_connection(request)
    if status is None:
        await _wait(state, request, None)
        return drop_connection(request)
    if mode.name == "endless":
        return await _pour(state, request, endpoint, delivery, mode)
    await _wait(state, request, mode.delay_ms)
    if _has_gone(request):
        return web.Response()
    now = time.time()
    endpoint.answered(delivery, status, now)
    if mode.body is not None:
        return web.Response(status=status, headers=mode.headers_at(now), text=mode.body)
    if status == 200 and scripted is None:
        return web.json_response({"received": True}, headers=mode.headers_at(now))
    return web.Response(status=status, headers=mode.headers_at(now))


def _mode(answer: EndpointAnswer) -> Mode:
    return Mode("fail", answer.status, answer.delay_ms, headers=answer.headers)


async def _wait(state: State, request: web.Request, ms: float | None) -> None:
    """So long, or for ever; but not for somebody who has gone."""
    while (ms is None or ms > 0) and not state.closing and not _has_gone(request):
        piece = LOOK_MS if ms is None else min(ms, LOOK_MS)
        await state.pause(piece)
        ms = None if ms is None else ms - piece


def _has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


async def _pour(
    state: State, request: web.Request, endpoint: Endpoint, delivery: Delivery, mode: Mode
) -> web.StreamResponse:
    response = web.StreamResponse(status=mode.status, headers=mode.headers_at(delivery.at))
    try:
        await response.prepare(request)
        endpoint.answered(delivery, mode.status, delivery.at)
        while not state.closing:
            await response.write(PIECE)
            await state.pause(mode.delay_ms)
    except ConnectionError:
        pass  # enough was read
    return response
