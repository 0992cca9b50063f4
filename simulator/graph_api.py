"""The Graph endpoint that messages are sent to."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from simulator.graph_call import Asked, Call, authorize, check_product, read_call, read_object
from simulator.graph_errors import Refused, error_answer, invalid
from simulator.journal import Line
from simulator.lies import ERRORS, Fate
from simulator.meta import Courier, Sent, new_wamid
from simulator.script import Fault, FaultKind
from simulator.settings import Status
from simulator.state import HTTP, STATE, State, drop_connection

NO_SUCH_MESSAGE = 131009  # well-formed, and about a message that no customer sent
FAILED: tuple[Status, ...] = ("failed",)


@dataclass(frozen=True, slots=True)
class Told:
    """What the journal says became of a call."""

    outcome: str
    wamid: str | None = None
    code: int | None = None
    fault: str | None = None
    lies: Sequence[str] = ()


async def send_message(request: web.Request) -> web.Response:
    state = request.app[STATE]
    marketing = request.path.endswith("/marketing_messages")
    number, request_id = request.match_info["phone_number_id"], "A" + secrets.token_urlsafe(16)
    asked = Asked(number, request_id, {}, marketing)
    try:
        authorize(state, asked.phone_number_id, request.headers.get("Authorization", ""))
        asked = replace(asked, body=read_object(await request.read()))
        if "status" in asked.body:
            return _mark_read(state, asked)
        call = read_call(state, asked)
        if marketing and asked.body.get("type") != "template":
            raise invalid("Only templates are sent here.")
    except Refused as refused:
        if refused.code == NO_SUCH_MESSAGE:
            _note_read(state, asked, code=refused.code)
        else:
            _record(state, asked, Told("refused", code=refused.code))
        return error_answer(refused, asked.request_id)
    fate = Fate.diced(state.settings.lies, state.dice)
    fault = state.faults.take(lambda each: each.concerns(asked.phone_number_id, call.customer))
    fault = fault or _lie(state, call, fate)
    if fault is not None:
        return await _play(request, call, fault, fate)
    return _success(state, call, await _accept(request, call, None, fate))


def _lie(state: State, call: Call, fate: Fate) -> Fault | None:
    lies, customer = state.settings.lies, state.canonical(call.customer)
    now = time.time()
    code = fate.refusal
    if lies.enforce_limits:
        code = state.limits.exceeded(call.asked.phone_number_id, customer, now) or code
    free = call.asked.body.get("type") != "template"
    if lies.enforce_window and free:
        inside = state.limits.in_window(call.asked.phone_number_id, customer, now)
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


def _mark_read(state: State, asked: Asked) -> web.Response:
    body = asked.body
    check_product(body)
    if body["status"] != "read":
        raise invalid("Param status must be one of {READ}.")
    message_id = body.get("message_id")
    if not isinstance(message_id, str) or not message_id:
        raise invalid("The parameter message_id is required.")
    typing = body.get("typing_indicator")
    if typing not in (None, {"type": "text"}):
        raise invalid("Param typing_indicator['type'] must be one of {TEXT}.")
    number, customer = state.inbound.get(message_id, (None, ""))
    if number != asked.phone_number_id:
        raise Refused(400, NO_SUCH_MESSAGE, "(#131009) Parameter value is not valid", "message_id")
    _note_read(state, asked, customer=customer)
    state.conversations.has_read(number, customer, message_id)
    return web.json_response({"success": True})


def _note_read(
    state: State, asked: Asked, *, customer: str | None = None, code: int | None = None
) -> None:
    told = {
        "phone_number_id": asked.phone_number_id,
        "customer": customer,
        "message_id": asked.body.get("message_id"),
        "code": code,
        "request_id": asked.request_id,
    }
    typing = "typing_indicator" in asked.body
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
    response = error_answer(
        Refused(fault.status, fault.code, message, fault.details), call.asked.request_id
    )
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
    state.conversations.add(call.asked.phone_number_id, customer, line)
    sent = Sent(
        phone_number_id=call.asked.phone_number_id,
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
    if call.asked.body.get("type") == "template":
        message["message_status"] = "accepted"
    return web.json_response(
        {"messaging_product": "whatsapp", "contacts": [contact], "messages": [message]},
        headers={"x-fb-trace-id": call.asked.request_id},
    )


def _note(
    state: State,
    call: Call,
    wamid: str | None,
    outcome: str,
    fault: Fault | None,
    fate: Fate | None = None,
) -> None:
    told = Told(
        outcome,
        wamid=wamid,
        code=fault.code if fault and fault.kind == "error" else None,
        fault=fault.kind if fault else None,
        lies=fate.names() if fate else [],
    )
    _record(state, call.asked, told)


def _record(state: State, asked: Asked, told: Told) -> None:
    body = asked.body
    text, context = body.get("text"), body.get("context")
    state.journal.add(
        "send",
        phone_number_id=asked.phone_number_id,
        to=body.get("to"),
        recipient=body.get("recipient"),
        text=text.get("body") if isinstance(text, dict) else None,
        context=context.get("message_id") if isinstance(context, dict) else None,
        biz_opaque_callback_data=body.get("biz_opaque_callback_data"),
        wamid=told.wamid,
        outcome=told.outcome,
        code=told.code,
        fault=told.fault,
        lies=list(told.lies),
        request_id=asked.request_id,
        marketing=asked.marketing,
        body=body,
    )
