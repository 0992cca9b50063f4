"""What is wrong with a request, in our words: where it is, and what to do. Pure."""

import difflib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from handlers.rules.texts import storable
from ingress.api.fields import MOMENT

MISTAKES_MAX = 20  # told at once
NAME_CHARS = 100  # of a name that is not ours
NAMES_TOLD = 12  # of those that there are; of more, the nearest
UNSTORABLE = "has a character that cannot be stored: NUL, or half of a surrogate pair"
NOT_JSON = "not JSON in UTF-8"

_WHOLE = "not a whole number"
_NUMBER = "not a number"
_AMOUNT = 'not a decimal number, like "38.50"'
_DATE = "not a date, like 2030-01-31"
_TIME = "not a time of day, like 09:00"
_ADDRESS = "not an address, like https://example.com/path"
_LIST = "not a list"
_OBJECT = "not a JSON object"
_CHOICE = "none of {expected}"

# Each kind of error that a model of ours can meet, but those that need more than their own context.
# What was given is never repeated: it may be a customer's, and long.
WORDS: Mapping[str, str] = MappingProxyType(
    {
        "wrong": "{detail}",  # of our own validators
        "json_invalid": NOT_JSON,
        "string_type": "not a text",
        "string_unicode": UNSTORABLE,
        "string_too_short": "has {length} characters, {min_length} at least",
        "string_too_long": "has {length} characters, {max_length} at most",
        "string_pattern_mismatch": "not of the form {pattern}",
        "string_not_ascii": "has characters other than ASCII's",
        "bool_type": "not true or false",
        "bool_parsing": "not true or false",
        "int_type": _WHOLE,
        "int_parsing": _WHOLE,
        "int_parsing_size": _WHOLE,
        "int_from_float": _WHOLE,
        "float_type": _NUMBER,
        "float_parsing": _NUMBER,
        "finite_number": _NUMBER,
        "greater_than": "has to be more than {gt}",
        "greater_than_equal": "{ge} at least",
        "less_than": "has to be less than {lt}",
        "less_than_equal": "{le} at most",
        "multiple_of": "not a multiple of {multiple_of}",
        "decimal_type": _AMOUNT,
        "decimal_parsing": _AMOUNT,
        "decimal_max_digits": "has more than {max_digits} digits",
        "decimal_max_places": "has more than {decimal_places} digits after the point",
        "decimal_whole_digits": "has more than {whole_digits} digits before the point",
        "literal_error": _CHOICE,
        "enum": _CHOICE,
        "none_required": "has to be null",
        "datetime_type": MOMENT,
        "datetime_parsing": MOMENT,
        "datetime_object_invalid": MOMENT,
        "datetime_from_date_parsing": MOMENT,
        "timezone_aware": MOMENT,
        "datetime_past": "not in the past",
        "datetime_future": "in the past",
        "date_type": _DATE,
        "date_parsing": _DATE,
        "date_from_datetime_parsing": _DATE,
        "date_from_datetime_inexact": _DATE,
        "date_past": "not in the past",
        "date_future": "not in the future",
        "time_type": _TIME,
        "time_parsing": _TIME,
        "list_type": _LIST,
        "tuple_type": _LIST,
        "set_type": _LIST,
        "frozen_set_type": _LIST,
        "too_short": "has too few entries, {min_length} at least",
        "too_long": "has too many entries, {max_length} at most",
        "model_type": _OBJECT,
        "model_attributes_type": _OBJECT,
        "dict_type": _OBJECT,
        "union_tag_not_found": "lacks {discriminator}",
        "union_tag_invalid": "{discriminator} is none of {expected_tags}",
        "url_type": _ADDRESS,
        "url_parsing": _ADDRESS,
        "url_syntax_violation": _ADDRESS,
        "url_too_long": "has more than {max_length} characters",
        "url_scheme": "has to begin with one of {expected_schemes}",
        "uuid_type": "not a UUID",
        "uuid_parsing": "not a UUID",
        "uuid_version": "not a UUID of version {expected_version}",
    }
)


@dataclass(frozen=True, slots=True)
class Mistake:
    field: str  # "items.0.quantity"; "" is the body itself
    detail: str


def mistakes_in(
    error: ValidationError, model: type[BaseModel], given: Any, *, kind: str = "field"
) -> list[Mistake]:
    """`given` is what the model was made of; `kind` is what its names are names of."""
    found = [one for one in error.errors(include_url=False) if not _only_follows(one)]
    # Unknown names first: they tell that somebody meant another field.
    found.sort(key=lambda one: one["type"] != "extra_forbidden")
    told = []
    for one in found[:MISTAKES_MAX]:
        match one["type"]:
            case "missing":
                what = _description(model, one["loc"])
                detail = f"missing: {what}" if what else "missing"
            case "extra_forbidden":
                detail = no_such(kind, str(one["loc"][-1]), _names_at(model, one["loc"][:-1]))
            case _:
                detail = in_words(one)
        place = _place(one["loc"], given, is_missing=one["type"] == "missing")
        told.append(Mistake(place, detail))
    return list(dict.fromkeys(told))  # the members of a union say the same


def no_such(kind: str, name: str, names: Iterable[str]) -> str:
    """With those that there are, or the nearest of many."""
    there_are = list(names)
    if len(there_are) > NAMES_TOLD:
        there_are = difflib.get_close_matches(name[:NAME_CHARS], there_are)
        told = f"; the nearest: {', '.join(there_are)}" if there_are else ""
    else:
        told = f"; there are: {', '.join(there_are)}" if there_are else "; it takes none"
    return f"no such {kind}{told}"


def names_of(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _names_at(model: type[BaseModel], steps: tuple[int | str, ...]) -> list[str]:
    """Of the models that the steps lead to: of one, or of the members of a union."""
    at = [model]
    for step in steps:
        found = [one.model_fields[str(step)] for one in at if step in one.model_fields]
        # An index leads to no model, nor does what pydantic calls a member of a union.
        at = [inner for field in found for inner in _within(field.annotation)] or at
    return list(dict.fromkeys(name for one in at for name in names_of(one)))


def _only_follows(one: ErrorDetails) -> bool:
    """To pydantic a list is too short when too few of its entries are right."""
    return one["type"] == "too_short" and len(one["input"]) >= one["ctx"]["min_length"]


def in_words(one: ErrorDetails) -> str:
    given = one["input"]
    # Pydantic quotes what it expected, and joins it: 'a', 'b' or 'c'.
    context = {
        name: value.replace("' or '", "', '").replace("'", "") if isinstance(value, str) else value
        for name, value in one.get("ctx", {}).items()
    }
    length = len(given) if isinstance(given, str) else 0
    return WORDS.get(one["type"], "not valid").format_map({"length": length} | context)


def named(name: str) -> str:
    """A name that somebody else gave."""
    return storable(name)[:NAME_CHARS]


def _place(steps: tuple[int | str, ...], given: Any, *, is_missing: bool) -> str:
    """Only what leads through `given`: pydantic also names members of unions, and keys."""
    place = []
    for step in steps:
        if isinstance(given, dict):
            is_there = step in given
        else:
            is_there = isinstance(given, list) and step in range(len(given))
        if is_there:
            given = given[step]
            place.append(named(str(step)))
    if is_missing:
        place.append(str(steps[-1]))
    return ".".join(place)


def _description(model: type[BaseModel], steps: tuple[int | str, ...]) -> str | None:
    """Of the field that the steps lead to."""
    at: Any = model
    description = None
    for step in steps:
        models = [one for one in _within(at) if isinstance(step, str) and step in one.model_fields]
        if models:
            field = models[0].model_fields[str(step)]
            at, description = field.annotation, field.description
    return description


def _within(annotation: Any) -> list[type[BaseModel]]:
    """The models in `list[Item] | None` and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for inner in typing.get_args(annotation) for model in _within(inner)]
