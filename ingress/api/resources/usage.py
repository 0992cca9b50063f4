"""/v1/usage"""

from dataclasses import dataclass
from datetime import date, datetime

from db.pool import Conn
from db.usage import read_usage
from ingress.api.fields import NoBody, NoParameters
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


ENDPOINTS = (
    Endpoint(
        name="read_usage",
        method="GET",
        path="/usage",
        permission="usage:read",
        summary="Today and this month by the tenant's own clock, with the limits",
        parameters=NoParameters,
        body=NoBody,
        answers=UsageReport,
        work=_read,
    ),
)
