"""Why a server did not answer: from its HTTP status and its words to what may help. Pure.

There is no standard for the words. Codes come first where they are known; then what the usual
servers say: OpenAI, Azure, Mistral, vLLM, llama.cpp, Ollama, SGLang, TGI, OpenRouter, DeepSeek,
Moonshot, DashScope, Groq, Gemini. A customer's text that a server repeats in its error is not
looked at, as far as it can be told apart.
"""

import email.utils
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from handlers.agent.answerer import (
    CONTENT_FILTER,
    CONTEXT_LENGTH,
    ERROR_IN_ANSWER,
    THOUGHT_TOO_LONG,
    Kind,
    NoAnswer,
)

MAX_WAIT_S = 86_400.0  # of a Retry-After that is believed
MAX_SAID = 8_000  # characters of an error that are looked at
_ECHOES = {"input", "ctx", "url", "body", "request", "messages", "prompt", "failed_generation"}

_FILTERED = re.compile(
    r"content.?(filter|policy|management|safety)|responsible.?ai|moderat|data.?inspection.?failed"
    r"|inappropriate|content exists risk|high risk|\bflagged\b|usage polic|\bunsafe\b"
    r"|sensitive.(content|word|info)|new_sensitive|\u654f\u611f"
    r"|(blocked|rejected|prohibited) .{0,40}(safety|content|polic)"
)
_TOO_LONG = re.compile(
    r"context.?(length|size|window)|exceed_context|too many (input )?tokens|too large for model"
    r"|(prompt|input|request|messages?)\b.{0,60}\btoo (long|large)|(prompt|input) length"
    r"|(maximum|max) (prompt|input|model|sequence).{0,10}length|prompt exceeds"
    r"|(reduce|shorten) .{0,30}(length|prompt|messages?|input|size)|longer than the .{0,30}model"
    r"|tokens?\b.{0,80}(exceed|must be <=|must be reduced)|exceed\w*.{0,60}\btokens?\b"
    r"|above_max_length|payload too large|request entity too large"
)
_UNFINISHED = re.compile(r"could not finish .{0,60}max_tokens")
_NO_MODEL = re.compile(
    r"model.{0,60}(not.(found|exist|a valid|available|loaded)|unknown|deprecated|decommissioned)"
    r"|(unknown|invalid|no such).{0,20}\bmodel\b"
)
_NO_CREDIT = re.compile(
    r"insufficient.{0,10}(quota|balance|credit|funds)|exceeded your current quota"
)
_NO_KEY = re.compile(
    r"(invalid|incorrect|missing|expired|no)\b.{0,10}api.?key|api.?key.{0,20}(invalid|not valid)"
    r"|unauthori[sz]ed|authenticat"
)
_OURS = re.compile(r"invalid.?request|bad.?request|validation|invalid.?param")


class Refused(NoAnswer):
    """The server said why."""

    billed = False

    def __init__(
        self, word: str, kind: Kind, status: int | None, said: str, wait_s: float | None
    ) -> None:
        """`said`: its words, for whoever looks for what it cannot take."""
        super().__init__(word, kind, wait_s)
        self.status = status
        self.said = said


def refused(status: int, headers: Mapping[str, str], body: bytes, now: datetime) -> Refused:
    """An answer that has an error's status."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = body[:MAX_SAID].decode("utf-8", "replace")
    return _sorted(status, words_of(document), retry_after_s(headers, now))


def refused_with_200(error: object) -> Refused:
    """An error in the place of an answer. Some proxies put the status of the server behind them
    into it."""
    return _sorted(_status_of(error), words_of(error), None)


def error_of(document: Mapping[str, Any]) -> object | None:
    if document.get("error"):
        error: object = document["error"]
        return error
    if "error" in (document.get("object"), document.get("type")):
        return document
    told = ("detail", "message", "msg", "error_msg", "base_resp")
    return None if document.get("choices") or not any(map(document.get, told)) else document


def words_of(document: object) -> str:
    """All words of an error, in lower case, without what repeats the request."""
    words: list[str] = []

    def collect(value: object, depth: int) -> None:
        if depth > 8 or len(words) > 200:
            return
        match value:
            case str():
                words.append(value[:2_000])
            case bool() | None:
                pass
            case int():
                words.append(str(value)[:20])
            case dict():
                for key, item in value.items():
                    if key not in _ECHOES:
                        collect(item, depth + 1)
            case list():
                for item in value:
                    collect(item, depth + 1)
            case _:
                pass

    collect(document, 0)
    return " ".join(words)[:MAX_SAID].lower()


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """In seconds, in milliseconds where a server says so, or until a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return min(seconds, MAX_WAIT_S) if math.isfinite(seconds) and seconds >= 0 else None
    try:
        until = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        until = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        return min(max(0.0, (until - now).total_seconds()), MAX_WAIT_S)
    except (ValueError, TypeError, OverflowError):
        return None


def _sorted(status: int | None, said: str, wait_s: float | None) -> Refused:
    word, kind = ERROR_IN_ANSWER if status is None else f"http_{status}", _kind(status, said)
    if _is_too_long(status, said):
        word, kind = CONTEXT_LENGTH, Kind.NEVER
    elif status in (None, 400, 403, 422, 451, 500) and _FILTERED.search(said):
        word, kind = CONTENT_FILTER, Kind.NEVER
    elif status == 400 and _UNFINISHED.search(said):
        word, kind = THOUGHT_TOO_LONG, Kind.NEVER
    return Refused(word, kind, status, said, wait_s if kind is Kind.LATER else None)


def _is_too_long(status: int | None, said: str) -> bool:
    if status == 429:  # a limit of tokens a minute that one request is above: waiting is no help
        return "request too large" in said or "must be reduced" in said
    return status == 413 or (
        status in (None, 400, 403, 422, 424, 500, 501) and _TOO_LONG.search(said) is not None
    )


def _kind(status: int | None, said: str) -> Kind:
    if status in (401, 402, 403, 404, 405, 410) or _NO_CREDIT.search(said):
        return Kind.BROKEN
    if status is not None and status < 400:
        return Kind.BROKEN  # a way elsewhere that leads nowhere
    if status is not None and (status in (408, 409, 425, 429) or status >= 500):
        return Kind.LATER
    if _NO_KEY.search(said) or _NO_MODEL.search(said):
        return Kind.BROKEN
    return Kind.NEVER if status is not None or _OURS.search(said) else Kind.LATER


def _status_of(error: object) -> int | None:
    if isinstance(error, dict):
        for name in ("status", "status_code", "http_code", "code"):
            code = error.get(name)
            if isinstance(code, str) and re.fullmatch(r"[45]\d\d", code):
                code = int(code)
            if isinstance(code, int) and 400 <= code < 600:
                return code
        nested = error.get("error")
        return _status_of(nested) if isinstance(nested, dict) else None
    return None
