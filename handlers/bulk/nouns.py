"""What comes in rows and goes in rows: each noun's columns, and what a row of a file may say. Pure.

A column that a file has says what is so: its empty cell is null, or no entry. What has no null
(`is_active`, `contact_status`) stays as it is then, and so does whatever a file has no column for.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any, Final, Literal, TypeAlias

from handlers.bulk.cells import unguarded
from handlers.bulk.spreadsheet import Columns, Unreadable
from handlers.fixed.texts import is_language
from handlers.plans import Feature
from handlers.rules import knowledge, products
from handlers.rules.contact_fields import fields_problem, tag_problems
from handlers.rules.numbers import line_of, normalised
from handlers.rules.texts import storable

NAME_CHARS = 255  # of a contact
NUMBER_CHARS = 40
NESTING_MAX = 32
STATUSES = ("active", "blocked")
_TRUE, _FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")

What: TypeAlias = Literal["knowledge", "contacts", "products"]
Row: TypeAlias = dict[str, Any]
Read: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class Noun:
    what: What
    key: str  # the column that tells one row from another
    needed: tuple[str, ...]
    fields: Mapping[str, Read]  # each raises ValueError with what is wrong
    feature: Feature | None  # of the plan, that writing one needs
    known_by: Callable[[str], str] = str  # of the spellings of one key always the same

    @property
    def columns(self) -> Columns:
        return Columns(tuple(self.fields), self.needed)


# ---- values --------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a text")
    if storable(value) != value:
        raise ValueError("has a character that cannot be stored")
    return value.strip()


def _optional(read: Read) -> Read:
    def read_it(value: Any) -> Any:
        return None if value is None or _is_blank(value) else read(value)

    return read_it


def _is_blank(value: Any) -> bool:
    return isinstance(value, str) and not value.strip()


def _checked(problem: Callable[[Any], str | None], value: Any) -> str:
    text: str = _text(value)
    if (wrong := problem(text)) is not None:
        raise ValueError(f"is {wrong}" if wrong == "empty" else wrong)
    return text


def _known(name: str, value: Any) -> str:
    return str(_without(name, partial(knowledge.text_of, name), _text(value)))


def _without(name: str, read: Callable[[Any], Any], value: Any) -> Any:
    """The name of the column is said by whoever asks."""
    try:
        return read(value)
    except ValueError as problem:
        raise ValueError(str(problem).removeprefix(f"{name} ")) from None


def _json(value: Any) -> Any:
    """Of a cell; a value of JSONL is one already."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None


def _no_constant(_: str) -> Any:
    raise ValueError("NaN and Infinity are not JSON")


def _texts(value: Any) -> list[str]:
    """A list, or of a cell also `vip; new`."""
    if value is None or _is_blank(value):
        return []
    if isinstance(value, str) and not value.strip().startswith("["):
        return [one.strip() for one in value.split(";") if one.strip()]
    given = _json(value)
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise ValueError("is not a list of texts")
    return [_text(one) for one in given]


def _alternatives(value: Any) -> list[str]:
    return list(_without("alternatives", knowledge.alternatives_of, _texts(value)))


def _tags(value: Any) -> list[str]:
    tags = list(dict.fromkeys(_texts(value)))
    if found := tag_problems(tags):
        raise ValueError("; ".join(found))
    return tags


def _custom_fields(value: Any) -> dict[str, Any]:
    given = {} if value is None or _is_blank(value) else _json(value)
    if not isinstance(given, dict):
        raise ValueError("is not a JSON object")
    if (
        storable(text := json.dumps(given, ensure_ascii=False, allow_nan=False)) != text
        or "\\u0000" in text
    ):
        raise ValueError("has a character that cannot be stored")
    if (problem := fields_problem(given)) is not None:
        raise ValueError(problem)
    return given


def _language(value: Any) -> str:
    tag = _text(value)
    if not is_language(tag):
        raise ValueError("is not a language tag, like es or pt-BR")
    return tag


def _yes(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in (*_TRUE, *_FALSE):
        raise ValueError("is not true or false")
    return word in _TRUE


def _status(value: Any) -> str:
    status = _text(value)
    if status not in STATUSES:
        raise ValueError(f"is none of {', '.join(STATUSES)}")
    return status


def _number(value: Any) -> str:
    text = _text(value)
    number = normalised(text) if len(text) <= NUMBER_CHARS else None
    if number is None:
        raise ValueError("is not a phone number with its country code, like +12025550143")
    return number


def _name(value: Any) -> str:
    name = _text(value)
    if len(name) > NAME_CHARS:
        raise ValueError(f"has {len(name)} characters, {NAME_CHARS} at most")
    return name


def _price(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("is not a price, like 38.50")
    price = products.price_of(value.strip() if isinstance(value, str) else str(value))
    if price is None:
        raise ValueError("is not a price, like 38.50")
    if (problem := products.price_problem(price)) is not None:
        raise ValueError(f"is {problem}")
    return price


def _stock(value: Any) -> int:
    text = value.strip() if isinstance(value, str) else value
    whole = isinstance(text, int) and not isinstance(text, bool)
    if not whole and not (isinstance(text, str) and text.isascii() and text.isdigit()):
        raise ValueError("is not a whole number")
    stock = int(text) if len(str(text)) <= 12 else -1
    if (problem := products.stock_problem(stock)) is not None:
        raise ValueError(f"is {problem}")
    return stock


# ---- nouns ---------------------------------------------------------------------------------------

NOUNS: Final[Mapping[str, Noun]] = {
    "knowledge": Noun(
        "knowledge",
        "question",
        ("question", "answer"),
        {
            "question": partial(_known, "question"),
            "answer": partial(_known, "answer"),
            "category": _optional(partial(_known, "category")),
            "alternatives": _alternatives,
            "language": _optional(_language),
            "is_active": _optional(_yes),
        },
        Feature.CHATBOT_MANAGEMENT,
    ),
    "contacts": Noun(
        "contacts",
        "phone_number",
        ("phone_number",),
        {
            "phone_number": _number,
            "name": _optional(_name),
            "tags": _tags,
            "custom_fields": _custom_fields,
            "language": _optional(_language),
            "contact_status": _optional(_status),
        },
        Feature.CONTACT_MANAGEMENT,
        line_of,
    ),
    "products": Noun(
        "products",
        "sku",
        ("sku", "name"),
        {
            "sku": partial(_checked, products.sku_problem),
            "name": partial(_checked, products.name_problem),
            "price": _optional(_price),
            "description": _optional(partial(_checked, products.description_problem)),
            "image_url": _optional(partial(_checked, products.image_url_problem)),
            "is_active": _optional(_yes),
            "stock": _optional(_stock),
        },
        None,
    ),
}
KEEPS = ("is_active", "contact_status")  # as it is, where a file says nothing


def row_of(noun: Noun, value: Any, *, of_csv: bool) -> Row | str:
    """What the file says of it; or what is wrong, all of it."""
    if isinstance(value, Unreadable):
        return value.why
    if not isinstance(value, dict):
        return f"not an object with {' and '.join(noun.needed)}"
    row: Row = {}
    wrong: list[str] = []
    for name, read in noun.fields.items():
        given = value.get(name)
        if name in noun.needed and (given is None or _is_blank(given)):
            wrong.append(f"{name} is empty")
        elif name in value:
            try:
                row[name] = read(unguarded(given) if of_csv and isinstance(given, str) else given)
            except ValueError as problem:
                wrong.append(f"{name} {problem}")
    if wrong:
        return "; ".join(wrong)
    return {name: value for name, value in row.items() if value is not None or name not in KEEPS}
