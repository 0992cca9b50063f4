"""The Graph API's endpoints of an account's templates, their review, and what becomes of them."""

import contextlib
import secrets
import time
from typing import Any

from aiohttp import web

from simulator.control import read_json
from simulator.fields import Malformed
from simulator.graph_account import fits
from simulator.graph_call import read_object
from simulator.graph_errors import Refused, error_answer
from simulator.meta import Courier, NoWebhookUrl
from simulator.settings import ACCOUNT_ID
from simulator.state import HTTP, STATE, State
from simulator.templates import Kept
from simulator.webhooks import RawPost

PAGE, PAGE_MAX = 25, 1_000
REASON = "INVALID_FORMAT"


async def show_all(request: web.Request) -> web.Response:
    account_id = request.match_info["account_id"]
    try:
        state = _entered(request, account_id)
    except Refused as refused:
        return _refuse(request, refused)
    found = state.templates.of(account_id)
    if (name := request.query.get("name")) is not None:
        found = [one for one in found if name in one.name]  # Meta's filter finds parts
    start, size = int(request.query.get("after", "0")), int(request.query.get("limit", PAGE))
    size = min(size, PAGE_MAX)
    page = found[start : start + size]
    answer: dict[str, Any] = {"data": [one.shown(request.query.get("fields")) for one in page]}
    if page:
        answer["paging"] = {"cursors": {"before": str(start), "after": str(start + len(page))}}
        if start + size < len(found):
            answer["paging"]["next"] = str(request.url.update_query(after=str(start + size)))
    return _done(request, answer)


async def show(request: web.Request) -> web.Response:
    kept = request.app[STATE].templates.kept[request.match_info["phone_number_id"]]
    try:
        _entered(request, kept.account_id)
    except Refused as refused:
        return _refuse(request, refused)
    return _done(request, kept.shown(request.query.get("fields")))


async def make(request: web.Request) -> web.Response:
    account_id = request.match_info["account_id"]
    try:
        state = _entered(request, account_id)
        made = state.templates.make(account_id, read_object(await request.read()))
    except Refused as refused:
        return _refuse(request, refused)
    state.spawn(_review(request, made))
    return _done(request, {"id": made.id, "status": made.status, "category": made.category})


async def edit(request: web.Request) -> web.Response:
    template_id = request.match_info["phone_number_id"]
    kept = request.app[STATE].templates.kept.get(template_id)
    try:
        if kept is None:
            raise Refused(400, 100, "(#100) Unsupported post request.", kind="GraphMethodException")
        state = _entered(request, kept.account_id)
        state.templates.edit(template_id, read_object(await request.read()))
    except Refused as refused:
        return _refuse(request, refused)
    state.spawn(_review(request, kept))
    return _done(request, {"success": True})


async def delete(request: web.Request) -> web.Response:
    account_id = request.match_info["account_id"]
    try:
        state = _entered(request, account_id)
        state.templates.delete(account_id, request.query.get("name"), request.query.get("hsm_id"))
    except Refused as refused:
        return _refuse(request, refused)
    return _done(request, {"success": True})


async def act(request: web.Request) -> web.Response:
    """POST /_sim/templates: {"templates": [{name, language, category, status, ...}]} are there from
    now on; {"name", "language", "event" | "quality" | "category" | "announced", ...} becomes of
    one, and is told by a webhook."""
    state, body = request.app[STATE], await read_json(request)
    if not isinstance(body, dict):
        raise Malformed(["body: must be an object"])
    account_id = str(body.get("account_id", ACCOUNT_ID))
    try:
        if "templates" in body:
            made = [_put(state, account_id, one) for one in body["templates"]]
            return web.json_response({"ids": [one.id for one in made]})
        (kept,) = state.templates.named(account_id, body["name"], body["language"])
    except (KeyError, TypeError, ValueError, Refused) as error:
        raise Malformed([f"body: {type(error).__name__} {error}"]) from error
    told = await _become(request, kept, body)
    return web.json_response({"id": kept.id, "told": told})


def _put(state: State, account_id: str, given: dict[str, Any]) -> Kept:
    kept = state.templates.make(account_id, given)
    kept.status = given.get("status", "APPROVED")
    kept.quality_score = given.get("quality_score", "UNKNOWN")
    return kept


async def _become(request: web.Request, kept: Kept, how: dict[str, Any]) -> bool:
    field, value = "template_category_update", dict[str, Any]()
    if (event := how.get("event")) is not None:
        kept.status = {"REINSTATED": "APPROVED", "UNARCHIVED": "APPROVED"}.get(event, event)
        kept.rejected_reason = how.get("reason", "NONE")
        field = "message_template_status_update"
        value = {
            "event": event,
            "reason": kept.rejected_reason,
            "message_template_category": kept.category,
        }
        infos = ("rejection_info", "other_info", "disable_info")
        value |= {name: how[name] for name in infos if name in how}
        if event == "DELETED":
            request.app[STATE].templates.kept.pop(kept.id, None)
    elif (score := how.get("quality")) is not None:
        field = "message_template_quality_update"
        value = {"previous_quality_score": kept.quality_score, "new_quality_score": score}
        kept.quality_score = score
    elif (announced := how.get("announced")) is not None:
        kept.correct_category = announced
        value = {
            "new_category": kept.category,
            "correct_category": announced,
            "category_update_timestamp": int(time.time()) + 86_400,
        }
    elif (category := how.get("category")) is not None:
        value = {"previous_category": kept.category, "new_category": category}
        kept.category, kept.correct_category = category, None
    return await _tell(request, kept, field, value)


async def _review(request: web.Request, kept: Kept) -> None:
    state = request.app[STATE]
    settings = state.settings
    if settings.template_review == "never":
        return
    await state.pause(settings.template_review_ms)
    if kept.id not in state.templates.kept or kept.status != "PENDING":
        return
    if settings.template_review == "approve":
        await _become(request, kept, {"event": "APPROVED"})
    else:
        info = {"reason": "It reads like a test.", "recommendation": "Write what it is about."}
        await _become(
            request, kept, {"event": "REJECTED", "reason": REASON, "rejection_info": info}
        )


async def _tell(request: web.Request, kept: Kept, field: str, value: dict[str, Any]) -> bool:
    of = {
        "message_template_id": int(kept.id),
        "message_template_name": kept.name,
        "message_template_language": kept.language,
    }
    change = {"value": of | value, "field": field}
    entry = {"id": kept.account_id, "time": int(time.time()), "changes": [change]}
    payload = {"object": "whatsapp_business_account", "entry": [entry]}
    state = request.app[STATE]
    with contextlib.suppress(NoWebhookUrl):
        answer = await Courier(state, request.app[HTTP]).post_raw(
            RawPost.read({"payload": payload})
        )
        return answer.status == 200
    return False


def _entered(request: web.Request, account_id: str) -> State:
    state = request.app[STATE]
    numbers = [n for n in state.settings.numbers.values() if n.account_id == account_id]
    token = request.headers.get("Authorization", "").partition(" ")[2].strip()
    if state.settings.numbers and not numbers:
        raise Refused(400, 100, "(#100) Unsupported get request.", kind="GraphMethodException")
    if not fits(numbers, token):
        raise Refused(401, 190, "Error validating access token: Session has expired.")
    fault = state.faults.take(lambda each: each.phone_number_id == account_id)
    if fault is not None:
        raise Refused(fault.status, fault.code, f"(#{fault.code}) {fault.message}")
    calls = state.templates.calls
    calls[account_id] = calls.get(account_id, 0) + 1
    most = state.settings.template_calls
    if most is not None and calls[account_id] > most:
        message = "(#80008) There have been too many calls to this WhatsApp Business account."
        raise Refused(400, 80008, message)
    return state


def _done(request: web.Request, answer: dict[str, Any]) -> web.Response:
    _note(request, None)
    return web.json_response(answer)


def _refuse(request: web.Request, refused: Refused) -> web.Response:
    _note(request, refused.code)
    return error_answer(refused, "A" + secrets.token_urlsafe(16))


def _note(request: web.Request, code: int | None) -> None:
    journal = request.app[STATE].journal
    journal.add("template", method=request.method, path=request.path, code=code)
