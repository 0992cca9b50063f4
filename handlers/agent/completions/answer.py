"""What a server of chat completions answered: a text, calls of tools, or a named reason. Pure.

Whatever comes, nothing but NoAnswer is raised, and no mark-up is left in the text.
"""

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from handlers.agent.answerer import (
    CONTENT_FILTER,
    EMPTY_ANSWER,
    ONLY_THOUGHT,
    REFUSED,
    THOUGHT_TOO_LONG,
    Kind,
    NoAnswer,
)
from handlers.agent.completions import markup
from handlers.agent.completions.calls import Call, call_of, loads
from handlers.agent.completions.refusals import error_of, refused_with_200
from handlers.agent.completions.stream import assembled, text_of
from handlers.agent.spending import Usage as Usage
from handlers.rules.texts import mended

MOST_CALLS = 16  # of one answer; the tools refuse in words what is above their own limit
MOST_TOKENS = 100_000_000  # that a server says it counted; beyond, it did not
_CUT = {"length", "max_tokens"}
_FILTERED = {"content_filter", "safety", "prohibited_content", "blocklist", "sensitive"}
_REFUSED = {"refusal"}
_WORD = re.compile(r"[a-z_]{1,40}")
# Neither spaces nor marks of direction, joiners and what stands for nothing.
_VISIBLE = re.compile(r"[^\s\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufffd]")


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    calls: tuple[Call, ...]
    cut: bool  # it was going on
    usage: Usage | None
    finish: str  # the server's word for why it ended


def read(body: bytes, tools: Collection[str], *, may_call: bool) -> Answer:
    """`tools`: names of those that were offered. Raises NoAnswer, with the usage where there is
    one."""
    document = _document(body)
    usage = _usage(document.get("usage"))
    try:
        return _read(document, tools, usage, may_call=may_call)
    except NoAnswer as none:
        none.usage = usage
        raise


def _read(
    document: Mapping[str, Any], tools: Collection[str], usage: Usage | None, *, may_call: bool
) -> Answer:
    if (error := error_of(document)) is not None:
        raise refused_with_200(error)
    choice = _choice(document)
    if (error := choice.get("error")) is not None:
        raise refused_with_200(error)
    finish = choice.get("finish_reason")
    finish = finish.lower() if isinstance(finish, str) else ""
    if finish in _FILTERED:
        raise NoAnswer(CONTENT_FILTER, Kind.NEVER)
    message = _message(choice)
    spoken = markup.read(text_of(message.get("content")), tools)
    text = mended(spoken.text).strip()
    text = text if _VISIBLE.search(text) else ""
    calls = tuple(_calls(message, tools)) or spoken.calls
    if not text and (not calls or not may_call):
        raise NoAnswer("only_calls", Kind.NEVER) if calls else _nothing(message, finish, spoken)
    calls = calls if may_call else ()
    return Answer(text, calls, finish in _CUT and not calls, usage, _word(finish))


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = loads(body)
    except ValueError:
        document = assembled(body)
    if isinstance(document, list) and len(document) == 1:  # as Gemini wraps its errors
        document = document[0]
    if not isinstance(document, dict):
        raise NoAnswer("unreadable")
    return document


def _choice(document: Mapping[str, Any]) -> dict[str, Any]:
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            return choice
    raise NoAnswer("no_choices")


def _message(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Also of servers that answer in the form of a stream's part, or of the old completions."""
    for name in ("message", "delta"):
        match choice.get(name):
            case dict() as message:
                return message
            case str() as text:
                return {"content": text}
            case _:
                pass
    if isinstance(choice.get("text"), str):
        return {"content": choice["text"]}
    raise NoAnswer("no_choices")


def _word(finish: str) -> str:
    return finish if _WORD.fullmatch(finish) else "other" if finish else "unknown"


def _calls(message: Mapping[str, Any], tools: Collection[str]) -> list[Call]:
    given = message.get("tool_calls") or message.get("function_call") or ()
    calls = []
    for call in given[:MOST_CALLS] if isinstance(given, list) else [given]:
        if not isinstance(call, dict):
            continue
        function = call.get("function")
        if not isinstance(function, dict):
            function = call
        arguments = function.get("arguments", function.get("parameters"))
        calls.append(call_of(function.get("name"), arguments, tools, call.get("id")))
    return calls


def _nothing(message: Mapping[str, Any], finish: str, spoken: markup.Spoken) -> NoAnswer:
    """Why there is neither text nor call."""
    if finish in _REFUSED or text_of(message.get("refusal")).strip() or _declines(message):
        return NoAnswer(REFUSED, Kind.NEVER)
    if finish in _CUT:
        return NoAnswer(THOUGHT_TOO_LONG, Kind.NEVER)
    hidden = ("reasoning_content", "reasoning", "thinking")
    if spoken.thought or any(message.get(name) for name in hidden):
        return NoAnswer(ONLY_THOUGHT, Kind.NEVER)
    return NoAnswer(EMPTY_ANSWER, Kind.NEVER)


def _declines(message: Mapping[str, Any]) -> bool:
    parts = message.get("content")
    return isinstance(parts, list) and any(
        isinstance(part, dict) and part.get("type") == "refusal" for part in parts
    )


def _usage(given: object) -> Usage | None:
    if not isinstance(given, dict):
        return None
    told = _tokens(given.get("prompt_tokens", given.get("input_tokens")))
    return Usage(
        told,
        _tokens(given.get("completion_tokens", given.get("output_tokens"))),
        min(told, _cached(given)),
    )


def _cached(given: Mapping[str, Any]) -> int:
    """As OpenAI has it, in either of its forms, and as DeepSeek."""
    for name in ("prompt_tokens_details", "input_tokens_details"):
        if isinstance(details := given.get(name), dict):
            return _tokens(details.get("cached_tokens"))
    return _tokens(given.get("prompt_cache_hit_tokens"))


def _tokens(given: object) -> int:
    if isinstance(given, bool) or not isinstance(given, int | float) or not math.isfinite(given):
        return 0
    return int(given) if 0 <= given <= MOST_TOKENS else 0
