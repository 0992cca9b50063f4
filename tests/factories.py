"""Rows that are valid by default, made as the owner of the database."""

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from db.ids import ChatbotId, ContactId, ConversationId, MessageId, UserId
from db.pool import Conn

Owner = Conn
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Tenant:
    user_id: UserId
    chatbot_id: ChatbotId
    number: str  # + and digits
    phone_number_id: str


async def make_tenant(
    owner: Owner,
    *,
    daily: int = 100,
    monthly: int = 3_000,
    config: str = "{}",
    phone_number_id: str | None = "",
    timezone: str = "UTC",
) -> Tenant:
    """A user with an active plan and one chatbot; phone_number_id=None leaves it unbound."""
    n = next(_numbers)
    number = f"+1202555{n:04d}"
    pnid = f"4098{n:08d}" if phone_number_id == "" else phone_number_id
    user_id = await owner.fetchval(
        "INSERT INTO users (email, password_hash, timezone) VALUES ($1, '!', $2) RETURNING id",
        f"tenant{n}@example.com",
        timezone,
    )
    await owner.execute(
        "INSERT INTO user_subscriptions (user_id, subscription_name, subscription_config,"
        " daily_message_limit, monthly_message_limit, contract_start_date)"
        " VALUES ($1, 'test', $2::text::jsonb, $3, $4, CURRENT_DATE - 2)",
        user_id,
        config,
        daily,
        monthly,
    )
    chatbot_id = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name, whatsapp_phone_number, phone_number_id)"
        " VALUES ($1, $2, $3, $4) RETURNING id",
        user_id,
        f"Bot {n}",
        number,
        pnid,
    )
    return Tenant(user_id, chatbot_id, number, pnid or "")


async def make_conversation(
    owner: Owner, tenant: Tenant, **columns: Any
) -> tuple[ContactId, ConversationId]:
    """A contact that just wrote, and its conversation with the tenant's chatbot; columns are the
    conversation's."""
    n = next(_numbers)
    thread = f"{tenant.user_id}:thread-{n}"
    contact_id = await owner.fetchval(
        "INSERT INTO contacts (user_id, chatbot_id, phone_number, wa_id, thread_id)"
        " VALUES ($1, $2, $3, $4, $5) RETURNING id",
        tenant.user_id,
        tenant.chatbot_id,
        f"+1303555{n:04d}",
        f"1303555{n:04d}",
        thread,
    )
    conversation_id = await owner.fetchval(
        "INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id)"
        " VALUES ($1, $2, $3, $4) RETURNING id",
        tenant.user_id,
        tenant.chatbot_id,
        contact_id,
        thread,
    )
    columns = {"last_inbound_at": datetime.now(UTC)} | columns
    for column, value in columns.items():
        await owner.execute(
            f"UPDATE conversations SET {column} = $2 WHERE id = $1", conversation_id, value
        )
    return contact_id, conversation_id


async def make_message(
    owner: Owner,
    tenant: Tenant,
    contact_id: ContactId,
    conversation_id: ConversationId,
    *,
    direction: str = "outbound",
    status: str = "queued",
    text: str = "hello",
    wamid: str | None = None,
    input_seq: int | None = None,
) -> MessageId:
    return MessageId(
        await owner.fetchval(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " status, content_text, message_id, input_seq)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING id",
            tenant.user_id,
            tenant.chatbot_id,
            contact_id,
            conversation_id,
            direction,
            status,
            text,
            wamid,
            input_seq,
        )
    )


async def make_conversations(owner: Owner, tenant: Tenant, count: int) -> list[ConversationId]:
    """As make_conversation(), in two statements whatever the number."""
    first = next(_numbers)
    for _ in range(count - 1):
        next(_numbers)
    contacts = await owner.fetch(
        "INSERT INTO contacts (user_id, chatbot_id, phone_number, wa_id, thread_id)"
        " SELECT $1::bigint, $2, '+1303555' || n, '1303555' || n, $1::bigint || ':thread-' || n"
        " FROM generate_series($3::int, $3 + $4 - 1) n RETURNING id, thread_id",
        tenant.user_id,
        tenant.chatbot_id,
        first,
        count,
    )
    rows = await owner.fetch(
        "INSERT INTO conversations (user_id, chatbot_id, contact_id, thread_id)"
        " SELECT $1, $2, * FROM unnest($3::bigint[], $4::text[]) RETURNING id",
        tenant.user_id,
        tenant.chatbot_id,
        [c["id"] for c in contacts],
        [c["thread_id"] for c in contacts],
    )
    return sorted(ConversationId(r["id"]) for r in rows)
