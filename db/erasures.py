"""Erasures: of one contact, or of a tenant (migrations/0041_erasure.sql)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from db.ids import ContactId, ConversationId, MessageId, UserId
from db.pool import Conn
from db.sql import load

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasable:
    """A contact that is locked, by all that it is known by."""

    phone_number: str | None
    wa_id: str | None
    bsuid: str | None
    stopped_at: datetime | None  # it wants no marketing since then


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    """A message that will not leave: the day of its unit, if it has one."""

    usage_day: date | None
    overage: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DueErasure:
    user_id: UserId
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    contact_id: ContactId | None  # None: the tenant
    phase: str
    created_at: datetime
    numbers: list[str]
    bsuids: list[str]
    phone_number_ids: list[str]
    stopped_at: datetime | None
    parked_upto: int
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedOne:
    """Who was erased when, by a mark, or by name while it is being done."""

    named: str | None
    mark: bytes | None
    erased_at: datetime
    stopped_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    phone_number_id: str | None
    number: str | None


@dataclass(frozen=True, slots=True)
class Scan:
    """Whose traces: a person's in what came for these numbers, or all of it (no needles)."""

    phone_number_ids: Sequence[str]
    numbers: Sequence[str]
    needles: Sequence[str] | None
    before: datetime


# ---- statements that differ in their text only ---------------------------------------------------


def _of_contact(query: str) -> Callable[[Conn, UserId, ContactId], Awaitable[None]]:
    async def run(conn: Conn, user_id: UserId, contact_id: ContactId) -> None:
        await conn.execute(_SQL[query], user_id, contact_id)

    return run


def _of_tenant(query: str) -> Callable[[Conn, UserId], Awaitable[None]]:
    async def run(conn: Conn, user_id: UserId) -> None:
        await conn.execute(_SQL[query], user_id)

    return run


def _of_traces(query: str) -> Callable[[Conn, UserId, Sequence[str], datetime], Awaitable[None]]:
    async def run(conn: Conn, user_id: UserId, needles: Sequence[str], before: datetime) -> None:
        await conn.execute(_SQL[query], user_id, needles, before)

    return run


erase_actions = _of_contact("erase_actions")
erase_orders = _of_contact("erase_orders")
erase_recipients = _of_contact("erase_recipients")
erase_quotes = _of_contact("erase_quotes")
erase_tool_calls = _of_contact("erase_tool_calls")
erase_instructions = _of_contact("erase_instructions")
erase_facts = _of_contact("erase_facts")
erase_unanswered = _of_contact("erase_unanswered")
forget_answers = _of_contact("forget_answers")
hide_contact = _of_contact("hide_contact")
drop_contact = _of_contact("drop_contact")
silence_tenant = _of_tenant("silence_tenant")
forget_bound_numbers = _of_tenant("forget_bound_numbers")
let_go_of_numbers = _of_tenant("let_go_of_numbers")
erase_keys = _of_tenant("erase_keys")
erase_webhooks = _of_tenant("erase_webhooks")
erase_plans = _of_tenant("erase_plans")
hide_user = _of_tenant("hide_user")
erase_stuck = _of_traces("erase_stuck")
erase_orphans = _of_traces("erase_orphans")
erase_account_events = _of_traces("erase_account_events")

# ---- a contact ----------------------------------------------------------------------------------


async def conversations_of_contact(
    conn: Conn, user_id: UserId, contact_id: ContactId
) -> list[ConversationId]:
    rows = await conn.fetch(_SQL["conversations_of_contact"], user_id, contact_id)
    return [row["id"] for row in rows]


async def lock_queued(
    conn: Conn, user_id: UserId, conversations: Sequence[ConversationId]
) -> list[MessageId]:
    rows = await conn.fetch(_SQL["lock_queued"], user_id, conversations)
    return [row["id"] for row in rows]


async def lock_erasable(conn: Conn, user_id: UserId, contact_id: ContactId) -> Erasable | None:
    """With what waits to be sent to it, which is locked first. None: there is no such contact."""
    await lock_queued(conn, user_id, await conversations_of_contact(conn, user_id, contact_id))
    row = await conn.fetchrow(_SQL["lock_erasable"], user_id, contact_id)
    return Erasable(**row) if row else None


async def silence_conversations(
    conn: Conn, user_id: UserId, contact_id: ContactId
) -> list[ConversationId]:
    rows = await conn.fetch(_SQL["silence_conversations"], user_id, contact_id)
    return [row["id"] for row in rows]


async def cancel_queued(
    conn: Conn, user_id: UserId, conversations: Sequence[ConversationId]
) -> list[Cancelled]:
    rows = await conn.fetch(_SQL["cancel_queued"], user_id, conversations)
    return [Cancelled(**row) for row in rows]


async def erase_shown(conn: Conn, user_id: UserId, contact_id: ContactId) -> None:
    """What is shown by itself, without its contact or conversation."""
    for erase in (
        *(erase_tool_calls, erase_actions, erase_orders, erase_quotes, erase_recipients),
        erase_instructions,
        *(erase_facts, erase_unanswered, forget_answers),
    ):
        await erase(conn, user_id, contact_id)


async def begin_contact(
    conn: Conn,
    user_id: UserId,
    contact_id: ContactId,
    numbers: Sequence[str],
    bsuids: Sequence[str],
    stopped_at: datetime | None,
) -> int:
    args = (user_id, contact_id, numbers, bsuids, stopped_at)
    erasure_id: int = await conn.fetchval(_SQL["begin_contact"], *args)
    await hide_contact(conn, user_id, contact_id)
    return erasure_id


async def owner_of_contact(conn: Conn, contact_id: ContactId) -> UserId | None:
    owner: UserId | None = await conn.fetchval(_SQL["owner_of_contact"], contact_id)
    return owner


# ---- a tenant, as the owner ---------------------------------------------------------------------


async def lock_tenant(conn: Conn, user_id: UserId) -> str | None:
    """Its e-mail. None: there is no such tenant."""
    email: str | None = await conn.fetchval(_SQL["lock_tenant"], user_id)
    return email


async def begin_tenant(
    conn: Conn, user_id: UserId, numbers: Sequence[str], phone_number_ids: Sequence[str]
) -> int:
    erasure_id: int = await conn.fetchval(_SQL["begin_tenant"], user_id, numbers, phone_number_ids)
    return erasure_id


async def hide_tenant(conn: Conn, user_id: UserId, marks: Sequence[bytes]) -> None:
    await remember_numbers(conn, user_id, marks)
    for hide in (
        *(silence_tenant, forget_bound_numbers, let_go_of_numbers),
        *(erase_keys, erase_webhooks, erase_plans, hide_user),
    ):
        await hide(conn, user_id)


async def remember_numbers(conn: Conn, user_id: UserId, marks: Sequence[bytes]) -> None:
    await conn.execute(_SQL["remember_numbers"], user_id, marks)


async def forget_erased_numbers(conn: Conn, marks: Sequence[bytes]) -> None:
    """Across tenants."""
    await conn.execute(_SQL["forget_erased_numbers"], marks)


# ---- step by step -------------------------------------------------------------------------------


async def due_erasures(conn: Conn, limit: int) -> list[DueErasure]:
    """Across tenants."""
    return [DueErasure(**row) for row in await conn.fetch(_SQL["due_erasures"], limit)]


async def lock_erasure(conn: Conn, user_id: UserId, erasure_id: int) -> Erasure | None:
    row = await conn.fetchrow(_SQL["lock_erasure"], user_id, erasure_id)
    return Erasure(**row) if row else None


async def mark_people(
    conn: Conn,
    user_id: UserId,
    marks: Sequence[bytes],
    key_name: str,
    erased_at: datetime,
    stopped_at: datetime | None,
) -> None:
    args = (user_id, marks, key_name, erased_at, stopped_at)
    await conn.execute(_SQL["mark_people"], *args)


async def move_erasure(
    conn: Conn, user_id: UserId, erasure_id: int, phase: str, due_at: datetime
) -> None:
    await conn.execute(_SQL["move_erasure"], user_id, erasure_id, phase, due_at)


async def erase_rows(conn: Conn, user_id: UserId, contact_id: ContactId | None, limit: int) -> int:
    """How many went; 0: there are no more."""
    if contact_id is None:
        return await erase_rows_of_tenant(conn, user_id, limit)
    return await erase_rows_of_contact(conn, user_id, contact_id, limit)


async def erase_rows_of_tenant(conn: Conn, user_id: UserId, limit: int) -> int:
    return int(await conn.fetchval(_SQL["erase_rows_of_tenant"], user_id, limit))


async def erase_rows_of_contact(
    conn: Conn, user_id: UserId, contact_id: ContactId, limit: int
) -> int:
    args = (user_id, contact_id, limit)
    return int(await conn.fetchval(_SQL["erase_rows_of_contact"], *args))


async def numbers_of_tenant(conn: Conn, user_id: UserId) -> list[Number]:
    return [Number(**row) for row in await conn.fetch(_SQL["numbers_of_tenant"], user_id)]


async def erase_parked(conn: Conn, scan: Scan, after: int, limit: int) -> int:
    """The last that was looked at; 0: there are no more."""
    last: int = await conn.fetchval(
        _SQL["erase_parked"],
        scan.phone_number_ids,
        scan.numbers,
        scan.needles,
        scan.before,
        after,
        limit,
    )
    return last


async def note_parked(conn: Conn, user_id: UserId, erasure_id: int, upto: int) -> None:
    await conn.execute(_SQL["note_parked"], user_id, erasure_id, upto)


async def erase_traces(
    conn: Conn, user_id: UserId, needles: Sequence[str], before: datetime
) -> None:
    """What was kept as it came."""
    for erase in (erase_stuck, erase_orphans, erase_account_events):
        await erase(conn, user_id, needles, before)


async def end_erasure(conn: Conn, user_id: UserId, erasure_id: int) -> None:
    await conn.execute(_SQL["end_erasure"], user_id, erasure_id)


# ---- what comes again ---------------------------------------------------------------------------


async def erased_among(
    conn: Conn,
    user_id: UserId,
    numbers: Sequence[str],
    bsuids: Sequence[str],
    marks: Sequence[bytes],
) -> list[ErasedOne]:
    rows = await conn.fetch(_SQL["erased_among"], user_id, numbers, bsuids, marks)
    return [ErasedOne(**row) for row in rows]


async def find_erased_numbers(conn: Conn, marks: Sequence[bytes]) -> list[int]:
    """Across tenants: places of the marks, from 1."""
    return [row["place"] for row in await conn.fetch(_SQL["find_erased_numbers"], marks)]
