"""Whether what came of a turn is what the suite expects. Pure."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from handlers.evals.outcome import Failed, Outcome
from handlers.evals.patterns import SECONDS, TooSlow
from handlers.evals.suite import Asked, Called, Expect
from handlers.fixed.languages import language_of
from handlers.rules.amounts import Numbers, amounts_in
from handlers.rules.texts import same, searched

SHOWN_CHARS = 120  # of a text, in a reason
ARGUMENTS_CHARS = 200


def failed(expect: Expect, outcome: Outcome) -> list[Failed]:
    """Every check that did not hold. A turn without an answer of its model holds none: what it
    says then, the bot would say about anything."""
    found = [Failed(name, why) for name, check in _CHECKS.items() for why in check(expect, outcome)]
    if outcome.failure is not None:
        return [Failed("model", f"the model gave no answer: {outcome.failure}"), *found]
    return found


def _contains_all(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for text in expect.contains_all:
        if not _has(outcome.text, text):
            yield f"{_shown(text)} is not in the answer"


def _contains_any(expect: Expect, outcome: Outcome) -> Iterator[str]:
    texts = expect.contains_any
    if texts and not any(_has(outcome.text, text) for text in texts):
        yield f"none of {', '.join(map(_shown, texts))} is in the answer"


def _not_contains(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for text in expect.not_contains:
        if _has(outcome.text, text):
            yield f"{_shown(text)} is in the answer"


def _regex(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for pattern in expect.regex:
        try:
            if not pattern.found_in(outcome.text):
                yield f"{_shown(pattern.text)} is not found in the answer"
        except TooSlow:
            yield f"{_shown(pattern.text)} takes longer than {SECONDS} s: write it more simply"


def _language(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.language is None:
        return
    spoken = language_of(outcome.text)
    if spoken is None:
        yield f"the answer's language cannot be told; expected {expect.language}"
    elif spoken != expect.language.split("-")[0]:
        yield f"the answer is in {spoken}, not in {expect.language}"


def _cites(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.cites is None:
        return
    cited = ", ".join(map(_shown, outcome.cited)) or "no row"
    if not expect.cites and outcome.cited:
        yield f"it cites {cited}"
    for key in expect.cites:
        if not any(same(key, question) for question in outcome.cited):
            yield f"{_shown(key)} is not cited; it cites {cited}"


def _tool(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for wanted in expect.tool:
        uses = [one for one in outcome.tools if one.name == wanted.name and not one.refused]
        if not uses:
            used = ", ".join(one.name for one in outcome.tools if not one.refused) or "no tool"
            yield f"{_shown(wanted.name)} was not used; it used {used}"
        elif not any(_within(wanted, one.arguments) for one in uses):
            given = "; ".join(_json(one.arguments) for one in uses)
            yield f"{_shown(wanted.name)} was not used with {_json(wanted.arguments)}: {given}"


def _no_tool(expect: Expect, outcome: Outcome) -> Iterator[str]:
    for name in expect.no_tool:
        uses = [one for one in outcome.tools if one.name == name]
        if uses:
            tried = "was tried, in vain" if all(one.refused for one in uses) else "was used"
            yield f"{_shown(name)} {tried}: {'; '.join(_json(one.arguments) for one in uses)}"


def _actions(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.actions is None:
        return
    left = list(outcome.actions)
    for wanted in expect.actions:
        match = next((one for one in left if _is_action(wanted, one)), None)
        if match is None:
            kinds = ", ".join(_action(one) for one in outcome.actions) or "nothing"
            yield f"{_wanted(wanted)} was not requested; it requested {kinds}"
        else:
            left.remove(match)
    if left and len(outcome.actions) > len(expect.actions):
        yield f"it also requested {', '.join(_action(one) for one in left)}"


def _orders(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.orders is None:
        return
    left = [_items(one) for one in outcome.orders]
    for wanted in expect.orders:
        if dict(wanted.items) in left:
            left.remove(dict(wanted.items))
        else:
            yield f"no order of {_json(wanted.items)} was made"
    if left and len(outcome.orders) > len(expect.orders):
        yield f"it also ordered {'; '.join(_json(one) for one in left)}"


def _silent(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.silent is True and outcome.text:
        yield f"it said {_shown(outcome.text)}"
    if expect.silent is False and not outcome.text:
        yield f"it was silent ({outcome.reason or 'there was nothing to answer'})"


def _handed_over(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.handed_over is True and outcome.handed_over is None:
        yield "it did not hand over"
    if expect.handed_over is False and outcome.handed_over is not None:
        yield f"it handed over: {_shown(outcome.handed_over)}"


def _max_tokens(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.max_tokens is not None and outcome.tokens > expect.max_tokens:
        yield f"it took {outcome.tokens:,} tokens, and {expect.max_tokens:,} at most"


def _max_ms(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.max_ms is not None and outcome.ms > expect.max_ms:
        yield f"it took {outcome.ms:,} ms, and {expect.max_ms:,} at most"


def _amounts_from(expect: Expect, outcome: Outcome) -> Iterator[str]:
    if expect.amounts_from is None:
        return
    texts = [text for kind in expect.amounts_from for text in outcome.sources.get(kind, ())]
    known = Numbers(texts)  # once: a shop has a thousand products
    for amount in amounts_in(outcome.text):
        if not known.have(amount):
            written = _shown(outcome.text[amount.start : amount.end])
            yield f"{written} does not stand in {', '.join(expect.amounts_from)}"


_CHECKS: Mapping[str, Callable[[Expect, Outcome], Iterator[str]]] = {
    "contains_all": _contains_all,
    "contains_any": _contains_any,
    "not_contains": _not_contains,
    "regex": _regex,
    "language": _language,
    "cites": _cites,
    "tool": _tool,
    "no_tool": _no_tool,
    "actions": _actions,
    "orders": _orders,
    "silent": _silent,
    "handed_over": _handed_over,
    "max_tokens": _max_tokens,
    "max_ms": _max_ms,
    "amounts_from": _amounts_from,
}


def _has(answer: str, text: str) -> bool:
    """In whatever case, and however its letters and spaces are written."""
    return _plain(text) in _plain(answer)


def _plain(text: str) -> str:
    return " ".join(searched(text).split())


def _within(wanted: Called, given: Mapping[str, Any]) -> bool:
    return _is_part(wanted.arguments, given)


def _is_part(wanted: Any, given: Any) -> bool:
    """Whether all that is wanted is there; texts and numbers by how they are written."""
    if isinstance(wanted, Mapping):
        return isinstance(given, Mapping) and all(
            name in given and _is_part(value, given[name]) for name, value in wanted.items()
        )
    if isinstance(wanted, list):
        return isinstance(given, list) and all(
            any(_is_part(one, other) for other in given) for one in wanted
        )
    if isinstance(given, bool):
        return str(given).lower() == str(wanted).lower()
    if isinstance(given, str | int | float):
        return same(str(wanted), str(given)) or _number(wanted) == _number(given) is not None
    return given is None and str(wanted) in ("null", "~")


def _number(given: object) -> Decimal | None:
    try:
        number = Decimal(str(given).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _is_action(wanted: Asked, given: Mapping[str, Any]) -> bool:
    return (
        given["type"] == wanted.type
        and (wanted.details is None or _has(str(given["details"]), wanted.details))
        and (wanted.amount is None or _number(given.get("amount")) == wanted.amount)
        and (wanted.currency is None or given.get("currency") == wanted.currency)
    )


def _wanted(wanted: Asked) -> str:
    parts = [wanted.type, wanted.details, wanted.amount, wanted.currency]
    return " ".join(str(part) for part in parts if part is not None)


def _action(given: Mapping[str, Any]) -> str:
    money = [given["amount"], given["currency"]] if given.get("amount") else []
    return " ".join([str(given["type"]), f"({_shown(str(given['details']))})", *map(str, money)])


def _items(order: Mapping[str, Any]) -> dict[str, int]:
    return {str(one["sku"]): int(one["quantity"]) for one in order["items"]}


def _shown(text: str) -> str:
    flat = " ".join(text.split())
    return json.dumps(
        flat if len(flat) <= SHOWN_CHARS else f"{flat[:SHOWN_CHARS]}\u2026", ensure_ascii=False
    )


def _json(value: Mapping[str, Any] | Sequence[Any]) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= ARGUMENTS_CHARS else f"{text[:ARGUMENTS_CHARS]}\u2026"
