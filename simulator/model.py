"""A chat model behind OpenAI's HTTP interface: strict about histories, scripted in its answers."""

import json
import secrets
import time
from typing import Any

from aiohttp import web

from simulator import history
from simulator.history import Message, Refused
from simulator.script import Rule
from simulator.state import STATE, State, drop_connection

CHARS_PER_TOKEN = 4
ERROR_TYPES = {
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
}


async def complete(request: web.Request) -> web.Response:
    state = request.app[STATE]
    if not _has_bearer(request):
        state.journal.add("model", request=None, status=401, answer=None)
        return _error(401, "You didn't provide an API key.")
    raw = await request.read()
    try:
        body = history.check_request(_parse(raw))
    except Refused as refused:
        seen = raw.decode(errors="replace")
        state.journal.add("model", request=_parse(raw) or seen, status=400, answer=str(refused))
        return _error(400, str(refused), refused.param)
    messages: list[Message] = body["messages"]
    rule = _matching_rule(state, messages)
    if rule is not None and (rule.hang_ms is not None or rule.status is not None):
        return await _fail(request, body, rule)
    answer = _answer(messages, rule)
    state.journal.add("model", request=body, status=200, answer=answer)
    await state.pause(_latency(state, rule))
    return web.json_response(_completion(body, answer))


async def list_models(request: web.Request) -> web.Response:
    if not _has_bearer(request):
        return _error(401, "You didn't provide an API key.")
    model = {"id": "simulated", "object": "model", "created": 0, "owned_by": "simulator"}
    return web.json_response({"object": "list", "data": [model]})


def _has_bearer(request: web.Request) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and bool(key.strip())


def _parse(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _matching_rule(state: State, messages: list[Message]) -> Rule | None:
    fresh = history.after_assistant(messages)
    system = history.system_prompt(messages)
    inputs = "\n".join(history.texts_of(fresh, "user"))
    results = "\n".join(history.texts_of(fresh, "tool"))

    def fits(rule: Rule) -> bool:
        pairs = ((rule.match, inputs), (rule.system_match, system), (rule.tool_match, results))
        return all(regex is None or regex.search(text) for regex, text in pairs)

    return state.rules.take(fits)


def _latency(state: State, rule: Rule | None) -> int:
    if rule is not None and rule.latency_ms is not None:
        return rule.latency_ms
    return state.settings.model_latency_ms


async def _fail(request: web.Request, body: dict[str, Any], rule: Rule) -> web.Response:
    state = request.app[STATE]
    if rule.hang_ms is not None:
        state.journal.add("model", request=body, status=None, answer=None)
        await state.pause(rule.hang_ms)
        return drop_connection(request)
    status = rule.status or 500
    state.journal.add("model", request=body, status=status, answer=None)
    await state.pause(_latency(state, rule))
    response = _error(status, rule.reply or "Scripted by the simulator.")
    if rule.retry_after is not None:
        response.headers["Retry-After"] = str(rule.retry_after)
    return response


def _answer(messages: list[Message], rule: Rule | None) -> Message:
    """The assistant message: the rule's, else one that names the inputs it answers."""
    if rule is not None and rule.tool_calls:
        calls = [
            {
                "id": f"call_{secrets.token_hex(12)}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in rule.tool_calls
        ]
        return {"role": "assistant", "content": rule.reply, "tool_calls": calls}
    reply = rule.reply if rule is not None else None
    if reply is None:
        turn = history.after_assistant(messages, skip_calls=True)
        inputs = history.texts_of(turn, "user") or history.texts_of(turn, "tool")
        reply = "Re: " + " | ".join(inputs)
    return {"role": "assistant", "content": reply, "refusal": None}


def _completion(body: dict[str, Any], answer: Message) -> dict[str, object]:
    prompt = _tokens(json.dumps(body["messages"], ensure_ascii=False))
    completion = _tokens(json.dumps([answer["content"], answer.get("tool_calls")]))
    finish = "tool_calls" if answer.get("tool_calls") else "stop"
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": answer, "logprobs": None, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
    }


def _tokens(text: str) -> int:
    return 1 + len(text) // CHARS_PER_TOKEN


def _error(status: int, message: str, param: str | None = None) -> web.Response:
    kind, code = ERROR_TYPES.get(
        status, ("server_error" if status >= 500 else "invalid_request_error", None)
    )
    error = {"message": message, "type": kind, "param": param, "code": code}
    return web.json_response({"error": error}, status=status)
