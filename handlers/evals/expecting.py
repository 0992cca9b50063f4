"""What a suite expects of a turn, from YAML. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from handlers.evals import patterns
from handlers.evals.document import Listed, Mapped, Node, Scalar
from handlers.evals.fields import Reader
from handlers.evals.patterns import Pattern
from handlers.evals.suite import (
    CHECK_UNITS,
    SOURCES,
    TEXTS_MAX,
    Asked,
    Called,
    Expect,
    Ordered,
    Source,
)
from handlers.rules.texts import slug

TOKENS_MAX, MS_MAX = 10_000_000, 600_000
TOOL_CHARS, TYPE_CHARS, SKU_CHARS = 64, 50, 100
QUESTION_UNITS = 4_096  # of a row
_CURRENCY = re.compile("[A-Z]{3}")


def expect_of(reader: Reader, node: Node, where: str) -> Expect:
    given = reader.mapping(node, where, (*_READ,))
    read = {name: _READ[name](reader, one, f"{where}.{name}") for name, one in given.items()}
    found = {name: value for name, value in read.items() if value is not None}
    expect = Expect(line=node.line, **found)
    if expect.silent and (expect.contains_all or expect.contains_any):
        reader.wrong(node.line, f"{where}: who is silent says nothing that could be looked for")
    if isinstance(node, Mapped) and not node.items:
        reader.wrong(node.line, f"{where} is empty")
    return expect


def _texts(reader: Reader, node: Node, where: str) -> tuple[str, ...]:
    found = reader.texts(node, where, TEXTS_MAX, CHECK_UNITS)
    if isinstance(node, Listed) and not node.items:
        reader.wrong(node.line, f"{where} is empty")
    return found


def _patterns(reader: Reader, node: Node, where: str) -> tuple[Pattern, ...]:
    found = []
    for text in _texts(reader, node, where):
        if (why := patterns.problem(text)) is not None:
            reader.wrong(node.line, f"{where} {why}")
        else:
            found.append(Pattern(text))
    return tuple(found)


def _rows(reader: Reader, node: Node, where: str) -> tuple[str, ...]:
    return reader.texts(node, where, TEXTS_MAX, QUESTION_UNITS)


def _tools(reader: Reader, node: Node, where: str) -> tuple[Called, ...]:
    called = []
    for one in reader.one_or_more(node, where, TEXTS_MAX):
        if isinstance(one, Mapped):
            given = reader.mapping(one, where, ("name", "arguments"))
            name = None
            if "name" not in given:
                reader.wrong(one.line, f"{where}.name is missing")
            else:
                name = reader.text(given["name"], f"{where}.name", TOOL_CHARS, lines=False)
            arguments = _arguments(reader, given.get("arguments"), f"{where}.arguments")
            called.append(Called(name=name or "", arguments=arguments))
        elif (name := reader.text(one, where, TOOL_CHARS, lines=False)) is not None:
            called.append(Called(name=name))
    if not called and isinstance(node, Listed) and not node.items:
        reader.wrong(node.line, f"{where} is empty: use no_tool")
    return tuple(called)


def _arguments(reader: Reader, node: Node | None, where: str) -> Mapping[str, Any]:
    if node is None:
        return {}
    if not isinstance(node, Mapped):
        reader.wrong(node.line, f"{where} has to be a mapping of names and values")
        return {}
    return cast("Mapping[str, Any]", _plain(node))


def _plain(node: Node) -> Any:
    """Scalars as they are written: they are compared as texts."""
    match node:
        case Scalar():
            return node.text
        case Listed():
            return [_plain(one) for one in node.items]
        case Mapped():
            return {name: _plain(one) for name, one in node.items.items()}


def _names(reader: Reader, node: Node, where: str) -> tuple[str, ...]:
    found = reader.texts(node, where, TEXTS_MAX, TOOL_CHARS)
    if isinstance(node, Listed) and not node.items:
        reader.wrong(node.line, f"{where} is empty")
    return found


def _actions(reader: Reader, node: Node, where: str) -> tuple[Asked, ...]:
    found = []
    for place, one in enumerate(reader.listed(node, where, TEXTS_MAX)):
        if (asked := _action(reader, one, f"{where}[{place}]")) is not None:
            found.append(asked)
    return tuple(found)


def _action(reader: Reader, node: Node, where: str) -> Asked | None:
    given = reader.mapping(node, where, ("type", "details", "amount", "currency"))
    if "type" not in given:
        if isinstance(node, Mapped):
            reader.wrong(node.line, f"{where}.type is missing")
        return None
    kind = reader.text(given["type"], f"{where}.type", TYPE_CHARS, lines=False)
    details = currency = amount = None
    if "details" in given:
        details = reader.text(given["details"], f"{where}.details", CHECK_UNITS)
    if "amount" in given:
        amount = reader.amount(given["amount"], f"{where}.amount")
    if "currency" in given:
        currency = reader.text(given["currency"], f"{where}.currency", TOOL_CHARS)
        if currency is not None and not _CURRENCY.fullmatch(currency):
            reader.wrong(given["currency"].line, f"{where}.currency has to be a code, like EUR")
    return Asked(type=slug(kind or ""), details=details, amount=amount, currency=currency)


def _orders(reader: Reader, node: Node, where: str) -> tuple[Ordered, ...]:
    found = []
    for place, one in enumerate(reader.listed(node, where, TEXTS_MAX)):
        at = f"{where}[{place}]"
        given = reader.mapping(one, at, ("items",))
        if "items" not in given:
            reader.wrong(one.line, f"{at}.items is missing")
            continue
        items: dict[str, int] = {}
        for number, item in enumerate(reader.listed(given["items"], f"{at}.items", TEXTS_MAX)):
            spot = f"{at}.items[{number}]"
            part = reader.mapping(item, spot, ("sku", "quantity"))
            if len(part) == 2:
                sku = reader.text(part["sku"], f"{spot}.sku", SKU_CHARS, lines=False)
                items[sku or ""] = reader.whole(part["quantity"], f"{spot}.quantity", 1, 9_999) or 0
            elif isinstance(item, Mapped):
                reader.wrong(item.line, f"{spot} has to have sku and quantity")
        found.append(Ordered(items=items))
    return tuple(found)


def _sources(reader: Reader, node: Node, where: str) -> tuple[Source, ...]:
    nodes = reader.one_or_more(node, where, len(SOURCES))
    found = [reader.one_of(one, where, SOURCES) for one in nodes]
    return cast("tuple[Source, ...]", tuple(one for one in found if one is not None))


def _judge(reader: Reader, node: Node, where: str) -> str | None:
    return reader.text(node, where, CHECK_UNITS)


_READ: Mapping[str, Callable[[Reader, Node, str], Any]] = {
    "contains_all": _texts,
    "contains_any": _texts,
    "not_contains": _texts,
    "regex": _patterns,
    "language": Reader.language,
    "cites": _rows,
    "tool": _tools,
    "no_tool": _names,
    "actions": _actions,
    "orders": _orders,
    "silent": Reader.truth,
    "handed_over": Reader.truth,
    "max_tokens": lambda reader, node, where: reader.whole(node, where, 0, TOKENS_MAX),
    "max_ms": lambda reader, node, where: reader.whole(node, where, 1, MS_MAX),
    "amounts_from": _sources,
    "judge": _judge,
}
