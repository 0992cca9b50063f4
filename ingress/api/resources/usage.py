"""/v1/usage, /v1/usage/days, /v1/usage/months"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from db.pool import Conn
from db.usage import UsageDay, UsageMonth, list_days, list_months, read_usage
from handlers.plans import Feature
from ingress.api.fields import Day, NoBody, NoParameters, Parameters, wrong
from ingress.api.table import Answer, Call, Endpoint, there


@dataclass(frozen=True, slots=True)
class Today:
    tracking_date: date
    ends_at: datetime
    daily_message_limit: int | None
    daily_messages_sent: int
    daily_messages_received: int
    daily_overage_messages: int
    messages_reserved: int
    live_takeovers_used: int
    actions_created: int
    api_calls_made: int
    test_tokens_used: int


@dataclass(frozen=True, slots=True)
class Month:
    year: int
    month: int
    ends_at: datetime
    monthly_message_limit: int | None
    total_messages_sent: int
    overage_messages: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    timezone: str
    subscription_name: str | None
    today: Today
    month: Month


async def _read(conn: Conn, call: Call[NoParameters, NoBody]) -> Answer[UsageReport]:
    u = there(await read_usage(conn, call.user_id))
    today = Today(
        tracking_date=u.tracking_date,
        ends_at=u.day_ends_at,
        daily_message_limit=u.daily_message_limit,
        daily_messages_sent=u.daily_messages_sent,
        daily_messages_received=u.daily_messages_received,
        daily_overage_messages=u.daily_overage_messages,
        messages_reserved=u.messages_reserved,
        live_takeovers_used=u.live_takeovers_used,
        actions_created=u.actions_created,
        api_calls_made=u.api_calls_made,
        test_tokens_used=u.test_tokens_used,
    )
    month = Month(
        year=u.year,
        month=u.month,
        ends_at=u.month_ends_at,
        monthly_message_limit=u.monthly_message_limit,
        total_messages_sent=u.total_messages_sent,
        overage_messages=u.overage_messages,
    )
    return Answer(UsageReport(u.timezone, u.subscription_name, today, month))


DAYS, DAYS_MAX = 31, 366
MONTHS_MAX = 120


class Between(Parameters):
    """Both days included."""

    from_: Annotated[
        Day | None, Field(alias="from", description=f"first day; default: {DAYS} days up to `to`")
    ] = None
    to: Annotated[Day | None, Field(description="last day; default: the tenant's today")] = None

    @field_validator("to")
    @classmethod
    def _in_order(cls, to: date | None, info: ValidationInfo) -> date | None:
        first: date | None = info.data.get("from_")
        if to is not None and first is not None:
            if to < first:
                raise wrong("before `from`")
            if to - first >= timedelta(days=DAYS_MAX):
                raise wrong(f"more than {DAYS_MAX} days with `from`")
        return to


@dataclass(frozen=True, slots=True)
class UsageDays:
    timezone: str
    data: list[UsageDay]


@dataclass(frozen=True, slots=True)
class UsageMonths:
    timezone: str
    data: list[UsageMonth]


async def _days(conn: Conn, call: Call[Between, NoBody]) -> Answer[UsageDays]:
    now = there(await read_usage(conn, call.user_id))
    first, last = call.parameters.from_, call.parameters.to
    if last is None:
        last = now.tracking_date
        if first is not None:
            last = min(last, first + timedelta(days=DAYS_MAX - 1))
    if first is None:
        first = last - timedelta(days=DAYS - 1)
    return Answer(UsageDays(now.timezone, await list_days(conn, call.user_id, first, last)))


async def _months(conn: Conn, call: Call[NoParameters, NoBody]) -> Answer[UsageMonths]:
    now = there(await read_usage(conn, call.user_id))
    return Answer(UsageMonths(now.timezone, await list_months(conn, call.user_id, MONTHS_MAX)))


ENDPOINTS = (
    Endpoint(
        name="read_usage",
        method="GET",
        path="/usage",
        permission="usage:read",
        features=(Feature.BASIC_ANALYTICS,),
        summary="Today and this month by the tenant's own clock, with the limits",
        parameters=NoParameters,
        body=NoBody,
        answers=UsageReport,
        work=_read,
    ),
    Endpoint(
        name="list_usage_days",
        method="GET",
        path="/usage/days",
        permission="usage:read",
        features=(Feature.BASIC_ANALYTICS,),
        summary="What was counted on each day of the tenant, without gaps",
        parameters=Between,
        body=NoBody,
        answers=UsageDays,
        work=_days,
    ),
    Endpoint(
        name="list_usage_months",
        method="GET",
        path="/usage/months",
        permission="usage:read",
        features=(Feature.BASIC_ANALYTICS,),
        summary="What was counted in each month, with averages and costs; the newest first",
        parameters=NoParameters,
        body=NoBody,
        answers=UsageMonths,
        work=_months,
    ),
)
