"""The Graph endpoint that messages are sent to."""

import json
import secrets
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from simulator.journal import Line
from simulator.meta import Courier, Sent, new_wamid
from simulator.script import Fault, Status, customer_key, is_bsuid
from simulator.state import HTTP, STATE, State, drop_connection

TEXT_MAX = 4096  # characters
OPAQUE_MAX = 512  # characters
PHONE_DIGITS = range(7, 16)
MESSAGE_TYPES = (
    "audio",
    "contacts",
    "document",
    "image",
    "interactive",
    "location",
    "reaction",
    "sticker",
    "template",
    "text",
    "video",
)
FAILED: tuple[Status, ...] = ("failed",)


class Refused(Exception):
    def __init__(
        self, status: int, code: int, message: str, details: str = "", kind: str = "OAuthException"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Call:
    """One message as asked for, found valid."""

    phone_number_id: str
    request_id: str
    body: dict[str, Any]
    to: str | None
    recipient: str | None
    text: str | None
    context: str | None
    opaque: str | None

    @property
    def customer(self) -> str:
        return customer_key(self.to or self.recipient or "")

    @property
    def vanishes(self) -> bool:
        """A BSUID in `to` is answered 200 and never delivered."""
        return self.to is not None and is_bsuid(self.to)


async def send_message(request: web.Request) -> web.Response:
    state = request.app[STATE]
    phone_number_id = request.match_info["phone_number_id"]
    request_id = "A" + secrets.token_urlsafe(16)
    body: dict[str, Any] = {}
    try:
        _authorize(state, phone_number_id, request.headers.get("Authorization", ""))
        body = _object(await request.read())
        if "status" in body:
            return _mark_read(state, phone_number_id, body, request_id)
        call = _read_call(phone_number_id, request_id, body)
    except Refused as refused:
        _record(state, request_id, phone_number_id, body, "refused", code=refused.code)
        return _error(refused, request_id)
    fault = state.faults.take(lambda each: each.concerns(phone_number_id, call.customer))
    if fault is not None:
        return await _play(request, call, fault)
    return _success(state, call, _accept(request, call, None))


async def show_number(request: web.Request) -> web.Response:
    """What a token check asks for: the number itself."""
    state = request.app[STATE]
    phone_number_id = request.match_info["phone_number_id"]
    try:
        _authorize(state, phone_number_id, request.headers.get("Authorization", ""))
    except Refused as refused:
        return _error(refused, "A" + secrets.token_urlsafe(16))
    number = state.settings.number(phone_number_id)
    return web.json_response(
        {
            "id": phone_number_id,
            "display_phone_number": f"+{number.display_phone_number}",
            "verified_name": "Simulated business",
            "quality_rating": "GREEN",
        }
    )


def _authorize(state: State, phone_number_id: str, header: str) -> None:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(401, 190, "Invalid OAuth access token - Cannot parse access token")
    numbers = state.settings.numbers
    if numbers and phone_number_id not in numbers:
        message = (
            f"Unsupported post request. Object with ID '{phone_number_id}' does not exist, "
            "cannot be loaded due to missing permissions, or does not support this operation."
        )
        raise Refused(400, 33, message, kind="GraphMethodException")
    expected = state.settings.number(phone_number_id).token
    if expected is not None and token.strip() != expected:
        raise Refused(401, 190, "Error validating access token: Session has expired.")


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _invalid("The request body must be a JSON object.")
    return body


def _read_call(phone_number_id: str, request_id: str, body: dict[str, Any]) -> Call:
    _check_product(body)
    if body.get("recipient_type", "individual") != "individual":
        raise _invalid("Param recipient_type must be one of {INDIVIDUAL}.")
    kind = body.get("type")
    if kind not in MESSAGE_TYPES:
        raise _invalid(f"Param type must be one of {{{', '.join(MESSAGE_TYPES)}}}.")
    content = body.get(kind)
    if not isinstance(content, list if kind == "contacts" else dict) or not content:
        raise _invalid(f"The parameter {kind} is required.")
    opaque = body.get("biz_opaque_callback_data")
    if opaque is not None and not (isinstance(opaque, str) and len(opaque) <= OPAQUE_MAX):
        raise _invalid(f"biz_opaque_callback_data must be a string of at most {OPAQUE_MAX}.")
    to, recipient = _addressee(body)
    return Call(
        phone_number_id=phone_number_id,
        request_id=request_id,
        body=body,
        to=to,
        recipient=recipient,
        text=_text(content) if kind == "text" else _caption(kind, content),
        context=_context(body),
        opaque=opaque,
    )


def _check_product(body: dict[str, Any]) -> None:
    if body.get("messaging_product") != "whatsapp":
        raise _invalid("The parameter messaging_product is required and must be whatsapp.")


def _addressee(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """`to` wins when both are given."""
    to, recipient = body.get("to"), body.get("recipient")
    if to is not None:
        if not isinstance(to, str) or not (is_bsuid(to) or _is_phone(to)):
            raise _invalid("Param to must be a phone number: + and digits.")
        return to, None
    if not isinstance(recipient, str) or not is_bsuid(recipient):
        raise _invalid("The parameter to is required, or recipient with a valid user id.")
    return None, recipient


def _is_phone(value: str) -> bool:
    number = value.removeprefix("+")
    plain = number.isascii() and number.isdigit() and not number.startswith("0")
    return value.startswith("+") and plain and len(number) in PHONE_DIGITS


def _text(content: Any) -> str:
    body = content.get("body")
    if not isinstance(body, str) or not body:
        raise _invalid("The parameter text['body'] is required.")
    if len(body) > TEXT_MAX:
        raise _invalid(f"Param text['body'] must be at most {TEXT_MAX} characters long.")
    if not isinstance(content.get("preview_url", False), bool):
        raise _invalid("Param text['preview_url'] must be a boolean.")
    return body


def _caption(kind: str, content: Any) -> str:
    """How a message that is not plain text appears in the conversation."""
    if kind == "template":
        language = content.get("language")
        if not isinstance(content.get("name"), str) or not isinstance(language, dict):
            raise _invalid("The parameters template['name'] and template['language'] are required.")
        return f"[template {content['name']}]"
    if kind == "interactive" and isinstance(inner := content.get("body"), dict):
        return f"{inner.get('text')}"
    return f"[{kind}]"


def _context(body: dict[str, Any]) -> str | None:
    context = body.get("context")
    if context is None:
        return None
    wamid = context.get("message_id") if isinstance(context, dict) else None
    if not isinstance(wamid, str) or not wamid:
        raise _invalid("The parameter context['message_id'] is required.")
    return wamid


def _mark_read(
    state: State, phone_number_id: str, body: dict[str, Any], request_id: str
) -> web.Response:
    _check_product(body)
    if body["status"] != "read":
        raise _invalid("Param status must be one of {READ}.")
    message_id = body.get("message_id")
    if not isinstance(message_id, str) or not message_id:
        raise _invalid("The parameter message_id is required.")
    typing = body.get("typing_indicator")
    if typing not in (None, {"type": "text"}):
        raise _invalid("Param typing_indicator['type'] must be one of {TEXT}.")
    state.journal.add(
        "read",
        phone_number_id=phone_number_id,
        message_id=message_id,
        typing=typing is not None,
        request_id=request_id,
    )
    return web.json_response({"success": True})


async def _play(request: web.Request, call: Call, fault: Fault) -> web.Response:
    state = request.app[STATE]
    match fault.kind:
        case "slow" | "async_failure":
            wamid = _accept(request, call, fault)
            await state.pause(fault.delay_ms)
            return _success(state, call, wamid)
        case "timeout_after_accept":
            _accept(request, call, fault)
            await state.pause(fault.hold_ms)
            return drop_connection(request)
        case "timeout_before_accept":
            _note(state, call, None, "dropped", fault)
            await state.pause(fault.hold_ms)
            return drop_connection(request)
        case "error" | "html":
            if fault.accepted:
                _accept(request, call, fault)
            else:
                _note(state, call, None, "refused", fault)
            await state.pause(fault.delay_ms)
            return _fault_answer(call, fault)


def _fault_answer(call: Call, fault: Fault) -> web.Response:
    if fault.kind == "html":
        page = (
            f"<html><body><h1>{fault.status}</h1><p>Sorry, something went wrong.</p></body></html>"
        )
        return web.Response(status=fault.status, text=page, content_type="text/html")
    message = f"(#{fault.code}) {fault.message}"
    response = _error(Refused(fault.status, fault.code, message, fault.details), call.request_id)
    if fault.retry_after is not None:
        response.headers["Retry-After"] = str(fault.retry_after)
    return response


def _accept(request: web.Request, call: Call, fault: Fault | None) -> str:
    """Takes the message as Meta does: a wamid now, the statuses later."""
    state = request.app[STATE]
    wamid = new_wamid()
    if call.vanishes:
        _note(state, call, wamid, "vanished", fault)
        return wamid
    _note(state, call, wamid, "accepted", fault)
    person = state.people.find(call.customer)
    customer = person.customer if person else call.customer
    line = Line("bot", call.text or "", wamid, time.time(), "accepted")
    state.conversations.add(call.phone_number_id, customer, line)
    sent = Sent(
        phone_number_id=call.phone_number_id,
        recipient=call.recipient,
        customer=call.customer,
        wamid=wamid,
        opaque=call.opaque,
        line=line,
    )
    failing = fault if fault is not None and fault.kind == "async_failure" else None
    statuses = FAILED if failing else state.settings.statuses
    if fault is not None and fault.statuses is not None:
        statuses = fault.statuses
    state.spawn(Courier(state, request.app[HTTP]).report(sent, statuses, failing))
    return wamid


def _success(state: State, call: Call, wamid: str) -> web.Response:
    contact: dict[str, object] = {"input": call.to or call.recipient}
    if call.to is not None:
        contact["wa_id"] = call.customer
    person = state.people.find(call.customer)
    if call.recipient is not None:
        contact["user_id"] = call.recipient
    elif person is not None and person.user_id is not None:
        contact["user_id"] = person.user_id
    return web.json_response(
        {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": wamid}]},
        headers={"x-fb-trace-id": call.request_id},
    )


def _error(refused: Refused, request_id: str) -> web.Response:
    error: dict[str, object] = {
        "message": refused.message,
        "type": refused.kind,
        "code": refused.code,
        "fbtrace_id": request_id,
    }
    if refused.details:
        error["error_data"] = {"messaging_product": "whatsapp", "details": refused.details}
    return web.json_response({"error": error}, status=refused.status)


def _invalid(details: str) -> Refused:
    return Refused(400, 100, "(#100) Invalid parameter", details)


def _note(state: State, call: Call, wamid: str | None, outcome: str, fault: Fault | None) -> None:
    _record(
        state,
        call.request_id,
        call.phone_number_id,
        call.body,
        outcome,
        wamid=wamid,
        code=fault.code if fault and fault.kind == "error" else None,
        fault=fault.kind if fault else None,
    )


def _record(
    state: State,
    request_id: str,
    phone_number_id: str,
    body: dict[str, Any],
    outcome: str,
    *,
    wamid: str | None = None,
    code: int | None = None,
    fault: str | None = None,
) -> None:
    text, context = body.get("text"), body.get("context")
    state.journal.add(
        "send",
        phone_number_id=phone_number_id,
        to=body.get("to"),
        recipient=body.get("recipient"),
        text=text.get("body") if isinstance(text, dict) else None,
        context=context.get("message_id") if isinstance(context, dict) else None,
        biz_opaque_callback_data=body.get("biz_opaque_callback_data"),
        wamid=wamid,
        outcome=outcome,
        code=code,
        fault=fault,
        request_id=request_id,
        body=body,
    )
