"""What a tenant has used of its plan (migrations/0004_metering.sql and those after it)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from db.ids import ConversationId, MessageId, UserId, WorkerId
from db.pool import Conn, at_commit
from db.sql import load, values

_SQL = load(__file__)
LEASE_LOST = "lease_lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    outcome: str  # 'granted', or the reason why not
    usage_day: date
    overage: bool  # beyond the limits, and counted apart
    notice: str | None  # what the plan tells customers at a limit


async def could_reserve(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> str:
    """Of a message that this transaction is to queue: 'granted', or the reason why not. The answer
    is as old as its statement; spend_on_message() decides."""
    return str(await conn.fetchval(_SQL["could_reserve"], user_id, conversation_id))


@dataclass(frozen=True, slots=True)
class Reserving:
    """Whose turn reserves."""

    user_id: UserId
    conversation_id: ConversationId
    worker_id: WorkerId
    epoch: int


async def reserve_for_turn(conn: Conn, turn: Reserving, messages: int) -> Reservation | None:
    """Outside of a transaction: it is one. None: the lease is somebody else's."""
    row = await conn.fetchrow(_SQL["reserve_for_turn"], *values(turn), messages)
    assert row is not None, "the function always returns a row"
    return None if row["outcome"] == LEASE_LOST else Reservation(**row)


async def reserve_actions_for_turn(conn: Conn, turn: Reserving, actions: int) -> str:
    """Outside of a transaction. So many in all for the turn. 'granted', or the reason why not."""
    return str(await conn.fetchval(_SQL["reserve_actions_for_turn"], *values(turn), actions))


async def take_actions(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, actions: int
) -> date | None:
    """Of the requests that are held; the day they are counted on, with the COMMIT. None: more than
    was held; the transaction must not commit."""
    day: date | None = await conn.fetchval(_SQL["take_actions"], user_id, conversation_id, actions)
    if day is not None:
        at_commit(conn, f"SELECT count_actions({user_id:d}, '{day}', {actions:d})")
    return day


# ---- with the COMMIT ----------------------------------------------------------------------------


def spend_messages(conn: Conn, user_id: UserId, conversation_id: ConversationId, sent: int) -> None:
    """Of what is held, the rest of which is given back. The COMMIT fails when it is more."""
    at_commit(conn, f"SELECT spend_messages({user_id:d}, {conversation_id:d}, {sent:d})")


def spend_on_message(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, message_id: MessageId
) -> None:
    """A unit for a message that is queued here; one that a turn holds for the conversation, if
    there is one. The COMMIT fails as a CONFLICT when there is none any more."""
    at_commit(conn, f"SELECT spend_on_message({user_id:d}, {conversation_id:d}, {message_id:d})")


def release_messages(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    spend_messages(conn, user_id, conversation_id, 0)


def give_back_messages(
    conn: Conn, user_id: UserId, usage_days: Sequence[date], overage: Sequence[bool]
) -> None:
    """Of each message its day, and whether it was counted as overage."""
    days = ",".join(day.isoformat() for day in usage_days)
    beyond = ",".join("t" if one else "f" for one in overage)
    at_commit(conn, f"SELECT give_back_messages({user_id:d}, '{{{days}}}', '{{{beyond}}}')")


def give_back_campaign_messages(conn: Conn, user_id: UserId, usage_days: Sequence[date]) -> None:
    """Of messages of campaigns, beside their units."""
    days = ",".join(day.isoformat() for day in usage_days)
    at_commit(conn, f"SELECT give_back_campaign_messages({user_id:d}, '{{{days}}}')")


def count_received(conn: Conn, user_id: UserId, usage_day: date, messages: int) -> None:
    """On the day that is on their rows."""
    at_commit(conn, f"SELECT count_received({user_id:d}, '{usage_day}', {messages:d})")


def count_takeover(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    """With a row of its own, on the tenant's day."""
    at_commit(conn, f"SELECT count_takeover({user_id:d}, {conversation_id:d})")


def count_api_calls(conn: Conn, user_id: UserId, usage_day: date, calls: int) -> None:
    at_commit(conn, f"SELECT count_api_calls({user_id:d}, '{usage_day}', {calls:d})")


# ---- for the tenant's own people and programs, page by page -----------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    timezone: str
    tracking_date: date
    day_ends_at: datetime
    month_ends_at: datetime
    year: int
    month: int
    subscription_name: str | None
    daily_message_limit: int | None
    monthly_message_limit: int | None
    daily_messages_sent: int
    daily_messages_received: int
    daily_overage_messages: int
    messages_reserved: int
    live_takeovers_used: int
    actions_created: int
    api_calls_made: int
    test_tokens_used: int
    total_messages_sent: int
    overage_messages: int


async def read_usage(conn: Conn, user_id: UserId) -> Usage | None:
    row = await conn.fetchrow(_SQL["read_usage"], user_id)
    return Usage(**row) if row else None


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageDay:
    tracking_date: date
    daily_messages_sent: int
    daily_messages_received: int
    daily_overage_messages: int
    daily_campaigns_sent: int
    daily_campaign_messages: int
    live_takeovers_used: int
    actions_created: int
    api_calls_made: int
    test_tokens_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMonth:
    year: int
    month: int
    total_messages_sent: int
    total_campaigns_sent: int
    total_orders_created: int
    total_revenue: Decimal
    overage_messages: int
    overage_campaigns: int
    overage_cost: Decimal
    avg_daily_messages: Decimal | None
    avg_conversion_rate: Decimal | None


async def list_days(conn: Conn, user_id: UserId, first: date, last: date) -> list[UsageDay]:
    """Without gaps."""
    return [UsageDay(**row) for row in await conn.fetch(_SQL["list_days"], user_id, first, last)]


async def list_months(conn: Conn, user_id: UserId, limit: int) -> list[UsageMonth]:
    """The newest first."""
    return [UsageMonth(**row) for row in await conn.fetch(_SQL["list_months"], user_id, limit)]
