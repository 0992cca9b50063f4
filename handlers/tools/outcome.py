"""What came of calling a tenant's tool, from what its endpoint answered. Pure.

What an endpoint answers is a text of somebody outside: it is kept short, it is JSON, plain
text or nothing, and to a model it is information and never an instruction.
"""

import json
from typing import Any, Final, NoReturn

from db.tool_calls import CallEnd
from handlers.outbound.guard import Outcome
from handlers.rules.cutting import head, units
from handlers.rules.texts import storable

KEPT_BYTES = 24 * 1024  # of an answer
RESULT_UNITS = 6_000  # of it, in the ledger and for a model
REFUSAL_UNITS = 500
SHORTENED = " ... (shortened)"

# Nothing was reached, so nothing was done.
_NOT_REACHED = frozenset({"blocked_address", "dns", "connect", "tls"})
NOT_CERTAIN: Final = (
    "unknown: no answer came that says whether it was done, so it may have been done or not. It is"
    " not called again. Tell the customer that it is not certain yet; never say that it is done, or"
    " that it is not."
)
WHY: Final = {
    "blocked_address": "its address is not allowed",
    "dns": "its address was not found",
    "connect": "it could not be reached",
    "tls": "its certificate is not valid",
    "server_error": "its server failed",
    "redirect": "it answered with a redirect",
    "timeout": "it did not answer in time",
    "protocol": "its answer broke off",
    "unreadable_answer": "its answer cannot be read",
    "no_secret": "its secret cannot be read",
    "tool_gone": "it is not there any more",
    "arguments": "the arguments do not fit it any more",
    "worker_died": "nothing came back",
}


def end_of(outcome: Outcome, effect: str) -> CallEnd:
    """Of a call without an effect that nobody knows the end of, nothing is left open."""
    end = _end_of(outcome)
    if end.status == "unknown" and effect == "none":
        return CallEnd("failed", end.status_code, end.error, end.result)
    return end


def _end_of(outcome: Outcome) -> CallEnd:
    status = outcome.status
    if status is None:
        reached = outcome.error not in _NOT_REACHED
        return CallEnd("unknown" if reached else "failed", None, outcome.error)
    if status >= 500:
        return CallEnd("unknown", status, "server_error", _text(outcome, REFUSAL_UNITS))
    if status >= 400:
        return CallEnd("failed", status, "refused", _text(outcome, REFUSAL_UNITS))
    if status >= 300:
        return CallEnd("failed", status, "redirect")
    if outcome.broke_off is not None:  # 200 says that it began well
        return CallEnd("unknown", status, outcome.broke_off)
    if not outcome.text and outcome.is_whole:
        return CallEnd("done", status)
    result = _text(outcome, RESULT_UNITS)
    if result is None:
        return CallEnd("unknown", status, "unreadable_answer")
    return CallEnd("done", status, None, result)


def _text(outcome: Outcome, room: int) -> str | None:
    """None: it is neither JSON nor text."""
    kind = outcome.content_type
    if outcome.is_packed:
        return None
    if kind in ("", "application/json") or kind.endswith("+json"):
        text = _json(outcome)
    elif kind == "text/plain":
        text = outcome.text.strip()
    else:
        return None
    if text is None or units(text) <= room:
        return text
    return head(text, room - len(SHORTENED)) + SHORTENED


def _json(outcome: Outcome) -> str | None:
    if outcome.broke_off is not None:
        return None
    if not outcome.is_whole:  # we read no further: as a text it says something all the same
        return outcome.text.strip()
    try:
        value: Any = json.loads(outcome.text, parse_constant=_none)
        return storable(json.dumps(value, ensure_ascii=False, separators=(", ", ": ")))
    except (ValueError, RecursionError):
        return None


def _none(constant: str) -> NoReturn:
    raise ValueError(constant)  # NaN and its kin are no JSON


def told(end: CallEnd) -> str:
    """As a model hears of it. What was not done begins with `error:`."""
    match end.status:
        case "done":
            return json.dumps({"done": True, "result": _value(end.result)}, ensure_ascii=False)
        case "failed" if end.error == "refused":
            said = f", and says: {end.result}" if end.result else ""
            return f"error: it was not done: it was refused (HTTP {end.status_code}){said}"
        case "failed":
            return f"error: it was not done: {WHY.get(end.error or '', 'it failed')}"
        case _:
            return NOT_CERTAIN


def _value(result: str | None) -> Any:
    if result is None:
        return None
    try:
        return json.loads(result)
    except ValueError:
        return result
