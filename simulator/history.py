"""Which chat histories the real API refuses, and what a valid one says."""

import re
from collections.abc import Sequence
from typing import Any

ROLES = ("system", "developer", "user", "assistant", "tool")
NAME_MAX = 64  # characters
NOW = re.compile(r"\A\[It is [^\]]*\]\n?")  # in front of the newest input, or alone
FUNCTION_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

Message = dict[str, Any]


class Refused(Exception):
    """The request is one that the real API answers with 400."""

    def __init__(
        self,
        message: str,
        param: str | None = None,
        *,
        code: str | None = None,
        status: int = 400,
        answer: dict[str, Any] | None = None,
    ) -> None:
        """`answer`: the whole body, of a server that words its errors in another form."""
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status
        self.answer = answer


def check_request(body: object, *, streams: bool = False) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused("We could not parse the JSON body of your request.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refused("you must provide a model parameter", "model")
    if body.get("stream") and not streams:
        raise Refused("This server does not stream.", "stream")
    messages = body.get("messages")
    if not isinstance(messages, list):
        raise Refused("Missing required parameter: 'messages'.", "messages")
    if not messages:
        raise Refused(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.", "messages"
        )
    for position, message in enumerate(messages):
        _check_message(f"messages.[{position}]", message)
    _check_tool_order(messages)
    _check_tools(body)
    return body


def _check_message(where: str, message: object) -> None:
    if not isinstance(message, dict):
        raise Refused(f"Invalid type for '{where}': expected an object.", where)
    role = message.get("role")
    if role not in ROLES:
        raise Refused(f"Invalid value: {role!r}. Supported values are: {ROLES}.", f"{where}.role")
    name = message.get("name")
    if name is not None and not _is_name(name):
        raise Refused(
            f"Invalid '{where}.name': string does not match pattern '^[^\\s<|\\\\/>]+$'.",
            f"{where}.name",
        )
    if "tool_calls" in message:
        if role != "assistant":
            raise Refused(
                f"Unknown parameter: '{where}.tool_calls'. Only an assistant may call tools.",
                f"{where}.tool_calls",
            )
        _check_calls(f"{where}.tool_calls", message["tool_calls"])
    if message.get("content") is not None or not message.get("tool_calls"):
        _check_content(f"{where}.content", message.get("content"))
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise Refused(f"Missing parameter '{where}.tool_call_id'.", f"{where}.tool_call_id")


def _is_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and len(name) <= NAME_MAX
        and re.fullmatch(r"[^\s<|\\/>]+", name) is not None
    )


def _check_content(where: str, content: object) -> None:
    if isinstance(content, str):
        return
    if content is None:
        raise Refused(f"Invalid value for '{where}': expected a string, got null.", where)
    if not isinstance(content, list) or not content:
        raise Refused(f"Invalid type for '{where}': expected a string or an array.", where)
    for part in content:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise Refused(f"Invalid type for '{where}': expected objects with a type.", where)
        if part["type"] == "text" and not isinstance(part.get("text"), str):
            raise Refused(f"Missing required parameter: '{where}.text'.", where)


def _check_calls(where: str, calls: object) -> None:
    if not isinstance(calls, list) or not calls:
        raise Refused(f"Invalid '{where}': empty array. Expected minimum length 1.", where)
    seen: set[str] = set()
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or call.get("type") != "function":
            raise Refused(f"Invalid value in '{where}': expected calls of functions.", where)
        identity = call.get("id")
        if not isinstance(identity, str) or not identity:
            raise Refused(f"Missing required parameter: '{where}.id'.", where)
        if identity in seen:
            raise Refused(
                f"Duplicate value for 'tool_call_id' of '{identity}' in '{where}'.", where
            )
        seen.add(identity)
        _check_function_name(f"{where}.function.name", function.get("name"))
        if not isinstance(function.get("arguments"), str):
            raise Refused(f"Invalid type for '{where}.function.arguments': string expected.", where)


def _check_function_name(where: str, name: object) -> None:
    if not isinstance(name, str) or FUNCTION_NAME.fullmatch(name) is None:
        raise Refused(f"Invalid '{where}': must match '^[a-zA-Z0-9_-]{{1,64}}$'.", where)


def _check_tool_order(messages: Sequence[Message]) -> None:
    pending: list[str] = []
    for position, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in pending:
                raise Refused(
                    "Invalid parameter: messages with role 'tool' must be a response to a "
                    "preceeding message with 'tool_calls'.",
                    f"messages.[{position}].role",
                )
            pending.remove(message["tool_call_id"])
            continue
        _check_answered(pending, position)
        pending = [call["id"] for call in message.get("tool_calls", ())]
    _check_answered(pending, len(messages))


def _check_answered(pending: Sequence[str], position: int) -> None:
    if pending:
        raise Refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(pending),
            f"messages.[{position}].role",
        )


def _check_tools(body: Message) -> None:
    if "tools" not in body:
        if "tool_choice" in body:
            raise Refused(
                "'tool_choice' is only allowed when 'tools' are specified.", "tool_choice"
            )
        if "parallel_tool_calls" in body:
            raise Refused(
                "'parallel_tool_calls' is only allowed when 'tools' are specified.",
                "parallel_tool_calls",
            )
        return
    tools = body["tools"]
    if not isinstance(tools, list) or not tools:
        raise Refused("Invalid 'tools': empty array. Expected minimum length 1.", "tools")
    for position, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or tool.get("type") != "function":
            raise Refused(f"Invalid value: 'tools[{position}]'.", f"tools[{position}]")
        _check_function_name(f"tools[{position}].function.name", function.get("name"))


def content_text(message: Message) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content if isinstance(content, str) else ""


def system_prompt(messages: Sequence[Message]) -> str:
    return "\n".join(texts_of(messages, "system", "developer"))


def texts_of(messages: Sequence[Message], *roles: str) -> list[str]:
    """Without notes on the moment, as no model would answer them."""
    texts = [content_text(message) for message in messages if message["role"] in roles]
    return [rest for text in texts if (rest := NOW.sub("", text)) or not text]


def after_assistant(messages: Sequence[Message], *, skip_calls: bool = False) -> Sequence[Message]:
    """What follows the last assistant message, or the last that was not a mere tool call."""
    for position in range(len(messages) - 1, -1, -1):
        message = messages[position]
        if message["role"] == "assistant" and not (skip_calls and message.get("tool_calls")):
            return messages[position + 1 :]
    return messages
