"""A stream of server-sent events as the one answer that it amounts to. Pure.

Some servers only stream, whatever they are asked for.
"""

import re
from typing import Any

from handlers.agent.completions.calls import loads
from handlers.agent.completions.refusals import error_of

DONE = "[DONE]"
_EMPTY_LINES = re.compile(r"[\r\n]{4,}")


def assembled(body: bytes) -> dict[str, Any] | None:
    """As the server would have answered without streaming; None: these are no events."""
    whole = _Whole()
    for data in _events(body.decode("utf-8", "replace")):
        if data == DONE:
            whole.done = True
            break
        try:
            chunk = loads(data)
        except ValueError:
            continue
        if isinstance(chunk, dict):
            whole.add(chunk)
    return whole.answer()


def _events(text: str) -> list[str]:
    """Each event's data; what are comments (`: keep-alive`), names and ids is left out."""
    events: list[str] = []
    lines: list[str] = []
    # Of many empty lines one says as much, and 2 MB of them took 0.3 s.
    for line in (*re.split(r"\r\n|\n|\r", _EMPTY_LINES.sub("\n\n", text.lstrip("\ufeff"))), ""):
        if line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
        elif not line and lines:
            events.append("\n".join(lines).strip())
            lines = []
    return events


class _Whole:
    def __init__(self) -> None:
        self.done = False
        self._seen = False
        self._texts: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[object, dict[str, Any]] = {}
        self._finish: object = None
        self._usage: object = None
        self._error: object = None

    def add(self, chunk: dict[str, Any]) -> None:
        self._seen = True
        self._error = error_of(chunk) or self._error
        self._usage = chunk.get("usage") or self._usage
        choices = chunk.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or choice.get("index") not in (0, None):
            return
        self._error = choice.get("error") or self._error
        self._finish = choice.get("finish_reason") or self._finish
        delta = choice.get("delta") or choice.get("message")
        if isinstance(delta, dict):
            self._add_delta(delta)

    def _add_delta(self, delta: dict[str, Any]) -> None:
        self._texts.append(text_of(delta.get("content")))
        self._refusal.append(text_of(delta.get("refusal")))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                self._add_call(call)

    def _add_call(self, part: dict[str, Any]) -> None:
        """The first part of a call has its id and name, the later ones only more arguments. Some
        servers number all calls 0, or none."""
        function = part.get("function")
        function = function if isinstance(function, dict) else {}
        id_ = text_of(part.get("id")) or None
        place: object = part.get("index") if isinstance(part.get("index"), int) else None
        if place is None:
            place = ("id", id_) if id_ or not self._calls else next(reversed(self._calls))
        call = self._calls.get(place)
        if call is not None and id_ and call["id"] not in (None, id_):
            place, call = ("id", id_), self._calls.get(("id", id_))
        if call is None:
            call = self._calls[place] = {"id": None, "name": "", "arguments": ""}
        call["id"] = call["id"] or id_
        call["name"] += text_of(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, str) and isinstance(call["arguments"], str):
            call["arguments"] += arguments
        elif arguments is not None:
            call["arguments"] = arguments

    def answer(self) -> dict[str, Any] | None:
        if not self._seen:
            return None
        if self._error:
            return {"error": self._error, "usage": self._usage}
        message = {
            "content": "".join(self._texts),
            "refusal": "".join(self._refusal) or None,
            "tool_calls": [
                {"id": c["id"], "function": {"name": c["name"], "arguments": c["arguments"]}}
                for c in self._calls.values()
            ],
        }
        # A stream that just ends was cut off.
        finish = self._finish or ("stop" if self.done else "length")
        return {
            "choices": [{"message": message, "finish_reason": finish}],
            "usage": self._usage,
        }


def text_of(content: object) -> str:
    """A text, or the parts of one without those that are thoughts."""
    match content:
        case str():
            return content
        case list():
            return "".join(text_of(part) for part in content if not isinstance(part, list))
        case {"type": str(kind)} if kind not in ("text", "output_text"):
            return ""
        case {"text": str(text)}:
            return text
        case _:
            return ""
