"""Where the Graph API says that media are, and what is there."""

import asyncio
import json
import secrets
import time

from aiohttp import web

from simulator.fields import Malformed
from simulator.graph_call import authorize
from simulator.graph_errors import Refused, error_answer
from simulator.media import PIECE, Medium
from simulator.state import STATE, State, drop_connection


def describe(request: web.Request, medium: Medium) -> web.Response:
    """GET /{media id}: where it is now."""
    state = request.app[STATE]
    number = request.query.get("phone_number_id", "")
    try:
        authorize(state, number, request.headers.get("Authorization", ""))
    except Refused as refused:
        return error_answer(refused, "A" + secrets.token_urlsafe(16))
    _note(state, medium, "described", 400 if medium.gone else 200)
    if medium.gone:
        message = f"Unsupported get request. Object with ID '{medium.id}' does not exist"
        unknown = Refused(400, 100, message, kind="GraphMethodException")
        return error_answer(unknown, "A" + secrets.token_urlsafe(16))
    good_until = time.time() + medium.url_s
    if medium.expired > 0:
        medium.expired -= 1
        good_until = 0.0
    address = f"{request.url.origin()}/_media/{medium.id}?ext={good_until:.3f}"
    size = medium.size if medium.size is not None else len(medium.data) + medium.filler
    return web.json_response(
        {
            "messaging_product": "whatsapp",
            "url": medium.url or address,
            "mime_type": medium.mime_type,
            "sha256": medium.told_hash if medium.base64_hash else medium.sha256,
            "file_size": str(size),
            "id": medium.id,
        }
    )


async def give(request: web.Request) -> web.StreamResponse:
    """The file, to whoever has a token, while the address is good."""
    state = request.app[STATE]
    medium = state.media.find(request.match_info["media_id"])
    if medium is None or float(request.query.get("ext", "0")) < time.time():
        return web.json_response({"error": {"message": "URL expired"}}, status=404)
    if not request.headers.get("Authorization", "").startswith("Bearer "):
        return web.json_response({"error": {"message": "no token"}}, status=401)
    if medium.redirect is not None:
        _note(state, medium, "given", 302)
        return web.Response(status=302, headers={"Location": medium.redirect})
    _note(state, medium, "given", medium.status)
    if medium.status != 200:
        return web.Response(status=medium.status, text="Scripted by the simulator.")
    response = web.StreamResponse(headers={"Content-Type": medium.mime_type})
    response.content_length = len(medium.data) + medium.filler
    await response.prepare(request)
    half = len(medium.data) // 2
    await response.write(medium.data[:half])
    await state.pause(medium.hang_ms)
    if medium.truncated:
        return drop_connection(request)
    if _left(request):
        return response
    await response.write(medium.data[half:])
    for _ in range(medium.filler // len(PIECE)):
        if _left(request):
            break
        await response.write(PIECE)
        await asyncio.sleep(0)
    return response


def _left(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _note(state: State, medium: Medium, did: str, status: int) -> None:
    state.journal.add("media", media_id=medium.id, did=did, status=status)


async def show(request: web.Request) -> web.Response:
    """GET /_sim/media/{id}: as it is on the phone of who sent or got it."""
    medium = request.app[STATE].media.find(request.match_info["media_id"])
    if medium is None:
        return web.json_response({"problems": ["media: there is none with this id"]}, status=404)
    return web.Response(body=medium.data)


async def keep(request: web.Request) -> web.Response:
    """POST /_sim/media: a file that a customer is about to send."""
    raw = await request.read()
    try:
        medium = Medium.read(json.loads(raw))
    except ValueError as error:
        raise Malformed([f"body: is not JSON ({error})"]) from error
    request.app[STATE].media.keep(medium)
    return web.json_response({"id": medium.id, "sha256": medium.sha256})
