"""What a tenant gives of a campaign, and is shown of one."""

import re
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from db.ids import CampaignId, ChatbotId, TemplateId
from handlers.campaigns.criteria import Criteria
from ingress.api.fields import NOT_BLANK, Body, RowId, unless_given, wrong

NAME_CHARS = 255
VARIANTS_MAX = 3
RATE_MAX = 1_000
TIME = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"


def _moment(given: Any) -> Any:
    """With a zone, or as the wall clock of the campaign's zone."""
    if isinstance(given, datetime) or given is None:
        return given
    if not isinstance(given, str) or "T" not in given:
        raise wrong("not a date and time, like 2030-01-31T17:00:00 or 2030-01-31T17:00:00Z")
    try:
        at = datetime.fromisoformat(given)
        if at.tzinfo is not None:
            at.timestamp()
    except (ValueError, OverflowError):
        raise wrong("not a date and time that there is") from None
    if not 2000 <= at.year <= 2200:
        raise wrong("not within the years 2000 to 2200")
    return at


def _zone(given: str) -> str:
    if given not in available_timezones():
        raise wrong("not a time zone of the IANA database, like America/Lima")
    return given


def _window(given: dict[str, Any]) -> dict[str, Any]:
    if given.keys() != {"days", "from", "to"}:
        raise wrong('takes {"days": [1..7], "from": "09:00", "to": "19:00"}')
    days, opens, closes = given["days"], given["from"], given["to"]
    if (
        not isinstance(days, list)
        or not days
        or any(type(day) is not int or not 1 <= day <= 7 for day in days)
        or len(set(days)) < len(days)
    ):
        raise wrong("days: a list of days of the week, 1 (Monday) to 7, each once")
    if not isinstance(opens, str) or not re.fullmatch(TIME, opens):
        raise wrong("from: not a time of day, like 09:00")
    if not isinstance(closes, str) or not (re.fullmatch(TIME, closes) or closes == "24:00"):
        raise wrong("to: not a time of day, like 19:00 or 24:00")
    if closes != "24:00" and time.fromisoformat(closes) <= time.fromisoformat(opens):
        raise wrong("to: not after from")
    return {"days": sorted(days), "from": opens, "to": closes}


Name = Annotated[
    str, Field(min_length=1, max_length=NAME_CHARS, pattern=NOT_BLANK, description="for you")
]
Moment = Annotated[
    datetime,
    BeforeValidator(_moment),
    WithJsonSchema({"type": "string", "maxLength": 40}),
    Field(description="without an offset it is the wall clock's of `timezone`"),
]
Zone = Annotated[
    str,
    AfterValidator(_zone),
    Field(max_length=64, description="of the IANA database; missing: yours"),
]
SendWindow = Annotated[
    dict[str, Any],
    AfterValidator(_window),
    WithJsonSchema(
        {
            "type": "object",
            "required": ["days", "from", "to"],
            "additionalProperties": False,
            "properties": {
                "days": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 7,
                    "uniqueItems": True,
                    "items": {"type": "integer", "minimum": 1, "maximum": 7},
                },
                "from": {"type": "string", "pattern": TIME},
                "to": {"type": "string", "pattern": TIME[:-1] + "|^24:00$"},
            },
        }
    ),
    Field(description="days (1 is Monday) and hours of `timezone` in which it sends"),
]
Rate = Annotated[
    int, Field(ge=1, le=RATE_MAX, description="messages a second at most; missing: 10")
]
Parameters_ = Annotated[
    dict[str, Any],
    Field(description="what fills the template: see the description of templates"),
]
OfTemplate = Annotated[
    RowId[TemplateId], Field(description="of the chatbot's account; APPROVED when it starts")
]


class VariantMade(Body):
    template_id: OfTemplate
    parameters: Parameters_ = Field(default_factory=dict)
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1


Variants = Annotated[
    list[VariantMade],
    Field(min_length=1, max_length=VARIANTS_MAX, description="instead of `template_id`"),
]


class CampaignMade(Body):
    name: Name
    chatbot_id: Annotated[RowId[ChatbotId], Field(description="whose number sends it")]
    template_id: OfTemplate | None = None
    parameters: Parameters_ = Field(default_factory=dict)
    variants: Variants | None = None
    target_criteria: Criteria = Field(default_factory=Criteria)
    scheduled_at: Moment | None = None
    timezone: Zone | None = None
    send_window: SendWindow | None = None
    rate: Rate | None = None
    ends_at: Moment | None = None


class CampaignChange(Body):
    name: Name = unless_given()
    chatbot_id: RowId[ChatbotId] = unless_given()
    template_id: OfTemplate | None = None
    parameters: Parameters_ = unless_given()
    variants: Variants | None = None
    target_criteria: Criteria = unless_given()
    scheduled_at: Moment | None = None
    timezone: Zone | None = None
    send_window: SendWindow | None = None
    rate: Rate | None = None
    ends_at: Moment | None = None


class PreviewMade(CampaignMade):
    name: Name = "preview"


Status = Literal["draft", "scheduled", "preparing", "running", "paused", "completed", "cancelled"]
State = Literal[
    "pending", "queued", "accepted", "held", "sent", "delivered", "read", "failed", "skipped",
    "capped", "uncertain", "cancelled",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantShown:
    template_id: TemplateId
    parameters: dict[str, Any]
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignShown:
    id: CampaignId
    name: str
    chatbot_id: ChatbotId | None
    status: str
    held_reason: str | None
    resume_at: datetime | None
    template_id: TemplateId | None
    parameters: dict[str, Any]
    variants: list[VariantShown]
    target_criteria: dict[str, Any]
    scheduled_at: datetime | None
    timezone: str | None
    send_window: dict[str, Any] | None
    rate: float | None
    ends_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    usage_day: date | None
    overage: bool
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    recipients: int
    pending: int
    queued: int
    accepted: int
    held: int
    sent: int
    delivered: int
    read: int
    failed: int
    skipped: int
    capped: int
    uncertain: int
    cancelled: int
    replied: int
    replied_likely: int
    ordered: int
    revenue: dict[str, str]
    opted_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignWhole(CampaignShown):
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleShown:
    contact_id: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewShown:
    matched: int
    sendable: int
    skipped: dict[str, int]
    examples: list[ExampleShown]
    units_today: int
    fits_daily_limit: bool
    fits_messaging_limit: bool | None
    minutes: float
