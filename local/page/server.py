"""Serves the page, and keeps from the browser what it must not have.

The page talks to this server alone. API keys stay here: what is decided on the page goes to the
tenant API through `forward`. Another web site that the same browser has open can reach this port,
so whatever is not asked for by our own page is refused.
"""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib import resources
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web

from local.page.chats import Chats
from local.page.files import BODY_MAX, show_medium
from local.page.lies import LIES, Lies
from local.page.phone import PHONE, Hears, Phone, bot_of, bsuid, object_of
from local.page.program import MODES, Program
from local.page.record import Record
from local.page.tenant import Api, Bot, Refused
from local.page.writing import write
from simulator.client import ControlRefused, Simulator
from simulator.customers import customer_key

POLL_S = 0.15  # of the simulator's journal
LOOK_S = 0.3  # between two looks, for each open page
BUSY_S = 3.0  # after something changed the product is asked at each look,
ASK_EVERY_S = 5.0  # and else so rarely: its log has a line for each call
AWAY = (aiohttp.ClientError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
PAGES_MAX = 24  # open at once
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FILES = {
    "": "text/html",
    "phone.css": "text/css",
    "attach.js": "text/javascript",
    "phone.js": "text/javascript",
    "program.js": "text/javascript",
    "shop.js": "text/javascript",
}


def create_phone(
    bots: Sequence[Bot],
    *,
    simulator_url: str,
    api_url: str,
    database_url: str,
    hears: Hears = "nobody",
) -> web.Application:
    """`hears`: who makes words of voice messages."""

    async def running(app: web.Application) -> AsyncIterator[None]:
        async with (
            Simulator(simulator_url) as simulator,
            aiohttp.ClientSession() as http,
            asyncpg.create_pool(database_url, min_size=1, max_size=4) as pool,
        ):
            app[PHONE] = phone = Phone(
                bots=bots,
                api_url=api_url,
                simulator=simulator,
                http=http,
                api=Api(http, api_url),
                record=Record(pool),
                lies=Lies(),
                chats=Chats(),
                programs={bot.program: Program(bot.program) for bot in bots},
                hears=hears,
            )
            listening = asyncio.create_task(_listen(phone))
            yield
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    app = web.Application(client_max_size=BODY_MAX, middlewares=[_only_our_page, _name_problems])
    app.cleanup_ctx.append(running)
    app.on_shutdown.append(_close)
    app.add_routes(
        [
            *(web.get(f"/{name}", _show_file) for name in FILES),
            *(web.get("/bots", _show_bots), web.get("/events", _events)),
            web.post("/messages", write),
            web.get("/media/{medium}", show_medium),
            web.post("/lies/{name}", _switch),
            web.post(r"/bots/{bot:\d+}/program/{does:mode|replay|recover}", _program),
            web.post(r"/bots/{bot:\d+}/orders/{order:\d{1,18}}", _move_order),
            web.get(r"/bots/{bot:\d+}/v1/{path:.+}", _forward),
            web.post(r"/bots/{bot:\d+}/v1/{path:.+}", _forward),
        ]
    )
    return app


@contextlib.asynccontextmanager
async def serving(app: web.Application, port: int = 0) -> AsyncIterator[str]:
    """On this machine only; its address."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _close(app: web.Application) -> None:
    app[PHONE].closing = True


# ---- who may ask ---------------------------------------------------------------------------------


@web.middleware
async def _only_our_page(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if why := refusal(request):
        return web.json_response({"problem": why}, status=403, headers=HEADERS)
    return await handler(request)


def refusal(request: web.Request) -> str | None:
    """Why this is not our page asking; None when it is."""
    port = request.transport.get_extra_info("sockname")[1] if request.transport else 0
    if request.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
        return "another host's name"  # that its owner points at this machine
    if request.method == "GET":
        site = request.headers.get("Sec-Fetch-Site", "none")
        opened = request.path == "/" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        return None if site in ("same-origin", "none") or opened else "another web site"
    if request.headers.get("Origin") != f"http://{request.headers['Host']}":
        return "another web site"
    if request.content_type != "application/json":
        return "only JSON is taken"  # a form may be sent from anywhere
    return None


@web.middleware
async def _name_problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        response = await handler(request)
    except ControlRefused as refused:
        return web.json_response({"problem": refused.answer}, status=400, headers=HEADERS)
    except Refused as refused:
        return web.Response(
            status=refused.status,
            text=refused.answer,
            content_type="application/problem+json",
            headers=HEADERS,
        )
    except (aiohttp.ClientError, TimeoutError):
        problem = "The product or the simulator does not answer."
        return web.json_response({"problem": problem}, status=502, headers=HEADERS)
    if not response.prepared:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
    return response


# ---- the page ------------------------------------------------------------------------------------


async def _show_file(request: web.Request) -> web.Response:
    name = request.path.lstrip("/")
    file = resources.files("local.page").joinpath("static", name or "index.html")
    return web.Response(
        text=file.read_text(encoding="utf-8"), content_type=FILES[name], charset="utf-8"
    )


async def _show_bots(request: web.Request) -> web.Response:
    phone = request.app[PHONE]
    shown = [
        {
            "name": bot.name,
            "business": bot.business,
            "about": bot.about,
            "number": bot.number,
            "currency": bot.currency,
            "tryThis": bot.try_this,
        }
        for bot in phone.bots
    ]
    lies = [{"name": lie.name, "title": lie.title, "about": lie.about} for lie in LIES]
    modes = [{"name": name, "about": about} for name, (about, _) in MODES.items()]
    told = {"bots": shown, "lies": lies, "modes": modes, "hears": phone.hears}
    return web.json_response(told)


# ---- what happens, as it happens -----------------------------------------------------------------


async def _listen(phone: Phone) -> None:
    while True:
        with contextlib.suppress(aiohttp.ClientError, ControlRefused):
            for entry in await phone.simulator.log(
                "send", "read", "webhook", since=phone.chats.last_seq
            ):
                phone.chats.take(entry)
        await asyncio.sleep(POLL_S)


async def _events(request: web.Request) -> web.StreamResponse:
    """Server-sent events: the whole state whenever it is another."""
    phone = request.app[PHONE]
    bot = bot_of(request, request.query.get("bot"))
    customer = customer_key(request.query.get("customer", ""))
    if phone.pages >= PAGES_MAX:
        raise web.HTTPServiceUnavailable(text="too many pages are open")
    stream = web.StreamResponse(headers={**HEADERS, "Content-Type": "text/event-stream"})
    await stream.prepare(request)
    phone.pages += 1
    try:
        async for state in _states(phone, bot, customer):
            await stream.write(b"data: " + json.dumps(state).encode() + b"\n\n")
    except (ConnectionResetError, aiohttp.ClientConnectionResetError):
        pass  # the page was closed
    finally:
        phone.pages -= 1
    return stream


async def _states(phone: Phone, bot: Bot, customer: str) -> AsyncIterator[dict[str, Any]]:
    shown: dict[str, Any] = {}
    product: dict[str, Any] = {"record": None, "actions": [], "orders": [], "usage": None}
    before: tuple[object, object] = (None, None)
    asked_at = busy_until = -math.inf
    while not phone.closing:
        chat = phone.chats.of(bot.phone_number_id, customer)
        on_phone = {
            "lines": [line.as_json() for line in chat.lines.values()],
            "typing": chat.types(time.time()),
        }
        now = time.monotonic()
        if on_phone != before[0] or now < busy_until or now - asked_at > ASK_EVERY_S:
            product |= await _product(phone, bot, customer)
            asked_at = now
        if (on_phone, product["record"]) != before:
            before = (on_phone, product["record"])
            busy_until = now + BUSY_S
        program = phone.programs[bot.program]
        await program.look(phone.simulator)
        state = {**on_phone, **product, "lies": phone.lies.on, "program": program.as_json()}
        if state != shown:
            shown = state
            yield state
        await asyncio.sleep(LOOK_S)


async def _product(phone: Phone, bot: Bot, customer: str) -> dict[str, Any]:
    """Without what did not answer: the page goes on showing what was there."""
    found: dict[str, Any] = {}
    with contextlib.suppress(*AWAY):
        found["usage"] = await phone.api.usage(bot)
    with contextlib.suppress(*AWAY):
        found["actions"] = await phone.api.waiting_actions(bot)
    with contextlib.suppress(*AWAY):
        found["orders"] = await phone.api.orders(bot)
    with contextlib.suppress(*AWAY):
        conversation_id = await phone.api.conversation_of(bot, f"+{customer}", bsuid(customer))
        messages = await phone.api.messages(bot, conversation_id) if conversation_id else []
        found["record"] = await phone.record.of(bot.user_id, conversation_id, messages)
    return found


# ---- what the page does --------------------------------------------------------------------------


async def _switch(request: web.Request) -> web.Response:
    phone = request.app[PHONE]
    asked = await object_of(request)
    name = request.match_info["name"]
    if not await phone.lies.switch(phone.simulator, name, asked.get("on") is True):
        raise web.HTTPNotFound(text="no such switch")
    return web.json_response(phone.lies.on)


async def _program(request: web.Request) -> web.Response:
    """How the tenant's program answers; or an event, or all that it missed, sent again."""
    phone = request.app[PHONE]
    bot = bot_of(request, request.match_info["bot"])
    asked = await object_of(request)
    does = request.match_info["does"]
    if does == "mode":
        program = phone.programs[bot.program]
        if not await program.switch(phone.simulator, str(asked.get("mode"))):
            raise web.HTTPNotFound(text="no such mode")
        return web.json_response(program.as_json()["mode"])
    if bot.webhook_id is None:
        raise web.HTTPConflict(text="there is no webhook")
    if does == "recover":
        return web.json_response(await phone.api.recover(bot))
    if not await phone.api.replay(bot, str(asked.get("webhook_id"))):
        raise web.HTTPNotFound(text="the product knows no such delivery any more")
    return web.json_response({})


async def _move_order(request: web.Request) -> web.Response:
    """As the shop's own system does."""
    phone = request.app[PHONE]
    bot = bot_of(request, request.match_info["bot"])
    status = str((await object_of(request)).get("status"))
    return web.json_response(await phone.api.move(bot, int(request.match_info["order"]), status))


async def _forward(request: web.Request) -> web.Response:
    """To the tenant API, with the key that the browser does not have."""
    phone = request.app[PHONE]
    bot = bot_of(request, request.match_info["bot"])
    async with phone.http.request(
        request.method,
        f"{phone.api_url}/v1/{request.match_info['path']}",
        params=request.query,
        data=await request.read() if request.method == "POST" else None,
        headers={"Authorization": f"Bearer {bot.api_key}", "Content-Type": "application/json"},
        allow_redirects=False,
    ) as answer:
        return web.Response(
            status=answer.status, body=await answer.read(), content_type=answer.content_type
        )
