"""The Graph endpoint that messages are sent to."""

import json
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from simulator.journal import Line
from simulator.lies import ERRORS, Fate
from simulator.meta import ACCOUNT_ID, Courier, Sent, new_wamid
from simulator.script import Fault, FaultKind, Status, customer_key, is_bsuid
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
TEMPLATE_NAME = re.compile(r"[a-z0-9_]{1,512}")
LANGUAGE = re.compile(r"[a-z]{2,3}([_-][A-Za-z]{2,4})?")
COMPONENTS = ("header", "body", "button", "carousel", "limited_time_offer")
NO_SUCH_MESSAGE = 131009  # well-formed, and about a message that no customer sent
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
        call = _read_call(state, phone_number_id, request_id, body)
    except Refused as refused:
        if refused.code == NO_SUCH_MESSAGE:
            _note_read(state, phone_number_id, body, request_id, code=refused.code)
        else:
            _record(state, request_id, phone_number_id, body, "refused", code=refused.code)
        return _error(refused, request_id)
    fate = Fate.diced(state.settings.lies, state.dice)
    fault = state.faults.take(lambda each: each.concerns(phone_number_id, call.customer))
    fault = fault or _lie(state, call, fate)
    if fault is not None:
        return await _play(request, call, fault, fate)
    return _success(state, call, await _accept(request, call, None, fate))


def _lie(state: State, call: Call, fate: Fate) -> Fault | None:
    lies, customer = state.settings.lies, state.canonical(call.customer)
    now = time.time()
    code = fate.refusal
    if lies.enforce_limits:
        code = state.limits.exceeded(call.phone_number_id, customer, now) or code
    free = call.body.get("type") != "template"
    if lies.enforce_window and free:
        inside = state.limits.in_window(call.phone_number_id, customer, now)
        code = code if inside else 131047
    if code is not None:
        status, message = ERRORS[code]
        return _fault("error", status=status, code=code, message=message)
    if fate.server_error:
        return _fault("html", status=502)
    return _fault("timeout_after_accept") if fate.lost_answer else None


def _fault(kind: FaultKind, status: int = 400, code: int = 0, message: str = "") -> Fault:
    return Fault(
        kind=kind,
        status=status,
        code=code,
        message=message,
        details=message,
        retry_after=None,
        hold_ms=0,
        delay_ms=0,
        accepted=False,
        statuses=None,
        phone_number_id=None,
        to=None,
        times=1,
    )


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


async def show_token(request: web.Request) -> web.Response:
    """What a token may do, and for which account. A token that belongs to a number is valid; with
    a number that takes any, every one is."""
    numbers = request.app[STATE].settings.numbers.values()
    token = request.query.get("input_token", "")
    valid = bool(token) and (
        not numbers or any(number.token in (None, token) for number in numbers)
    )
    scopes = ["whatsapp_business_management", "whatsapp_business_messaging"] if valid else []
    granular = [{"scope": scope, "target_ids": [ACCOUNT_ID]} for scope in scopes]
    data = {"is_valid": valid, "type": "SYSTEM_USER", "expires_at": 0, "scopes": scopes}
    return web.json_response({"data": {**data, "granular_scopes": granular}})


async def show_apps(request: web.Request) -> web.Response:
    """The apps that get the account's webhooks."""
    state = request.app[STATE]
    if request.match_info["account_id"] != ACCOUNT_ID:
        refused = Refused(400, 100, "(#100) Unsupported get request.", kind="GraphMethodException")
        return _error(refused, "A" + secrets.token_urlsafe(16))
    app = {"id": "700", "name": "Simulated app", "link": "https://www.facebook.com/games/?app_id=7"}
    found = [{"whatsapp_business_api_data": app}] if state.settings.subscribed else []
    return web.json_response({"data": found})


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


def _read_call(state: State, phone_number_id: str, request_id: str, body: dict[str, Any]) -> Call:
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
        text=_text(content) if kind == "text" else _caption(state, kind, content),
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


def _caption(state: State, kind: str, content: Any) -> str:
    """How a message that is not plain text appears in the conversation."""
    if kind == "template":
        return f"[template {_template_name(state, content)}]"
    if kind == "interactive" and isinstance(inner := content.get("body"), dict):
        return f"{inner.get('text')}"
    return f"[{kind}]"


def _template_name(state: State, content: dict[str, Any]) -> str:
    name, language = content.get("name"), content.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    if not isinstance(name, str) or not isinstance(code, str):
        raise _invalid("The parameters template['name'] and template['language'] are required.")
    if not TEMPLATE_NAME.fullmatch(name) or not LANGUAGE.fullmatch(code):
        raise _invalid("Param template['name'] or template['language']['code'] is not valid.")
    components = content.get("components", [])
    if not isinstance(components, list) or not all(
        isinstance(one, dict) and one.get("type") in COMPONENTS for one in components
    ):
        raise _invalid(f"Param template['components'] must be a list of {', '.join(COMPONENTS)}.")
    known = state.settings.templates
    if known and name not in known:
        details = f"template name ({name}) does not exist in {code}"
        raise Refused(404, 132001, "(#132001) Template name does not exist", details)
    return name


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
    number, customer = state.inbound.get(message_id, (None, ""))
    if number != phone_number_id:
        raise Refused(400, NO_SUCH_MESSAGE, "(#131009) Parameter value is not valid", "message_id")
    _note_read(state, phone_number_id, body, request_id, customer=customer)
    state.conversations.has_read(phone_number_id, customer, message_id)
    return web.json_response({"success": True})


def _note_read(
    state: State,
    phone_number_id: str,
    body: dict[str, Any],
    request_id: str,
    *,
    customer: str | None = None,
    code: int | None = None,
) -> None:
    told = {
        "phone_number_id": phone_number_id,
        "customer": customer,
        "message_id": body.get("message_id"),
        "code": code,
        "request_id": request_id,
    }
    typing = "typing_indicator" in body
    state.journal.add("read", typing=typing, **told)
    if typing and code is None:
        state.journal.add("typing", **told)


async def _play(request: web.Request, call: Call, fault: Fault, fate: Fate) -> web.Response:
    state = request.app[STATE]
    match fault.kind:
        case "slow" | "async_failure":
            wamid = await _accept(request, call, fault, fate)
            await state.pause(fault.delay_ms)
            return _success(state, call, wamid)
        case "timeout_after_accept":
            await _accept(request, call, fault, fate)
            await state.pause(fault.hold_ms)
            return drop_connection(request)
        case "timeout_before_accept":
            _note(state, call, None, "dropped", fault)
            await state.pause(fault.hold_ms)
            return drop_connection(request)
        case "error" | "html":
            if fault.accepted:
                await _accept(request, call, fault, fate)
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


async def _accept(request: web.Request, call: Call, fault: Fault | None, fate: Fate) -> str:
    """Takes the message as Meta does: a wamid now, the statuses later."""
    state = request.app[STATE]
    wamid = new_wamid()
    if call.vanishes:
        _note(state, call, wamid, "vanished", fault)
        return wamid
    _note(state, call, wamid, "accepted", fault, fate)
    customer = state.canonical(call.customer)
    line = Line("bot", call.text or "", wamid, time.time(), "accepted")
    state.conversations.add(call.phone_number_id, customer, line)
    sent = Sent(
        phone_number_id=call.phone_number_id,
        recipient=call.recipient,
        customer=call.customer,
        wamid=wamid,
        opaque=None if fate.anonymous else call.opaque,
        line=line,
    )
    failing = fault if fault is not None and fault.kind == "async_failure" else None
    statuses = FAILED if failing else state.settings.statuses
    if fault is not None and fault.statuses is not None:
        statuses = fault.statuses
    if fate.never:
        statuses = ()
    report = Courier(state, request.app[HTTP]).report(sent, statuses, failing, fate)
    if fate.early and not fate.late:
        await report
    else:
        state.spawn(report)
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
    message = {"id": wamid}
    if call.body.get("type") == "template":
        message["message_status"] = "accepted"
    return web.json_response(
        {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]},
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


def _note(
    state: State,
    call: Call,
    wamid: str | None,
    outcome: str,
    fault: Fault | None,
    fate: Fate | None = None,
) -> None:
    _record(
        state,
        call.request_id,
        call.phone_number_id,
        call.body,
        outcome,
        wamid=wamid,
        code=fault.code if fault and fault.kind == "error" else None,
        fault=fault.kind if fault else None,
        lies=fate.names() if fate else [],
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
    lies: Sequence[str] = (),
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
        lies=list(lies),
        request_id=request_id,
        body=body,
    )
