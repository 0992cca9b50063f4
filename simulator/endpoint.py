"""A tenant's own server, which receives the product's outgoing webhooks."""

from aiohttp import web

from simulator.state import STATE


async def receive(request: web.Request) -> web.Response:
    state = request.app[STATE]
    name = request.match_info["name"]
    body = (await request.read()).decode(errors="replace")
    script = state.endpoints.get(name)
    answer = script.take(lambda _: True) if script is not None else None
    status = 200 if answer is None else answer.status
    state.journal.add(
        "endpoint", name=name, headers=dict(request.headers), body=body, status=status
    )
    if answer is None:
        return web.json_response({"received": True})
    await state.pause(answer.delay_ms)
    return web.Response(status=status, headers=answer.headers)
