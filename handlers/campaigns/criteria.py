"""`target_criteria`: whom a campaign is for. Pure.

All members are optional and joined by AND; without any it is everybody. What is not known here is
refused, so that a typo never makes an audience larger.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from db.audiences import Audience, FieldRule, Orders, Tags
from handlers.fixed.texts import MAX_TAG_CHARS, is_language

TAGS_MAX, TAG_CHARS = 50, 50
FIELDS_MAX, VALUES_MAX = 20, 100
TEXT_CHARS = 200
CHATBOTS_MAX, LANGUAGES_MAX = 100, 50
DAYS_MAX = 3_660
LIMIT_MAX = 10_000_000
NUMBER_DIGITS = 30

KEY = r"^[a-z][a-z0-9_]{0,63}$"
_NO_NUL = r"^[^\x00]*$"

_COMPARED = ("gt", "gte", "lt", "lte")
_PRESENT = ("exists", "missing")


def _wrong(detail: str) -> PydanticCustomError:
    return PydanticCustomError("wrong", "{detail}", {"detail": detail})


def _moment(given: Any) -> Any:
    if isinstance(given, str):
        try:
            given = datetime.fromisoformat(given)
        except ValueError:
            given = None
    if not isinstance(given, datetime) or given.tzinfo is None:
        raise _wrong("not a date and time with its zone, like 2030-01-31T17:00:00Z")
    try:
        return given.astimezone(UTC)
    except OverflowError:
        raise _wrong("a time that no calendar has") from None


def _language(given: str) -> str:
    if not is_language(given):
        raise _wrong("not a language tag, like es or pt-BR")
    return given


Text = Annotated[str, StringConstraints(max_length=TEXT_CHARS, pattern=_NO_NUL)]
Tag = Annotated[str, StringConstraints(min_length=1, max_length=TAG_CHARS, pattern=_NO_NUL)]
Days = Annotated[int, Field(ge=1, le=DAYS_MAX)]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Language = Annotated[
    str,
    StringConstraints(max_length=MAX_TAG_CHARS),
    AfterValidator(_language),
    WithJsonSchema({"type": "string", "maxLength": MAX_TAG_CHARS}),
]
Number = Annotated[int | float, Field(ge=-1e30, le=1e30)]
Value = Text | bool | Number


class _Member(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True
    )


class TagRules(_Member):
    """Of any one, of all, of none."""

    any: Annotated[list[Tag], Field(max_length=TAGS_MAX)] = []
    all: Annotated[list[Tag], Field(max_length=TAGS_MAX)] = []
    none: Annotated[list[Tag], Field(max_length=TAGS_MAX)] = []


class OfField(_Member):
    """A custom field. Values keep their kinds: 100 is not "100"."""

    key: Annotated[str, StringConstraints(pattern=KEY)]
    op: Literal["eq", "ne", "in", "gt", "gte", "lt", "lte", "exists", "missing"]
    value: Value | list[Value] | None = None

    @model_validator(mode="after")
    def _fits(self) -> "OfField":
        given = "value" in self.model_fields_set
        if self.op in _PRESENT:
            if given:
                raise _wrong(f"`{self.op}` takes no value")
        elif self.op == "in":
            if not isinstance(self.value, list) or not 1 <= len(self.value) <= VALUES_MAX:
                raise _wrong(f"`in` takes a list of 1 to {VALUES_MAX} values")
        elif self.value is None or isinstance(self.value, list):
            raise _wrong(f"`{self.op}` takes a text, a number, true or false")
        elif self.op in _COMPARED and isinstance(self.value, bool):
            raise _wrong(f"`{self.op}` takes a text or a number")
        return self


class Interaction(_Member):
    """When the contact last wrote. `older_than_days` also has those who never did."""

    within_days: Days | None = None
    older_than_days: Days | None = None
    after: Moment | None = None
    before: Moment | None = None


class OrderRule(_Member):
    """So many that were not cancelled."""

    since_days: Days | None = None
    min: Annotated[int, Field(ge=1, le=1_000)] = 1


class CampaignRule(_Member):
    """Whom another campaign reached since is left out (`recent_campaign`)."""

    none_within_days: Days


class Criteria(_Member):
    v: Literal[1] = 1
    chatbot_ids: Annotated[
        list[Annotated[int, Field(ge=1, le=10**18 - 1)]],
        Field(max_length=CHATBOTS_MAX, description="has a conversation with one of them"),
    ] = []
    contact_status: Annotated[list[Literal["active", "blocked"]], Field(max_length=2)] = []
    tags: TagRules = TagRules()
    fields: Annotated[list[OfField], Field(max_length=FIELDS_MAX)] = []
    last_interaction: Interaction = Interaction()
    orders: OrderRule | None = None
    language: Annotated[list[Language], Field(max_length=LANGUAGES_MAX)] = []
    campaigns: CampaignRule | None = None
    limit: Annotated[
        int | None,
        Field(ge=1, le=LIMIT_MAX, description="the lowest ids of those that can be sent to"),
    ] = None

    def audience(self, now: datetime) -> Audience:
        """With the moments that its days are, of `now`."""
        last = self.last_interaction
        return Audience(
            chatbot_ids=tuple(self.chatbot_ids),
            contact_status=tuple(self.contact_status),
            tags=Tags(
                any=tuple(self.tags.any), all=tuple(self.tags.all), none=tuple(self.tags.none)
            ),
            fields=tuple(FieldRule(key=one.key, op=one.op, value=one.value) for one in self.fields),
            since=_latest(_ago(now, last.within_days), last.after),
            before=last.before,
            not_since=_ago(now, last.older_than_days),
            orders=None
            if self.orders is None
            else Orders(least=self.orders.min, since=_ago(now, self.orders.since_days)),
            languages=tuple(self.language),
            no_campaign_since=None
            if self.campaigns is None
            else _ago(now, self.campaigns.none_within_days),
            limit=self.limit,
        )


def _ago(now: datetime, days: int | None) -> datetime | None:
    return None if days is None else now - timedelta(days=days)


def _latest(*moments: datetime | None) -> datetime | None:
    return max((one for one in moments if one is not None), default=None)
