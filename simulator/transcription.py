"""Sound as words behind OpenAI's /audio/transcriptions: looked up by the file's bytes."""

import hashlib

from aiohttp import BodyPartReader, web

from simulator.model import bearer, refusal
from simulator.state import STATE

ENDINGS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "ogg", "wav", "webm")
FILE_BYTES = 25 * 1024 * 1024
FIELD_BYTES = 10_000


async def transcribe(request: web.Request) -> web.Response:
    state = request.app[STATE]
    if not bearer(request):
        return refusal(401, "You didn't provide an API key.")
    told, data = await _parts(request)
    name = told.pop("filename", "")
    sha256 = hashlib.sha256(data).hexdigest()
    settings = state.settings
    await state.pause(settings.transcription_latency_ms)
    status, problem = 200, ""
    if "model" not in told or not data:
        status, problem = 400, "you must provide a model parameter and a file"
    elif name.rpartition(".")[2] not in ENDINGS:
        status, problem = 400, f"Unsupported file format {name.rpartition('.')[2]}"
    elif settings.transcription_status != 200:
        status, problem = settings.transcription_status, "Scripted by the simulator."
    state.journal.add(
        "transcription",
        name=name,
        bytes=len(data),
        sha256=sha256,
        model=told.get("model"),
        language=told.get("language"),
        status=status,
    )
    if status != 200:
        return refusal(status, problem)
    text = state.media.said.get(sha256, "")
    usage = {"type": "tokens", "input_tokens": 20, "output_tokens": len(text) // 4}
    return web.json_response({"text": text, "usage": usage})


async def _parts(request: web.Request) -> tuple[dict[str, str], bytes]:
    told: dict[str, str] = {}
    data = b""
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            continue
        if part.name == "file":
            told["filename"] = part.filename or ""
            data = bytes(await part.read(decode=False))[:FILE_BYTES]
        else:
            told[part.name] = (await part.text())[:FIELD_BYTES]
    return told, data
