"""Where files are uploaded, to be sent by their ids: POST /{phone_number_id}/media."""

import hashlib
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from aiohttp import BodyPartReader, web

from simulator.graph_call import authorize
from simulator.graph_errors import Refused, error_answer, invalid
from simulator.journal import remember
from simulator.state import STATE, State, Upload, drop_connection

UPLOADS_MAX = 5_000
MIB = 1024 * 1024
# What Meta takes of each form.
BYTES = {
    **dict.fromkeys(["image/jpeg", "image/png"], 5 * MIB),
    **dict.fromkeys(
        ["audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg", "video/mp4"], 16 * MIB
    ),
    "video/3gpp": 16 * MIB,
    "application/pdf": 100 * MIB,
}


@dataclass(slots=True)
class _Form:
    fields: dict[str, str]
    mime_type: str = ""
    filename: str | None = None
    size: int = 0
    sha256: str = ""


async def upload(request: web.Request) -> web.Response:
    state, number = request.app[STATE], request.match_info["phone_number_id"]
    request_id = "A" + secrets.token_urlsafe(16)
    try:
        authorize(state, number, request.headers.get("Authorization", ""))
        form = await _read(request)
        _check(form)
    except Refused as refused:
        _note(state, number, None, "refused", code=refused.code)
        return error_answer(refused, request_id)
    told = {"mime_type": form.mime_type, "size": form.size, "sha256": form.sha256}
    fault = state.upload_faults.take(lambda each: each.concerns(number, ""))
    if fault is not None:
        _note(state, number, None, fault.kind, code=fault.code, **told)
        await state.pause(fault.delay_ms)
        match fault.kind:
            case "error":
                message = f"(#{fault.code}) {fault.message}"
                refusal = Refused(fault.status, fault.code, message, fault.details)
                return error_answer(refusal, request_id)
            case "html":
                return web.Response(status=fault.status, text="<h1>Sorry</h1>")
            case "timeout_before_accept" | "timeout_after_accept":
                await state.pause(fault.hold_ms)
                return drop_connection(request)
            case _:
                pass
    kept = Upload(number, form.mime_type, form.size, form.sha256, time.time())
    handle = str(secrets.randbelow(10**16) + 10**15)
    remember(state.uploads, handle, kept, UPLOADS_MAX)
    _note(state, number, handle, "uploaded", length=request.content_length, **told)
    return web.json_response({"id": handle})


async def forget(request: web.Request) -> web.Response:
    """DELETE /_sim/uploads: as if 30 days had passed."""
    state = request.app[STATE]
    count = len(state.uploads)
    state.uploads = OrderedDict()
    return web.json_response({"forgotten": count})


async def _read(request: web.Request) -> _Form:
    form = _Form({})
    if not request.content_type.startswith("multipart/"):
        raise invalid("multipart/form-data is required.")
    reader = await request.multipart()
    async for part in reader:
        if not isinstance(part, BodyPartReader) or part.name is None:
            continue
        if part.name != "file":
            form.fields[part.name] = (await part.read()).decode()
            continue
        seen = hashlib.sha256()
        while piece := await part.read_chunk(64 * 1024):
            form.size += len(piece)
            seen.update(piece)
        form.sha256 = seen.hexdigest()
        form.filename = part.filename
        form.mime_type = part.headers.get("Content-Type", "")
    return form


def _check(form: _Form) -> None:
    if form.fields.get("messaging_product") != "whatsapp":
        raise invalid("The parameter messaging_product is required and must be whatsapp.")
    if not form.size or form.filename is None:
        raise invalid("The parameter file is required.")
    if form.fields.get("type") != form.mime_type or form.mime_type not in BYTES:
        details = f"Param file must be a file with one of the following types: {', '.join(BYTES)}"
        raise Refused(400, 100, "(#100) Invalid parameter", details)
    if form.size > BYTES[form.mime_type]:
        raise Refused(400, 131053, "(#131053) Media upload error", "The file is too large")


def _note(state: State, number: str, handle: str | None, outcome: str, **told: Any) -> None:
    state.journal.add("upload", phone_number_id=number, media_id=handle, outcome=outcome, **told)
