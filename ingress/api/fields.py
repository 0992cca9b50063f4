"""What a request may contain: the same words check it and describe it. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, assert_never

from handlers.rules.reply import fits
from handlers.rules.texts import storable

Kind = Literal["text", "flag", "time", "count", "choice", "cursor"]
Error = dict[str, str]

FURTHEST = timedelta(days=3_660)  # that a time in the future may be
MAX_ID_DIGITS = 18  # a bigint has one more


@dataclass(frozen=True, slots=True)
class Field:
    name: str
    kind: Kind
    what: str
    required: bool = False
    most: int = 0  # characters of a text, or the highest number
    default: Any = None
    choices: tuple[str, ...] = ()
    message: bool = False  # a text that has to fit into one WhatsApp message

    def schema(self) -> dict[str, Any]:
        kind: dict[str, Any]
        match self.kind:
            case "text":
                least = 1 if self.required else 0
                kind = {
                    "type": "string" if self.required else ["string", "null"],
                    "minLength": least,
                    "maxLength": self.most,
                }
            case "flag":
                kind = {"type": "boolean"}
            case "time":
                kind = {"type": ["string", "null"], "format": "date-time"}
            case "count":
                kind = {"type": "integer", "minimum": 1, "maximum": self.most}
            case "choice":
                kind = {"type": "string", "enum": list(self.choices)}
            case "cursor":
                kind = {"type": "string", "pattern": f"^[0-9]{{1,{MAX_ID_DIGITS}}}$"}
            case _:
                assert_never(self.kind)
        default = {} if self.default is None else {"default": self.default}
        return kind | default | {"description": self.what}


def read_body(raw: bytes, fields: Sequence[Field], now: datetime) -> dict[str, Any] | list[Error]:
    """The values, with defaults; or everything that is wrong. No body is an empty object."""
    if not raw.strip():
        value: Any = {}
    else:
        try:
            value = json.loads(raw)
        except (ValueError, RecursionError):
            return [_error("", "not JSON in UTF-8")]
    if not isinstance(value, dict):
        return [_error("", "not a JSON object")]
    if unknown := sorted(value.keys() - {field.name for field in fields}):
        errors = [_error(storable(name)[:100], "no such field") for name in unknown[:20]]
    else:
        errors = []
    values: dict[str, Any] = {}
    for field in fields:
        given = value.get(field.name)
        if given is None:
            if field.required:
                errors.append(_error(field.name, f"missing: {field.what}"))
            values[field.name] = field.default
            continue
        good, problem = _value(field, given, now)
        if problem:
            errors.append(_error(field.name, problem))
        values[field.name] = good
    return errors or values


def read_query(
    query: Mapping[str, Sequence[str]], fields: Sequence[Field]
) -> dict[str, Any] | list[Error]:
    errors = [
        _error(storable(name)[:100], "no such parameter")
        for name in query
        if name not in {field.name for field in fields}
    ]
    values: dict[str, Any] = {}
    for field in fields:
        given = query.get(field.name, ())
        values[field.name] = field.default
        if len(given) > 1:
            errors.append(_error(field.name, "given more than once"))
        elif given:
            good, problem = _parameter(field, given[0])
            if problem:
                errors.append(_error(field.name, problem))
            values[field.name] = good
    return errors or values


def _value(field: Field, given: Any, now: datetime) -> tuple[Any, str | None]:
    match field.kind:
        case "text":
            return _text(field, given)
        case "flag":
            return (given, None) if isinstance(given, bool) else (None, "not true or false")
        case "time":
            return _time(given, now)
        case "count" | "choice" | "cursor":
            raise AssertionError("only parameters are of this kind")


def _text(field: Field, given: Any) -> tuple[str | None, str | None]:
    if not isinstance(given, str):
        return None, "not a text"
    if field.required and not given.strip():
        return None, "empty"
    if storable(given) != given:
        return None, "has a character that cannot be stored: NUL, or half of a surrogate pair"
    if field.message and not fits(given):
        return None, f"longer than the {field.most} UTF-16 units of a WhatsApp message"
    if len(given) > field.most:
        return None, f"has {len(given)} characters, {field.most} at most"
    return given, None


def _time(given: Any, now: datetime) -> tuple[datetime | None, str | None]:
    expected = "not a date and time with its zone, like 2030-01-31T17:00:00Z"
    if not isinstance(given, str) or "T" not in given:
        return None, expected
    try:
        moment = datetime.fromisoformat(given)
        if moment.tzinfo is None:
            return None, expected
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None, expected
    if moment <= now:
        return None, "in the past"
    if moment > now + FURTHEST:
        return None, "more than ten years away"
    return moment, None


def _parameter(field: Field, given: str) -> tuple[Any, str | None]:
    match field.kind:
        case "count":
            if re.fullmatch(r"[0-9]{1,6}", given) and 1 <= int(given) <= field.most:
                return int(given), None
            return None, f"not a whole number from 1 to {field.most}"
        case "choice":
            if given in field.choices:
                return given, None
            return None, f"none of {', '.join(field.choices)}"
        case "cursor":
            if (number := an_id(given)) is not None:
                return number, None
            return None, "not the `next` of another page"
        case "text" | "flag" | "time":
            raise AssertionError("only fields of bodies are of this kind")


def an_id(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS:
        return int(text)
    return None


def _error(field: str, detail: str) -> Error:
    return {"field": field, "detail": detail}
