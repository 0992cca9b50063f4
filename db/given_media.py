"""Files that a tenant gave, to be sent; and under which ids Meta has them (migrations/0110)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.ids import BEYOND, ChatbotId, ContactId, MessageId, UserId
from db.pages import Listed, listed
from db.pool import Conn
from db.sql import load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFile:
    kind: str
    file: str  # in MEDIA_STORE
    content_type: str
    bytes: int
    name: str | None
    title: str | None
    chatbot_id: ChatbotId | None
    contact_id: ContactId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What there is of a tenant's, and what came today."""

    files: int
    bytes: int
    today: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenMedium:
    """As the API gives it."""

    id: int
    kind: str
    content_type: str
    bytes: int
    name: str | None
    title: str | None
    chatbot_id: ChatbotId | None
    contact_id: ContactId | None
    content_url: str
    created_at: datetime


async def note_unfinished(conn: Conn, user_id: UserId, file: str, due_after: timedelta) -> None:
    """Before the file is written: whoever dies at it leaves nothing behind."""
    await conn.execute(_SQL["note_unfinished"], user_id, file, due_after)


async def note_finished(conn: Conn, user_id: UserId, file: str, slack: timedelta) -> bool:
    """In the transaction that gives it a row. False: it may be removed at any moment."""
    found = await conn.fetchval(_SQL["note_finished"], user_id, file, slack)
    return found is not None


async def drop_unfinished(conn: Conn, user_id: UserId, file: str) -> None:
    """It is to go now."""
    await conn.execute(_SQL["drop_unfinished"], user_id, file)


async def hasten_unfinished(conn: Conn, user_id: UserId) -> None:
    await conn.execute(_SQL["hasten_unfinished"], user_id)


async def held_by(conn: Conn, user_id: UserId) -> Held:
    row = await conn.fetchrow(_SQL["held_by"], user_id)
    assert row is not None, "of aggregates"
    return Held(**row)


async def give_file(conn: Conn, user_id: UserId, new: NewFile) -> GivenMedium | None:
    """None: there is no such chatbot or contact."""
    row = await conn.fetchrow(_SQL["give_file"], user_id, *values(new))
    return GivenMedium(**row) if row else None


async def find_given(conn: Conn, user_id: UserId, media_id: int) -> GivenMedium | None:
    row = await conn.fetchrow(_SQL["find_given"], user_id, media_id)
    return GivenMedium(**row) if row else None


async def list_given(
    conn: Conn, user_id: UserId, after: int | None, limit: int, chatbot_id: ChatbotId | None
) -> Listed[GivenMedium]:
    before = BEYOND if after is None else after
    rows = await conn.fetch(_SQL["list_given"], user_id, before, limit, chatbot_id)
    return listed(GivenMedium, rows)


async def delete_given(conn: Conn, user_id: UserId, media_id: int) -> bool:
    found = await conn.fetchval(_SQL["delete_given"], user_id, media_id)
    return found is not None


# ---- under which id Meta has it ------------------------------------------------------------------


async def handle_of(conn: Conn, user_id: UserId, media_id: int, phone_number_id: str) -> str | None:
    handle: str | None = await conn.fetchval(_SQL["handle_of"], user_id, media_id, phone_number_id)
    return handle


async def keep_handle(
    conn: Conn,
    user_id: UserId,
    media_id: int,
    phone_number_id: str,
    handle: str,
    lives: timedelta,
) -> None:
    """Nothing happens where the file was deleted meanwhile."""
    args = (user_id, media_id, phone_number_id, handle, lives)
    await conn.execute(_SQL["keep_handle"], *args)


async def forget_handles(conn: Conn, user_id: UserId, ids: Sequence[MessageId]) -> None:
    """Of what these messages bring: Meta does not know them any more."""
    await conn.execute(_SQL["forget_handles"], user_id, ids)
