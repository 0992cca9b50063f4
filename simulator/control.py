"""The simulator's own interface, under /_sim."""

import json
from collections.abc import Awaitable, Callable

from aiohttp import web

from simulator.customers import customer_key
from simulator.fields import Malformed
from simulator.journal import KINDS, Kind
from simulator.meta import Courier, NoWebhookUrl
from simulator.model_rules import read_rules
from simulator.script import read_faults
from simulator.settings import merge_settings
from simulator.state import HTTP, STATE
from simulator.webhooks import Doing, Inbound, RawPost


@web.middleware
async def name_problems(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if "Origin" in request.headers or "Sec-Fetch-Site" in request.headers:
        # A web site that somebody has open while this runs; no program sends these.
        return web.json_response({"problems": ["browsers are not served"]}, status=403)
    try:
        return await handler(request)
    except Malformed as malformed:
        return web.json_response({"problems": malformed.problems}, status=400)
    except NoWebhookUrl as unset:
        return web.json_response({"problems": [str(unset)]}, status=409)


async def configure(request: web.Request) -> web.Response:
    state = request.app[STATE]
    before = state.settings.lies.seed
    state.settings = merge_settings(state.settings, await read_json(request))
    if state.settings.lies.seed != before:
        state.dice.seed(state.settings.lies.seed)
    return await show_config(request)


async def show_config(request: web.Request) -> web.Response:
    """The settings without their secrets."""
    settings = request.app[STATE].settings
    urls = settings.webhook_urls
    numbers = [
        {"phone_number_id": number.phone_number_id, "display_phone_number": f"+{digits}"}
        for number in settings.numbers.values()
        if (digits := number.display_phone_number)
    ]
    return web.json_response(
        {
            "webhook_url": urls[0] if len(urls) == 1 else (list(urls) or None),
            "numbers": numbers,
            "status_delay_ms": settings.status_delay_ms,
            "statuses": settings.statuses,
            "model_latency_ms": settings.model_latency_ms,
            "embedding_latency_ms": settings.embedding_latency_ms,
            "embedding_status": settings.embedding_status,
            "transcription_latency_ms": settings.transcription_latency_ms,
            "transcription_status": settings.transcription_status,
            "embedding_refuses": settings.embedding_refuses and settings.embedding_refuses.pattern,
            "webhook_retry": settings.webhook_retry,
            "templates": settings.templates,
            "template_review": settings.template_review,
            "template_review_ms": settings.template_review_ms,
            "template_calls": settings.template_calls,
            "lies": settings.lies.as_json(),
            "model_quirks": settings.model_quirks.as_json(),
        }
    )


async def set_rules(request: web.Request) -> web.Response:
    rules = read_rules(await read_json(request))
    request.app[STATE].rules.replace(rules)
    return web.json_response({"rules": len(rules)})


async def add_faults(request: web.Request) -> web.Response:
    faults = read_faults(await read_json(request))
    request.app[STATE].faults.extend(faults)
    return web.json_response({"added": len(faults)})


async def add_upload_faults(request: web.Request) -> web.Response:
    faults = read_faults(await read_json(request))
    request.app[STATE].upload_faults.extend(faults)
    return web.json_response({"added": len(faults)})


async def say(request: web.Request) -> web.Response:
    inbound = Inbound.read(await read_json(request))
    wamids, answers = await Courier(request.app[STATE], request.app[HTTP]).say(inbound)
    return web.json_response(
        {"wamids": wamids, "answers": [answer.as_json() for answer in answers]}
    )


async def do(request: web.Request) -> web.Response:
    doing = Doing.read(await read_json(request))
    wamid, answer = await Courier(request.app[STATE], request.app[HTTP]).do(doing)
    return web.json_response({"wamid": wamid, "answer": answer.as_json()})


async def post_raw(request: web.Request) -> web.Response:
    post = RawPost.read(await read_json(request))
    answer = await Courier(request.app[STATE], request.app[HTTP]).post_raw(post)
    return web.json_response(answer.as_json())


async def show_log(request: web.Request) -> web.Response:
    named = [kind for value in request.query.getall("kind", []) for kind in value.split(",")]
    problems = [f"kind: {kind} is not one of {', '.join(KINDS)}" for kind in {*named} - {*KINDS}]
    since = whole_query(request, "since", 0, problems)
    if problems:
        raise Malformed(problems)
    kinds: list[Kind] = [kind for kind in KINDS if not named or kind in named]
    body = request.app[STATE].journal.since(since, kinds)
    return web.Response(body=body, content_type="application/json")


async def forget(request: web.Request) -> web.Response:
    request.app[STATE].forget()
    return web.json_response({"success": True})


async def show_chat(request: web.Request) -> web.Response:
    missing = [
        f"{name}: is required"
        for name in ("phone_number_id", "customer")
        if not request.query.get(name)
    ]
    if missing:
        raise Malformed(missing)
    customer = customer_key(request.query["customer"])
    lines = request.app[STATE].conversations.of(request.query["phone_number_id"], customer)
    return web.json_response(lines)


def whole_query(request: web.Request, name: str, default: int, problems: list[str]) -> int:
    value = request.query.get(name, str(default))
    if not (value.isascii() and value.isdigit() and len(value) <= 15):
        problems.append(f"{name}: must be a whole number")
        return default
    return int(value)


async def read_json(request: web.Request) -> object:
    try:
        value: object = json.loads(await request.read())
    except ValueError as error:
        raise Malformed([f"body: is not JSON ({error})"]) from error
    return value
