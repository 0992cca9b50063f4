"""Media that customers send: rows to be fetched, and files to be removed (migrations/0098)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId, Wamid, WorkerId
from db.pool import Conn, at_commit
from db.sql import columns, load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMedium:
    """What a message brought."""

    chatbot_id: ChatbotId
    contact_id: ContactId
    conversation_id: ConversationId
    message_id: MessageId
    kind: str
    handle: str  # Meta's id
    named_hash: str | None
    sent_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class MediumClaim:
    user_id: UserId
    id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToFetch:
    chatbot_id: ChatbotId
    conversation_id: ConversationId
    kind: str
    handle: str
    named_hash: str | None
    sent_at: datetime
    attempts: int  # that died with their worker
    failures: int
    phone_number_id: str | None
    access_token: str | None  # encrypted


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    message_id: MessageId
    usage_day: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A conversation, while it is locked."""

    input_seq: int
    answered_seq: int
    running: bool  # a turn is


@dataclass(frozen=True, slots=True, kw_only=True)
class ToRead:
    chatbot_id: ChatbotId
    conversation_id: ConversationId
    message_id: MessageId
    content_type: str | None
    bytes: int | None
    file: str | None
    sent_at: datetime
    attempts: int
    failures: int
    language: str | None  # the contact's, where it is known


@dataclass(frozen=True, slots=True, kw_only=True)
class HeardMessage:
    id: MessageId
    input_seq: int | None
    content_text: str | None
    sent_at: datetime
    reason: str | None
    was_answered: bool  # by the bot
    by_person: bool  # somebody of the business has written since
    is_awaited: bool  # a turn may wait for what it brings


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcribed:
    """What is paid for."""

    seconds: Decimal
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Medium:
    """As the API gives it."""

    id: int
    kind: str
    status: str
    content_type: str | None
    bytes: int | None
    file: str | None
    name: str | None  # of a file that the tenant gave


@dataclass(frozen=True, slots=True, kw_only=True)
class OldFile:
    id: int
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DueFile:
    user_id: UserId
    id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    limit: int
    tenant_max: int  # of one tenant, in all workers
    term: timedelta


async def add_media(conn: Conn, user_id: UserId, media: Sequence[NewMedium]) -> None:
    await conn.execute(_SQL["add_media"], user_id, *columns(NewMedium, media))


async def claim_media(
    conn: Conn, worker_id: WorkerId, status: str, held: Sequence[int], taking: Taking
) -> list[MediumClaim]:
    """Across tenants."""
    rows = await conn.fetch(_SQL["claim_media"], worker_id, status, held, *values(taking))
    return [MediumClaim(**row) for row in rows]


async def admit_media(
    conn: Conn, user_id: UserId, medium_id: int, epoch: int, contact_max: int, tenant_max: int
) -> str:
    """'admitted', 'contact_limit', 'tenant_limit' or 'lost'."""
    args = (user_id, medium_id, epoch, contact_max, tenant_max)
    return str(await conn.fetchval(_SQL["admit_media"], *args))


async def begin_fetch(conn: Conn, claim: MediumClaim, file: str) -> ToFetch | None:
    """None: it is somebody else's, or gone."""
    row = await conn.fetchrow(_SQL["begin_fetch"], claim.user_id, claim.id, claim.epoch, file)
    return ToFetch(**row) if row else None


async def conversation_of(conn: Conn, user_id: UserId, medium_id: int) -> ConversationId | None:
    found: ConversationId | None = await conn.fetchval(_SQL["conversation_of"], user_id, medium_id)
    return found


async def hold_conversation(
    conn: Conn, user_id: UserId, conversation_id: ConversationId
) -> Held | None:
    """None: it is gone."""
    row = await conn.fetchrow(_SQL["hold_conversation"], user_id, conversation_id)
    return Held(**row) if row else None


async def wake_turn(conn: Conn, user_id: UserId, conversation_id: ConversationId) -> None:
    await conn.execute(_SQL["wake_turn"], user_id, conversation_id)


async def store_medium(
    conn: Conn, claim: MediumClaim, content_type: str, size: int, to_be_read: bool
) -> Stored | None:
    """None: it is somebody else's, or gone."""
    args = (claim.user_id, claim.id, claim.epoch, content_type, size, to_be_read)
    row = await conn.fetchrow(_SQL["store_medium"], *args)
    return Stored(**row) if row else None


async def show_medium(conn: Conn, user_id: UserId, message_id: MessageId, medium_id: int) -> None:
    await conn.execute(_SQL["show_medium"], user_id, message_id, medium_id)


def meter_media(conn: Conn, user_id: UserId, day: date, size: int) -> None:
    at_commit(conn, f"SELECT meter_media({user_id:d}, '{day}', {size:d})")


async def refuse_medium(conn: Conn, claim: MediumClaim, reason: str) -> MessageId | None:
    """For good. None: it is somebody else's, or gone."""
    args = (claim.user_id, claim.id, claim.epoch, reason)
    message_id: MessageId | None = await conn.fetchval(_SQL["refuse_medium"], *args)
    return message_id


async def put_off_medium(
    conn: Conn, claim: MediumClaim, reason: str, wait: timedelta
) -> int | None:
    args = (claim.user_id, claim.id, claim.epoch, reason, wait)
    medium_id: int | None = await conn.fetchval(_SQL["put_off_medium"], *args)
    return medium_id


async def begin_reading(conn: Conn, claim: MediumClaim) -> ToRead | None:
    """None: it is somebody else's, or gone."""
    row = await conn.fetchrow(_SQL["begin_reading"], claim.user_id, claim.id, claim.epoch)
    return ToRead(**row) if row else None


async def end_reading(
    conn: Conn, claim: MediumClaim, heard: str, seconds: Decimal | None, text: str | None
) -> MessageId | None:
    """None: it is somebody else's, or gone."""
    args = (claim.user_id, claim.id, claim.epoch, heard, seconds, text)
    message_id: MessageId | None = await conn.fetchval(_SQL["end_reading"], *args)
    return message_id


async def heard_message(conn: Conn, user_id: UserId, message_id: MessageId) -> HeardMessage | None:
    row = await conn.fetchrow(_SQL["heard_message"], user_id, message_id)
    return HeardMessage(**row) if row else None


async def write_heard(
    conn: Conn, user_id: UserId, message_id: MessageId, content_text: str, readable: bool
) -> None:
    await conn.execute(_SQL["write_heard"], user_id, message_id, content_text, readable)


async def ask_again(conn: Conn, user_id: UserId, message_id: MessageId, input_seq: int) -> None:
    await conn.execute(_SQL["ask_again"], user_id, message_id, input_seq)


async def raise_input(
    conn: Conn, user_id: UserId, conversation_id: ConversationId, input_seq: int
) -> None:
    """Its newest, and now."""
    await conn.execute(_SQL["raise_input"], user_id, conversation_id, input_seq)


def count_transcription(
    conn: Conn, claim: MediumClaim, chatbot_id: ChatbotId, model: str, spent: Transcribed
) -> None:
    """With the COMMIT. A name goes in as hexadecimal digits: what travels with a COMMIT has no
    parameters and no text."""
    name = f"convert_from(decode('{model.encode().hex()}', 'hex'), 'UTF8')"
    at_commit(
        conn,
        f"SELECT count_transcription({claim.user_id:d}, {chatbot_id:d}, {claim.id:d}, {name},"
        f" {spent.seconds:.1f}, {spent.input_tokens:d}, {spent.output_tokens:d})",
    )


async def give_back_medium(conn: Conn, claim: MediumClaim, wait: timedelta) -> None:
    await conn.execute(_SQL["give_back_medium"], claim.user_id, claim.id, claim.epoch, wait)


async def blame_medium(conn: Conn, claim: MediumClaim, wait: timedelta) -> None:
    """As if it had taken its worker down."""
    await conn.execute(_SQL["blame_medium"], claim.user_id, claim.id, claim.epoch, wait)


async def remove_media_of(conn: Conn, user_id: UserId, chatbot_id: ChatbotId, wamid: Wamid) -> None:
    """Of a message that was taken back, whose conversation the caller holds."""
    await conn.execute(_SQL["remove_media_of"], user_id, chatbot_id, wamid)


async def find_medium(conn: Conn, user_id: UserId, medium_id: int) -> Medium | None:
    row = await conn.fetchrow(_SQL["find_medium"], user_id, medium_id)
    return Medium(**row) if row else None


async def media_of_contact(
    conn: Conn, user_id: UserId, contact_id: ContactId, after: int, limit: int
) -> list[Medium]:
    """Whose files are there."""
    rows = await conn.fetch(_SQL["media_of_contact"], user_id, contact_id, after, limit)
    return [Medium(**row) for row in rows]


# ---- files that no row names any more ------------------------------------------------------------


async def due_files(conn: Conn, limit: int) -> list[DueFile]:
    """Across tenants."""
    return [DueFile(**row) for row in await conn.fetch(_SQL["due_files"], limit)]


async def file_to_remove(conn: Conn, due: DueFile) -> str | None:
    file: str | None = await conn.fetchval(_SQL["file_to_remove"], due.user_id, due.id)
    return file


async def files_of_tenant(conn: Conn, user_id: UserId, limit: int) -> list[OldFile]:
    rows = await conn.fetch(_SQL["files_of_tenant"], user_id, limit)
    return [OldFile(**row) for row in rows]


async def note_removed(
    conn: Conn, user_id: UserId, ids: Sequence[int], once_more_after: timedelta
) -> None:
    await conn.execute(_SQL["note_removed"], user_id, ids, once_more_after)
