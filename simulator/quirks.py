"""What servers that speak chat completions refuse and OpenAI's do not, on demand. The refusals are
worded as the servers were seen to."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from simulator import fields
from simulator.fields import Fields
from simulator.history import Message, Refused, content_text


@dataclass(frozen=True, slots=True)
class Quirks:
    alternating_roles: bool = False
    no_max_completion_tokens: bool = False
    no_tool_choice: bool = False
    no_tools: bool = False
    no_null_content: bool = False
    one_call: bool = False
    nine_character_ids: bool = False
    no_system: bool = False
    reasoning_back: bool = False
    signed_calls: bool = False
    no_temperature: bool = False
    no_reasoning_effort: bool = False
    streams: bool = False  # always, whatever it is asked for
    streams_only: bool = False  # and refuses whoever does not ask for it
    filtered: str | None = None  # an expression: no message of a user may fit it
    disliked: str | None = None  # the same, but the server does not say why
    max_prompt_chars: int | None = None

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def read_quirks(quirks: Quirks, value: object) -> Quirks:
    """Only what is given changes; null ends all of them."""
    if value is None:
        return Quirks()
    given = Fields("model_quirks", value)
    changed: dict[str, object] = {}
    for name in asdict(quirks):
        read: Callable[[object], object] = {
            "filtered": lambda text: fields.regex(text).pattern,
            "disliked": lambda text: fields.regex(text).pattern,
            "max_prompt_chars": fields.whole,
        }.get(name, fields.flag)
        if given.has(name):
            changed[name] = given.take(name, read, None)
    given.done()
    return replace(quirks, **changed)  # type: ignore[arg-type]  # each as its reader gave it


def check_quirks(quirks: Quirks, body: dict[str, Any]) -> None:
    """Raises Refused."""
    if quirks == Quirks():
        return
    if quirks.no_max_completion_tokens and "max_completion_tokens" in body:
        problem = {
            "type": "extra_forbidden",
            "loc": ["body", "max_completion_tokens"],
            "msg": "Extra inputs are not permitted",
            "input": body["max_completion_tokens"],
        }
        told = {"object": "error", "message": {"detail": [problem]}}
        raise Refused("extra_forbidden", status=422, answer=told)
    for quirk, applies, words in _QUIRKS:
        if getattr(quirks, quirk) and applies(body):
            raise Refused(words)
    _check_content(quirks, body["messages"])


def _check_content(quirks: Quirks, messages: Sequence[Message]) -> None:
    texts = [content_text(m) for m in messages if m["role"] == "user"]
    if quirks.filtered is not None and any(re.search(quirks.filtered, text) for text in texts):
        raise Refused(
            "The response was filtered due to the prompt triggering content management policy",
            "prompt",
            code="content_filter",
        )
    if quirks.disliked is not None and any(re.search(quirks.disliked, text) for text in texts):
        raise Refused("Bad request.")
    length = sum(len(content_text(message)) for message in messages)
    if quirks.max_prompt_chars is not None and length > quirks.max_prompt_chars:
        raise Refused(
            f"This model's maximum context length is {quirks.max_prompt_chars // 4} tokens."
            f" However, your messages resulted in {length // 4} tokens. Please reduce the length"
            " of the messages.",
            "messages",
            code="context_length_exceeded",
        )


def _calls(body: dict[str, Any]) -> list[Any]:
    return [call for message in body["messages"] for call in message.get("tool_calls") or ()]


def _parallel(body: dict[str, Any]) -> bool:
    return any(len(message.get("tool_calls") or ()) > 1 for message in body["messages"])


def _null(body: dict[str, Any]) -> bool:
    return any(message.get("content") is None for message in body["messages"])


def _long_id(body: dict[str, Any]) -> bool:
    return not all(re.fullmatch("[a-zA-Z0-9]{9}", call["id"]) for call in _calls(body))


def _out_of_turn(body: dict[str, Any]) -> bool:
    """As Mistral's template sees it: calls and results stand between a user and its answer."""
    messages = [message for message in body["messages"] if message["role"] != "system"]
    roles = [message["role"] for message in messages]
    said = [m["role"] for m in messages if m["role"] != "tool" and not m.get("tool_calls")]
    wanted = ["user" if n % 2 == 0 else "assistant" for n in range(len(said))]
    return said != wanted or roles[0] != "user" or ("tool", "user") in itertools.pairwise(roles)


# In the order in which servers look.
_QUIRKS: Sequence[tuple[str, Callable[[dict[str, Any]], bool], str]] = (
    (
        "streams_only",
        lambda body: not body.get("stream"),
        "This model only support stream mode, please enable the stream parameter to access it.",
    ),
    (
        "no_tools",
        lambda body: "tools" in body or bool(_calls(body)),
        '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
    ),
    ("no_tool_choice", lambda body: "tool_choice" in body, "Unknown parameter: 'tool_choice'."),
    (
        "no_temperature",
        lambda body: body.get("temperature", 1) != 1,
        "Unsupported value: 'temperature' does not support 0.2, only the default (1) value.",
    ),
    (
        "no_reasoning_effort",
        lambda body: "reasoning_effort" in body,
        "Unrecognized request argument supplied: reasoning_effort",
    ),
    (
        "no_system",
        lambda body: any(message["role"] == "system" for message in body["messages"]),
        "System role not supported",
    ),
    ("one_call", _parallel, "This model only supports single tool-calls at once!"),
    (
        "no_null_content",
        _null,
        "Invalid value for 'content': expected a string, got null.",
    ),
    (
        "nine_character_ids",
        _long_id,
        "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9.",
    ),
    (
        "reasoning_back",
        lambda body: any(
            message["role"] == "assistant" and "reasoning_content" not in message
            for message in body["messages"]
        ),
        "Missing `reasoning_content` field in the assistant message at message index 2.",
    ),
    (
        "signed_calls",
        lambda body: any("extra_content" not in call for call in _calls(body)),
        "Function call is missing a thought_signature in functionCall parts.",
    ),
    (
        "alternating_roles",
        _out_of_turn,
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ),
)
