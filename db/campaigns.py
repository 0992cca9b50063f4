"""Campaigns and their recipients."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from db.ids import BEYOND, CampaignId, ChatbotId, ContactId, ConversationId, UserId
from db.pages import Listed
from db.pool import Conn, at_commit
from db.sql import columns, load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    id: CampaignId
    name: str
    chatbot_id: ChatbotId | None
    status: str
    target_criteria: dict[str, Any]
    variants: list[dict[str, Any]]
    scheduled_at: datetime | None
    timezone: str | None
    send_window: dict[str, Any] | None
    rate: float | None
    ends_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    held_reason: str | None
    resume_at: datetime | None
    usage_day: date | None
    overage: bool
    created_at: datetime
    updated_at: datetime
    version: int
    fixed_upto: int | None
    full_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCampaign:
    name: str
    chatbot_id: ChatbotId
    status: str
    target_criteria: dict[str, Any]
    variants: list[dict[str, Any]]
    scheduled_at: datetime | None
    timezone: str | None
    send_window: dict[str, Any] | None
    rate: float | None
    ends_at: datetime | None


@dataclass(frozen=True, slots=True)
class Due:
    user_id: UserId
    id: CampaignId


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    active: bool
    number_rate: float
    number_held: bool
    plan: dict[str, Any] | None
    timezone: str
    templates: list[dict[str, Any]]  # id, status, category


@dataclass(frozen=True, slots=True)
class Room:
    outcome: str  # 'granted', 'plan', 'message_limit'
    day: date
    room: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    contact_id: ContactId
    reason: str | None
    variant: int
    params: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    id: int
    contact_id: ContactId | None
    variant: int
    params: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    recipient_id: int
    conversation_id: ConversationId
    metadata: dict[str, Any]
    content_text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    id: int
    contact_id: ContactId | None
    state: str
    reason: str | None
    variant: int
    message_id: int | None
    tries: int
    queued_at: datetime | None
    moved_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    states: dict[str, int]
    replied: int
    replied_likely: int
    ordered: int
    revenue: dict[str, str]
    opted_out: int


async def due_campaigns(conn: Conn, limit: int) -> list[Due]:
    return [Due(**row) for row in await conn.fetch(_SQL["due_campaigns"], limit)]


async def lock_campaign(
    conn: Conn, user_id: UserId, campaign_id: CampaignId, *, wait: bool
) -> Campaign | None:
    """None: there is none, or (without `wait`) somebody has it in hand."""
    query = _SQL["wait_campaign" if wait else "lock_campaign"]
    if await conn.fetchval(query, user_id, campaign_id) is None:
        return None
    return await read_campaign(conn, user_id, campaign_id)


async def read_campaign(conn: Conn, user_id: UserId, campaign_id: CampaignId) -> Campaign | None:
    found = await _fields(conn, user_id, [campaign_id])
    return found[0] if found else None


async def _fields(conn: Conn, user_id: UserId, ids: Sequence[CampaignId]) -> list[Campaign]:
    return [Campaign(**row) for row in await conn.fetch(_SQL["campaign_fields"], user_id, ids)]


async def list_campaigns(
    conn: Conn,
    user_id: UserId,
    wanted: tuple[str | None, ChatbotId | None],
    after: int | None,
    limit: int,
) -> Listed[Campaign]:
    """Youngest first; `wanted`: a status, a chatbot."""
    before = BEYOND if after is None else after
    page = await conn.fetch(_SQL["campaign_page"], user_id, before, limit + 1, *wanted)
    ids = [row["id"] for row in page[:limit]]
    return Listed(await _fields(conn, user_id, ids), len(page) > limit)


async def create_campaign(conn: Conn, user_id: UserId, new: NewCampaign) -> CampaignId:
    return CampaignId(await conn.fetchval(_SQL["create_campaign"], user_id, *values(new)))


async def change_campaign(
    conn: Conn, user_id: UserId, campaign_id: CampaignId, now: NewCampaign
) -> None:
    await conn.execute(_SQL["change_campaign"], user_id, campaign_id, *values(now))


async def delete_campaign(conn: Conn, user_id: UserId, campaign_id: CampaignId) -> None:
    await conn.execute(_SQL["delete_campaign"], user_id, campaign_id)


# ---- its way -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLimit:
    outcome: str  # 'granted', 'no_active_subscription', or the limit that is reached
    allowed: int
    used: int


async def could_start(conn: Conn, user_id: UserId) -> StartLimit:
    row = await conn.fetchrow(_SQL["could_start"], user_id)
    assert row is not None, "the function always returns a row"
    return StartLimit(**row)


async def start_campaign(
    conn: Conn, user_id: UserId, campaign_id: CampaignId, variants: list[dict[str, Any]]
) -> None:
    """Counted with the COMMIT, which fails as a CONFLICT when a limit is reached meanwhile."""
    await conn.execute(_SQL["start_campaign"], user_id, campaign_id, variants)
    at_commit(conn, f"SELECT count_campaign({user_id:d}, {campaign_id:d})")


async def move_campaign(
    conn: Conn,
    user_id: UserId,
    campaign_id: CampaignId,
    status: str,
    held: tuple[str, datetime | None] | None = None,
) -> None:
    """The caller has it locked, and has looked at what it is."""
    reason, until = held or (None, None)
    await conn.execute(_SQL["move_campaign"], user_id, campaign_id, status, reason, until)


async def read_standing(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId | None, template_ids: Sequence[int]
) -> Standing:
    row = await conn.fetchrow(_SQL["standing"], user_id, chatbot_id, template_ids)
    assert row is not None, "whose transaction it is"
    return Standing(**row)


async def read_room(conn: Conn, user_id: UserId, *, lock: bool) -> Room:
    row = await conn.fetchrow(_SQL["room"], user_id, lock)
    assert row is not None, "the function always returns a row"
    return Room(**row)


async def count_outstanding(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> int:
    return int(await conn.fetchval(_SQL["outstanding"], user_id, chatbot_id))


async def fix_recipients(
    conn: Conn, user_id: UserId, campaign_id: CampaignId, rows: Sequence[Fixed], upto: int | None
) -> None:
    """`upto`: the contact up to which all are fixed; None: the last one was."""
    if rows:
        await conn.execute(_SQL["fix_recipients"], user_id, campaign_id, *columns(Fixed, rows))
    await conn.execute(_SQL["fixed_upto"], user_id, campaign_id, upto)


async def count_states(conn: Conn, user_id: UserId, campaign_id: CampaignId) -> dict[str, int]:
    rows = await conn.fetch(_SQL["count_states"], user_id, campaign_id)
    return {row["state"]: row["count"] for row in rows}


async def take_pending(
    conn: Conn, user_id: UserId, campaign: Campaign, limit: int
) -> list[Pending]:
    rows = await conn.fetch(_SQL["take_pending"], user_id, campaign.id, campaign.chatbot_id, limit)
    return [Pending(**row) for row in rows]


async def suppressed(
    conn: Conn,
    user_id: UserId,
    people: Sequence[ContactId],
    chatbot_id: ChatbotId,
    *,
    marketing: bool,
) -> dict[ContactId, str | None]:
    """Why each may not get it any more, or None. They are locked; who is not in it is gone."""
    await conn.fetch(_SQL["lock_people"], user_id, people)
    rows = await conn.fetch(_SQL["suppressed"], user_id, people, marketing, chatbot_id)
    return {row["id"]: row["reason"] for row in rows}


async def talks_of(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, people: Sequence[ContactId]
) -> dict[ContactId, ConversationId]:
    """Locked."""
    rows = await conn.fetch(_SQL["talks_of"], user_id, chatbot_id, people)
    return {row["contact_id"]: row["id"] for row in rows}


async def settle_pending(
    conn: Conn, user_id: UserId, ids: Sequence[int], state: str, reasons: Sequence[str]
) -> None:
    if ids:
        await conn.execute(_SQL["skip"], user_id, ids, [state] * len(ids), reasons)


async def queue_messages(
    conn: Conn, user_id: UserId, campaign_id: CampaignId, rows: Sequence[Outgoing], day: date
) -> None:
    """The counters are locked by read_room(), and it had room for them."""
    await conn.execute(_SQL["queue"], user_id, campaign_id, *columns(Outgoing, rows), day)
    at_commit(conn, f"SELECT count_campaign_messages({user_id:d}, '{day}', {len(rows):d})")


async def spend_pace(
    conn: Conn, user_id: UserId, campaign_id: CampaignId, full_at: datetime
) -> None:
    await conn.execute(_SQL["spend_pace"], user_id, campaign_id, full_at)


async def end_pending(
    conn: Conn, user_id: UserId, campaign_id: CampaignId, end: tuple[str, str], limit: int
) -> bool:
    """A piece of them: `end` is state and reason. Whether there are more."""
    done = await conn.execute(_SQL["end_pending"], user_id, campaign_id, *end, limit)
    return int(done.split()[-1]) == limit


async def put_up_again(conn: Conn, user_id: UserId, campaign_id: CampaignId) -> int:
    done = await conn.execute(_SQL["put_up_again"], user_id, campaign_id)
    return int(done.split()[-1])


async def read_counts(conn: Conn, user_id: UserId, campaign_id: CampaignId) -> Counts:
    row = await conn.fetchrow(_SQL["figures"], user_id, campaign_id)
    assert row is not None, "aggregates"
    return Counts(**row)


async def list_recipients(
    conn: Conn,
    user_id: UserId,
    campaign_id: CampaignId,
    wanted: tuple[str | None, str | None],
    page: tuple[int, int],
) -> Listed[Recipient]:
    """Oldest first; `wanted`: state, reason; `page`: after, limit."""
    after, limit = page
    rows = await conn.fetch(_SQL["recipient_page"], user_id, campaign_id, after, limit + 1, *wanted)
    return Listed([Recipient(**row) for row in rows[:limit]], len(rows) > limit)
