"""A chat model behind OpenAI's HTTP interface: strict about histories, scripted in its answers."""

import gzip
import io
import json
import secrets
import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from simulator import history
from simulator.history import Message, Refused
from simulator.model_rules import Raw, Rule
from simulator.quirks import check_quirks
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
    if not bearer(request):
        state.journal.add("model", request=None, status=401, answer=None)
        return refusal(401, "You didn't provide an API key.")
    raw, quirks = await request.read(), state.settings.model_quirks
    try:
        body = history.check_request(parsed(raw), streams=quirks.streams_only)
        check_quirks(quirks, body)
    except Refused as refused:
        seen = parsed(raw) or raw.decode(errors="replace")
        state.journal.add("model", request=seen, status=refused.status, answer=str(refused))
        if refused.answer is not None:
            return web.json_response(refused.answer, status=refused.status)
        return refusal(refused.status, str(refused), refused.param, refused.code)
    messages: list[Message] = body["messages"]
    rule = _matching_rule(state, messages)
    if rule is not None and (rule.hang_ms is not None or rule.status is not None):
        return await _fail(request, body, rule)
    if rule is not None and rule.raw is not None:
        state.journal.add("model", request=body, status=200, answer=None)
        return _as_given(rule.raw, 200)
    answer = _answer(messages, rule)
    state.journal.add("model", request=body, status=200, answer=answer)
    await state.pause(_latency(state, rule))
    completion = _completion(body, answer, rule)
    if quirks.streams or body.get("stream") or (rule is not None and rule.streamed):
        return web.Response(text="".join(_events(completion)), content_type="text/event-stream")
    return web.json_response(completion)


async def list_models(request: web.Request) -> web.Response:
    if not bearer(request):
        return refusal(401, "You didn't provide an API key.")
    model = {"id": "simulated", "object": "model", "created": 0, "owned_by": "simulator"}
    return web.json_response({"object": "list", "data": [model]})


def bearer(request: web.Request) -> bool:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and bool(key.strip())


def parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _matching_rule(state: State, messages: list[Message]) -> Rule | None:
    fresh = history.after_assistant(messages)
    system = history.system_prompt(messages)
    inputs = "\n".join(history.texts_of(fresh, "user"))
    results = "\n".join(history.texts_of(fresh, "tool"))
    told = "\n".join(history.content_text(message) for message in messages)

    def fits(rule: Rule) -> bool:
        pairs = (
            *((rule.match, inputs), (rule.system_match, system), (rule.tool_match, results)),
            (rule.anywhere, told),
        )
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
    if rule.raw is not None:
        response = _as_given(rule.raw, status)
    else:
        response = refusal(status, rule.reply or "Scripted by the simulator.")
    if rule.retry_after is not None:
        response.headers["Retry-After"] = str(rule.retry_after)
    return response


def _as_given(raw: Raw, status: int) -> web.Response:
    body = raw.body.encode(errors="surrogatepass") + b"x" * raw.filler
    headers = {"Content-Type": raw.content_type}
    if raw.gzip:
        body, headers["Content-Encoding"] = gzip.compress(body), "gzip"
    return web.Response(body=io.BytesIO(body), status=status, headers=headers)


def _answer(messages: list[Message], rule: Rule | None) -> Message:
    """The assistant message: the rule's, else one that names the inputs it answers."""
    if rule is not None and rule.message:
        return {"role": "assistant", "content": rule.reply, **rule.message}
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


def _completion(body: dict[str, Any], answer: Message, rule: Rule | None) -> dict[str, Any]:
    prompt = _tokens(json.dumps(body["messages"], ensure_ascii=False))
    completion = _tokens(json.dumps([answer["content"], answer.get("tool_calls")]))
    finish = "tool_calls" if answer.get("tool_calls") else "stop"
    if rule is not None and rule.finish_reason is not None:
        finish = rule.finish_reason
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    return {
        "id": f"chatcmpl-{secrets.token_hex(12)}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [{"index": 0, "message": answer, "logprobs": None, "finish_reason": finish}],
        "usage": usage if rule is None or rule.usage is None else rule.usage,
    }


def _events(completion: dict[str, Any]) -> Iterator[str]:
    """The completion as a stream of parts: of a few characters each, as a model writes them."""
    (choice,) = completion["choices"]
    message = choice["message"]
    head = {key: completion[key] for key in ("id", "created", "model")}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    text = message.get("content")
    if isinstance(text, str):
        deltas += [{"content": text[n : n + 3]} for n in range(0, len(text), 3)]
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        begun = {"name": function["name"], "arguments": ""}
        deltas.append({"tool_calls": [{"index": index, **call, "function": begun}]})
        for n in range(0, len(function["arguments"]), 5):
            part = {"arguments": function["arguments"][n : n + 5]}
            deltas.append({"tool_calls": [{"index": index, "function": part}]})
    yield ": keep-alive\n\n"
    for delta in deltas:
        yield _event(head, [{"index": 0, "delta": delta, "finish_reason": None}])
    yield _event(head, [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}])
    yield _event(head | {"usage": completion["usage"]}, [])
    yield "data: [DONE]\n\n"


def _event(head: dict[str, Any], choices: list[dict[str, Any]]) -> str:
    chunk = {"object": "chat.completion.chunk", **head, "choices": choices}
    return f"data: {json.dumps(chunk)}\n\n"


def _tokens(text: str) -> int:
    return 1 + len(text) // CHARS_PER_TOKEN


def refusal(
    status: int, message: str, param: str | None = None, code: str | None = None
) -> web.Response:
    kind, usual = ERROR_TYPES.get(
        status, ("server_error" if status >= 500 else "invalid_request_error", None)
    )
    error = {"message": message, "type": kind, "param": param, "code": code or usual}
    return web.json_response({"error": error}, status=status)
