"""Calls that a model wrote into its text, whatever dialect it learned them in. Pure."""

import ast
import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from handlers.agent.completions.calls import Call, call_of, whole

MOST_CALLS = 16
MOST_VALUES = 20  # pieces of JSON that are looked for in a text
MAX_CHARS = 8_000  # of what stands behind a tool's name
_DECODER = json.JSONDecoder(parse_int=whole, strict=False)
_OPENS = re.compile(r"[\[{]")
_FENCE = re.compile(r"```\w{0,20}\s*\Z")
_NAMES = ("name", "function", "tool", "tool_name", "function_name", "recipient_name")
_ARGUMENTS = ("arguments", "parameters", "args", "input", "tool_input", "params")

_GLM_PAIR = re.compile(r"<arg_key>(.*?)</arg_key>\s*<arg_value>(.*?)</arg_value>", re.DOTALL)
_PAIR = re.compile(
    r"<[^<>]*?\bparameter[=\s]+(?:name\s*=\s*)?[\"']?([\w-]+)[\"']?[^<>]*>(.*?)(?=<[|\uff5c\u2016/\s]|\Z)",
    re.DOTALL,
)
_ELEMENT = re.compile(r"<([a-z_]\w{0,40})>([^<]*)</\1>")
_KEYWORD = re.compile(
    r"\b([a-z_]\w{0,40})\s*[=:]\s*(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Found:
    value: Any
    start: int
    end: int


def json_values(text: str) -> Iterator[Found]:
    """The objects and lists in a text, those within them left out."""
    place = 0
    for _ in range(MOST_VALUES):
        start = _OPENS.search(text, place)
        if start is None:
            return
        try:
            value, place = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            place = start.end()
            continue
        yield Found(value, start.start(), place)


def is_call(value: object) -> bool:
    """Whether it has a call's form, whatever it names."""
    if isinstance(value, list):
        return bool(value) and all(is_call(one) for one in value[:MOST_CALLS])
    return _named(value) is not None


def calls_in(text: str, tools: Collection[str], *, named: bool = False) -> list[Call]:
    """Of tools that were offered. `named`: only those whose JSON says the name too."""
    calls: list[Call] = []
    for found in json_values(text):
        calls += _of_value(found.value, tools)
    if calls or named:
        return calls[:MOST_CALLS]
    names = "|".join(re.escape(name) for name in sorted(tools, key=len, reverse=True))
    places = list(re.finditer(rf"(?<![\w-])({names})(?![\w-])", text)) if names else []
    for n, place in enumerate(places[:MOST_CALLS]):
        end = places[n + 1].start() if n + 1 < len(places) else len(text)
        arguments = _arguments(text[place.end() : end])
        if arguments is not None or not calls or calls[-1].name != place[1]:
            calls.append(call_of(place[1], arguments, tools))
    return calls


def without_marks(text: str, tools: Collection[str]) -> tuple[list[Call], str]:
    """Calls of tools that were offered, with which a text ends: as Python, or behind the words by
    which some models begin one; and what was said before."""
    names = "|".join(map(re.escape, tools))
    begun = re.search(
        rf"^[ \t]*(?:(?P<words>Action:\s*|to=(?:functions\.)?)(?:{names})\b"
        rf"|\[?[ \t]*(?:print\()?(?:\w+\.)?(?:{names})\()",
        text,
        re.MULTILINE,
    )
    if begun is None:
        return [], text
    before, rest = _FENCE.sub("", text[: begun.start()]), text[begun.start() :]
    if begun["words"] is None:
        calls = _python_calls(rest.rstrip().removesuffix("```"), tools)
    else:
        calls = calls_in(rest, tools)
        before = re.split(r"^[ \t]*Thought:", before, maxsplit=1, flags=re.MULTILINE)[0]
    return calls, before.strip() if calls else text


def _python_calls(text: str, tools: Collection[str]) -> list[Call]:
    """`[refund(amount=3), ...]`, also as the argument of a print()."""
    if len(text) > MAX_CHARS:
        return []
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    if isinstance(body, ast.Call) and isinstance(body.func, ast.Name) and body.func.id == "print":
        nodes = body.args
    else:
        nodes = body.elts if isinstance(body, ast.List | ast.Tuple) else [body]
    calls = [_python_call(node, tools) for node in nodes[:MOST_CALLS]]
    return [call for call in calls if call is not None] if all(calls) else []


def _python_call(node: ast.expr, tools: Collection[str]) -> Call | None:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in tools:
            pairs = [(given.arg, given.value) for given in node.keywords if given.arg is not None]
            return call_of(name, {key: _plain(value) for key, value in pairs}, tools)
        case _:
            return None


def _plain(node: ast.expr) -> object:
    """As JSON would have it; what is no literal as it is written."""
    try:
        value: object = json.loads(json.dumps(ast.literal_eval(node)))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.unparse(node)
    return value


def _of_value(value: object, tools: Collection[str]) -> list[Call]:
    if isinstance(value, list):
        return [call for one in value[:MOST_CALLS] for call in _of_value(one, tools)]
    if isinstance(value, dict) and isinstance(value.get("tool_calls"), list):
        return _of_value(value["tool_calls"], tools)
    if (found := _named(value)) is None:
        return []
    call = call_of(*found, tools)
    return [call] if call.name in tools else []


def _named(value: object) -> tuple[str, object] | None:
    """The name and the arguments of what has a call's form."""
    if not isinstance(value, dict):
        return None
    if isinstance(inner := value.get("function"), dict):
        return _named(inner)
    name = next((value[key] for key in _NAMES if isinstance(value.get(key), str)), None)
    given = next((value[key] for key in _ARGUMENTS if key in value), None)
    return (name, given) if name is not None and isinstance(given, dict | str) else None


def _arguments(text: str) -> object:
    """Of what stands behind a tool's name."""
    for pairs in (_GLM_PAIR, _PAIR):
        if matches := pairs.findall(text[:MAX_CHARS]):
            return {key.strip(): _value(given.strip()) for key, given in matches}
    for found in json_values(text):
        if isinstance(found.value, dict):
            inner = next((found.value[key] for key in _ARGUMENTS if key in found.value), None)
            return inner if isinstance(inner, dict) else found.value
    if matches := _ELEMENT.findall(text[:MAX_CHARS]):
        return {key: _value(given.strip()) for key, given in matches}
    keywords = _KEYWORD.findall(text[:MAX_CHARS])
    return {key: _literal(given) for key, given in keywords} or None


def _value(text: str) -> object:
    """JSON where it can be nothing else; a number may be meant as a text."""
    if text[:1] in ("{", "["):
        try:
            return _DECODER.decode(text)
        except (ValueError, RecursionError):
            return text
    return text


def _literal(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text[1:-1]
