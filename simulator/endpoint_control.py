"""What a tenant's endpoint is told, and asked."""

import itertools
import json
from collections.abc import Iterator

from aiohttp import web

from simulator.control import read_json, whole_query
from simulator.endpoint_mode import take_mode
from simulator.endpoint_record import KEPT, MAX_EVENTS, Endpoint, change
from simulator.fields import Fields, Malformed
from simulator.script import read_endpoint_answers
from simulator.state import STATE

ORDERS = ("first", "taken")


async def configure(request: web.Request) -> web.Response:
    """A list is a script, which goes before the mode; an object changes what it names."""
    value = await read_json(request)
    endpoint = _endpoint(request)
    if isinstance(value, list):
        answers = read_endpoint_answers(value)
        endpoint.script.replace(answers)
        return web.json_response({"answers": len(answers)})
    given = Fields("endpoint", value)
    change(endpoint, given, take_mode(given))
    return web.json_response(endpoint.as_json())


async def show(request: web.Request) -> web.Response:
    return web.json_response(_endpoint(request).as_json())


async def forget(request: web.Request) -> web.Response:
    request.app[STATE].endpoints.forget_one(_endpoint(request))
    return web.json_response({"success": True})


async def show_deliveries(request: web.Request) -> web.Response:
    """In order of arrival: those after `since`, at most `limit`; of one `webhook_id`."""
    problems: list[str] = []
    since = whole_query(request, "since", 0, problems)
    limit = whole_query(request, "limit", KEPT, problems)
    if problems:
        raise Malformed(problems)
    webhook_id = request.query.get("webhook_id")
    found = (
        delivery.as_json()
        for delivery in _endpoint(request).deliveries
        if delivery.seq > since and webhook_id in (None, delivery.webhook_id)
    )
    return _list(found, limit)


async def show_events(request: web.Request) -> web.Response:
    """What became of each webhook-id, by first arrival; `order=taken`: of those that were answered
    with a 2xx, by the first such arrival."""
    problems: list[str] = []
    limit = whole_query(request, "limit", MAX_EVENTS, problems)
    order = request.query.get("order", ORDERS[0])
    if order not in ORDERS:
        problems.append(f"order: must be one of {', '.join(ORDERS)}")
    if problems:
        raise Malformed(problems)
    found = list(_endpoint(request).events.items())
    if order == "taken":
        found = [(name, event) for name, event in found if event.taken_seq is not None]
        found.sort(key=lambda each: (each[1].taken_at, each[1].taken_seq))
    return _list((event.as_json(name) for name, event in found), limit)


def _endpoint(request: web.Request) -> Endpoint:
    return request.app[STATE].endpoints.of(request.match_info["name"])


def _list(found: Iterator[dict[str, object]], limit: int) -> web.Response:
    body = json.dumps(list(itertools.islice(found, limit))).encode()
    return web.Response(body=body, content_type="application/json")
