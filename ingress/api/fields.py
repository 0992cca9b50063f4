"""What requests are made of: the two kinds of models, and the kinds of fields that are more than a
type of Python. Pure.

Each field says what it is (`description`), for the description of the API and for whoever left it
out. What pydantic finds wrong is told in the words of `mistakes`.
"""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from handlers.rules.reply import MAX_CHARS, fits

PAGE, PAGE_MAX = 50, 200
NO_NUL = (
    r"^[^\x00]*$"  # as a pattern of JSON Schema, which has nothing for halves of surrogate pairs
)
NOT_BLANK = r"^[^\x00]*[^\s\x00][^\x00]*$"
FURTHEST = timedelta(days=3_660)  # that a time in the future may be
MAX_ID_DIGITS = 18  # a bigint has one more
FLOAT_DIGITS = 15  # that a binary float keeps, whatever they are
MOMENT = "not a date and time with its zone, like 2030-01-31T17:00:00Z"

Id = TypeVar("Id", bound=int)


class Body(BaseModel):
    """A JSON object."""

    # Built when first needed: a process starts sooner, and nobody calls all of the API.
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True
    )

    def given(self) -> dict[str, Any]:
        """Of a PATCH: what is to be changed. null is given too."""
        return {name: getattr(self, name) for name in self.model_fields_set}


def unless_given() -> Any:
    """Of a field of a PATCH that cannot be null: nobody reads what it is when it was left out."""
    return Field(default_factory=lambda: None)


class NoBody(Body):
    """Nothing, or an empty object."""


class Parameters(BaseModel):
    """Of path and query, as texts; those that the path names are in the path."""

    model_config = ConfigDict(
        strict=False, extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True
    )


class NoParameters(Parameters):
    """Neither in the path nor in the query."""


def wrong(detail: str) -> PydanticCustomError:
    """To be raised by a validator; `detail` is what the client reads."""
    return PydanticCustomError("wrong", "{detail}", {"detail": detail})


# ---- whole numbers -------------------------------------------------------------------------------


def _spelt_in_digits(given: Any, info: ValidationInfo) -> Any:
    """Of a parameter; else ' 7', '+7' and '1_0' would be numbers too. In JSON a text is none."""
    if info.mode == "json" or not isinstance(given, str):
        return given
    if not re.fullmatch(rf"[0-9]{{1,{MAX_ID_DIGITS}}}", given):
        raise PydanticKnownError("int_parsing")
    return int(given)


def _after(given: str) -> int:
    if not re.fullmatch(rf"[0-9]{{1,{MAX_ID_DIGITS}}}", given):
        raise wrong("not the `next` of another page")
    return int(given)


DIGITS = BeforeValidator(_spelt_in_digits)
RowId = Annotated[Id, Field(ge=0, le=10**MAX_ID_DIGITS - 1), DIGITS]
Cursor = Annotated[
    int,
    BeforeValidator(_after),
    WithJsonSchema({"type": "string", "pattern": f"^[0-9]{{1,{MAX_ID_DIGITS}}}$"}),
]


class Paged(Parameters):
    """Of a list."""

    limit: Annotated[int, Field(ge=1, le=PAGE_MAX, description="how many a page holds"), DIGITS] = (
        PAGE
    )
    after: Annotated[Cursor | None, Field(description="`next` of the page before")] = None


# ---- texts, amounts, times -----------------------------------------------------------------------


def _sendable(given: str) -> str:
    if not given.strip():
        raise wrong("empty")
    if not fits(given):
        raise wrong(f"longer than the {MAX_CHARS} UTF-16 units of a WhatsApp message")
    return given


# The description counts characters, as JSON Schema does: no text that it refuses could be sent.
MessageText = Annotated[
    str,
    AfterValidator(_sendable),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "maxLength": MAX_CHARS, "pattern": NOT_BLANK}
    ),
]


def exact(given: Any) -> Decimal:
    if isinstance(given, bool) or not isinstance(given, str | int | float | Decimal):
        raise PydanticKnownError("decimal_type")
    if isinstance(given, str) and not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", given):
        raise PydanticKnownError("decimal_parsing")
    amount = Decimal(str(given))
    if isinstance(given, float) and len(amount.as_tuple().digits) > FLOAT_DIGITS:
        raise wrong("has more digits than a JSON number keeps: send it as a text")
    return amount


# A text, since not every program keeps the digits of a JSON number; that is taken too.
Money = Annotated[
    Decimal,
    Field(max_digits=18, decimal_places=2),
    BeforeValidator(exact),
    WithJsonSchema({"type": ["string", "number"], "pattern": r"^-?[0-9]{1,16}(\.[0-9]{1,2})?$"}),
]


def _moment(given: Any) -> datetime:
    if not isinstance(given, str) or "T" not in given:
        raise wrong(MOMENT)
    try:
        moment = datetime.fromisoformat(given)
        aware = moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        aware = None
    if aware is None:
        raise wrong(MOMENT)
    return aware


def _ahead(moment: datetime, info: ValidationInfo) -> datetime:
    now: datetime = (info.context or {})["now"]  # read_json() and read_parameters() give it
    if moment <= now:
        raise wrong("in the past")
    if moment > now + FURTHEST:
        raise wrong("more than ten years away")
    return moment


def _day(given: Any) -> date:
    if not isinstance(given, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given):
        raise PydanticKnownError("date_type")
    try:
        day = date.fromisoformat(given)
    except ValueError:
        raise PydanticKnownError("date_type") from None
    # The ends of the calendar are sent to PostgreSQL as infinity, and leave no room to reckon in.
    if not 1900 <= day.year <= 8999:
        raise wrong("not within 1900 to 8999")
    return day


YEARS = "^(19|[2-8][0-9])"
Day = Annotated[
    date,
    BeforeValidator(_day),
    WithJsonSchema({"type": "string", "format": "date", "pattern": YEARS}),
]  # and nothing else that pydantic takes for one
Moment = Annotated[datetime, BeforeValidator(_moment)]
MomentAhead = Annotated[Moment, AfterValidator(_ahead)]
