"""Templates of WhatsApp accounts, and when each account is listed at Meta."""

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from db.ids import BEYOND, ChatbotId, ContactId, TemplateId, UserId
from db.pages import PAGE_BYTES, Listed
from db.pool import Conn
from db.sql import columns, load, values

_SQL = load(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """As tenants see it."""

    id: TemplateId
    waba_id: str
    meta_id: str
    name: str
    language: str
    status: str  # Meta's word; only APPROVED may be sent
    category: str
    correct_category: str | None  # what Meta announced that it will be
    quality_score: str
    parameter_format: str  # 'POSITIONAL', 'NAMED'
    components: list[Any]
    rejected_reason: str | None
    rejection_info: dict[str, Any] | None
    message_send_ttl_seconds: int | None
    changed_at: datetime
    synced_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class VersionedTemplate:
    template: Template
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What Meta says of a template."""

    meta_id: str
    name: str
    language: str
    status: str
    category: str
    correct_category: str | None = None
    quality_score: str = "UNKNOWN"
    parameter_format: str = "POSITIONAL"
    components: list[Any]
    rejected_reason: str | None = None
    rejection_info: dict[str, Any] | None = None
    message_send_ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    status_at: datetime | None  # Meta's time of the newest webhook of each
    category_at: datetime | None
    quality_at: datetime | None
    created_at: datetime
    synced_at: datetime | None


@dataclass(frozen=True, slots=True)
class Kept:
    """A row, locked."""

    id: TemplateId
    told: Told
    times: Times


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What webhooks move."""

    status: str
    category: str
    correct_category: str | None
    quality_score: str
    rejected_reason: str | None
    rejection_info: dict[str, Any] | None
    status_at: datetime | None
    category_at: datetime | None
    quality_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing(Moved):
    """Of a row, locked."""

    id: TemplateId
    name: str
    language: str
    synced_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    chatbot_id: ChatbotId
    waba_id: str | None
    access_token: str | None  # encrypted
    asked_at: datetime  # now, by the database's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAccount:
    id: int
    synced_at: datetime | None  # when what is stored of it was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync:
    waba_id: str
    tries: int  # that failed, one after the other


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSync:
    user_id: UserId
    id: int
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    chatbot_id: ChatbotId | None = None
    status: str | None = None
    category: str | None = None
    name: str | None = None


# ---- for the tenant's own people and programs ----------------------------------------------------


async def list_templates(
    conn: Conn, user_id: UserId, wanted: Wanted, after: int | None, limit: int
) -> Listed[Template]:
    """Youngest first."""
    before = BEYOND if after is None else after
    found = (wanted.status, wanted.category, wanted.name, wanted.chatbot_id)
    page = await conn.fetch(_SQL["template_page"], user_id, before, limit, *found, PAGE_BYTES)
    rows = await template_fields(conn, user_id, [row["id"] for row in page])
    return Listed([one.template for one in rows], any(row["more"] for row in page))


async def read_template(
    conn: Conn, user_id: UserId, template_id: TemplateId
) -> VersionedTemplate | None:
    found = await template_fields(conn, user_id, [template_id])
    return found[0] if found else None


async def template_fields(
    conn: Conn, user_id: UserId, ids: Sequence[TemplateId]
) -> list[VersionedTemplate]:
    found = []
    for record in await conn.fetch(_SQL["template_fields"], user_id, ids):
        row = dict(record)
        version = row.pop("version")
        found.append(VersionedTemplate(Template(**row), version))
    return found


async def named_template(
    conn: Conn, user_id: UserId, waba_id: str, name: str, language: str
) -> TemplateId | None:
    found: TemplateId | None = await conn.fetchval(
        _SQL["named_template"], user_id, waba_id, name, language
    )
    return found


async def template_of_chatbot(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, name: str, language: str
) -> TemplateId | None:
    found: TemplateId | None = await conn.fetchval(
        _SQL["template_of_chatbot"], user_id, chatbot_id, name, language
    )
    return found


async def lock_template(conn: Conn, user_id: UserId, template_id: TemplateId) -> int | None:
    """Its version. None: there is none."""
    version: int | None = await conn.fetchval(_SQL["lock_template"], user_id, template_id)
    return version


async def note_edited(
    conn: Conn, user_id: UserId, template_id: TemplateId, components: list[Any], status: str
) -> None:
    await conn.execute(_SQL["note_edited"], user_id, template_id, components, status)


async def delete_template(conn: Conn, user_id: UserId, template_id: TemplateId) -> None:
    await conn.execute(_SQL["delete_template"], user_id, template_id)


# ---- accounts ------------------------------------------------------------------------------------


async def account_of_chatbot(conn: Conn, user_id: UserId, chatbot_id: ChatbotId) -> Account | None:
    row = await conn.fetchrow(_SQL["account_of_chatbot"], user_id, chatbot_id)
    return Account(**row) if row else None


async def chatbots_of_account(
    conn: Conn, user_id: UserId, waba_id: str, limit: int
) -> list[Account]:
    """Those with a token of their own first."""
    rows = await conn.fetch(_SQL["chatbots_of_account"], user_id, waba_id, limit)
    return [Account(**row) for row in rows]


async def drop_account(conn: Conn, user_id: UserId, waba_id: str) -> None:
    """No chatbot has it any more."""
    await conn.execute(_SQL["drop_account"], user_id, waba_id)


# ---- what Meta tells -----------------------------------------------------------------------------


async def lock_named(
    conn: Conn, user_id: UserId, waba_id: str, name: str, language: str
) -> Standing | None:
    row = await conn.fetchrow(_SQL["lock_named"], user_id, waba_id, name, language)
    return Standing(**row) if row else None


async def move_template(conn: Conn, user_id: UserId, template_id: TemplateId, now: Moved) -> None:
    await conn.execute(_SQL["move_template"], user_id, template_id, *values(now))


async def lock_account(conn: Conn, user_id: UserId, waba_id: str) -> ListedAccount | None:
    """None: no chatbot has it any more."""
    row = await conn.fetchrow(_SQL["lock_account"], user_id, waba_id)
    return ListedAccount(**row) if row else None


async def lock_templates(conn: Conn, user_id: UserId, waba_id: str) -> list[Kept]:
    kept = []
    for record in await conn.fetch(_SQL["lock_templates"], user_id, waba_id):
        row = dict(record)
        template_id = row.pop("id")
        times = Times(**{name: row.pop(name) for name in Times.__dataclass_fields__})
        kept.append(Kept(template_id, Told(**row), times))
    return kept


async def add_templates(
    conn: Conn, user_id: UserId, waba_id: str, new: Sequence[Told]
) -> list[TemplateId]:
    if not new:
        return []
    rows = await conn.fetch(_SQL["add_templates"], user_id, waba_id, *_columns(new))
    return [row["id"] for row in rows]


async def change_templates(
    conn: Conn, user_id: UserId, changed: Sequence[tuple[TemplateId, Told]]
) -> None:
    if changed:
        ids, told = [one for one, _ in changed], [one for _, one in changed]
        await conn.execute(_SQL["change_templates"], user_id, ids, *_columns(told))


def _columns(told: Sequence[Told]) -> list[Sequence[Any]]:
    """The components as text: a list of lists would be an array of two dimensions."""
    return columns(
        Told,
        [
            replace(one, components=json.dumps(one.components))  # type: ignore[arg-type]
            for one in told
        ],
    )


async def note_listed(
    conn: Conn, user_id: UserId, waba_id: str, ids: Sequence[TemplateId], at: datetime
) -> None:
    await conn.execute(_SQL["note_listed"], user_id, waba_id, ids, at)


async def note_synced(
    conn: Conn, user_id: UserId, waba_id: str, at: datetime, again: timedelta
) -> None:
    await conn.execute(_SQL["note_synced"], user_id, waba_id, at, again)


# ---- when ----------------------------------------------------------------------------------------


async def claim_template_syncs(conn: Conn, limit: int, lease: timedelta) -> list[DueSync]:
    """Across tenants."""
    rows = await conn.fetch(_SQL["claim_template_syncs"], limit, lease)
    return [DueSync(**row) for row in rows]


async def read_sync(conn: Conn, due: DueSync) -> Sync | None:
    """None: it is somebody else's."""
    row = await conn.fetchrow(_SQL["read_sync"], *astuple(due))
    return Sync(**row) if row else None


async def note_not_synced(conn: Conn, due: DueSync, problem: str, again: timedelta) -> None:
    await conn.execute(_SQL["note_not_synced"], *astuple(due), problem, again)


async def sync_soon(conn: Conn, user_id: UserId, waba_id: str, after: timedelta) -> None:
    await conn.execute(_SQL["sync_soon"], user_id, waba_id, after)


async def sync_problem(conn: Conn, user_id: UserId, waba_id: str) -> str | None:
    problem: str | None = await conn.fetchval(_SQL["sync_problem"], user_id, waba_id)
    return problem


async def forget_templates(conn: Conn, after: timedelta, limit: int) -> int:
    """Across tenants. How many."""
    return int(await conn.fetchval(_SQL["forget_templates"], after, limit))


# ---- sent ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sendable:
    id: TemplateId
    name: str
    language: str
    status: str
    category: str
    parameter_format: str
    components: list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactValues:
    name: str | None
    phone_number: str | None
    custom_fields: dict[str, Any]
    opted_out: bool  # of marketing


async def sendable_template(
    conn: Conn, user_id: UserId, chatbot_id: ChatbotId, template_id: TemplateId
) -> Sendable | None:
    """None: it is not of the chatbot's account."""
    row = await conn.fetchrow(_SQL["sendable_template"], user_id, chatbot_id, template_id)
    return Sendable(**row) if row else None


async def contact_values(
    conn: Conn, user_id: UserId, contact_id: ContactId
) -> ContactValues | None:
    row = await conn.fetchrow(_SQL["contact_values"], user_id, contact_id)
    return ContactValues(**row) if row else None
