"""Events: written in the transaction of what they tell, once, for those who want them."""

import dataclasses
import json
from datetime import UTC, date, datetime
from typing import Any, cast

import jsonschema
import pytest

from db.deliveries import FIRST_KEY
from db.ids import ActionId, ContactId, MessageId, Wamid
from db.messages import RAW
from db.pool import Conn, Pool, tenant
from db.sends import mark_accepted
from db.telling import tell_contacts, tell_messages
from handlers.deliveries import catalogue
from handlers.deliveries.catalogue import CATALOGUE
from handlers.deliveries.described import described
from handlers.deliveries.event import TenantEvent
from handlers.deliveries.outbox import tell
from tests.factories import Tenant, make_conversation, make_message, make_tenant

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)


async def hook(owner: Conn, user: Tenant, *events: str, **columns: Any) -> int:
    row_id: int = await owner.fetchval(
        "INSERT INTO webhooks (user_id, url, events, chatbot_id)"
        " VALUES ($1, 'https://x.example', $2::text::jsonb, $3) RETURNING id",
        user.user_id,
        json.dumps(events),
        columns.get("chatbot_id"),
    )
    return row_id


async def told(owner: Conn, webhook_id: int) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT e.body FROM webhook_deliveries d"
        " JOIN webhook_events e ON e.user_id = d.user_id AND e.id = d.event_id"
        " WHERE d.webhook_id = $1 ORDER BY d.event_id",
        webhook_id,
    )
    return [json.loads(row["body"]) for row in rows]


async def test_who_wants_it_is_told(owner: Conn, pool: Pool) -> None:
    user, other = await make_tenant(owner), await make_tenant(owner)
    hooks = {
        "all": await hook(owner, user, "*"),
        "family": await hook(owner, user, "bot.*"),
        "name": await hook(owner, user, "bot.recovered"),
        "its chatbot": await hook(owner, user, "*", chatbot_id=user.chatbot_id),
        "another family": await hook(owner, user, "message.*", "sending.*"),
        "a prefix": await hook(owner, user, "bot.recover"),
        "another tenant's": await hook(owner, other, "*"),
    }
    second: int = await owner.fetchval(
        "INSERT INTO chatbots (user_id, name) VALUES ($1, 'second') RETURNING id", user.user_id
    )
    hooks["another chatbot's"] = await hook(owner, user, "*", chatbot_id=second)
    async with tenant(pool, user.user_id) as conn:
        await tell(conn, user.user_id, catalogue.BotRecovered(chatbot_id=user.chatbot_id))
    heard = {name for name, row_id in hooks.items() if await told(owner, row_id)}
    assert heard == {"all", "family", "name", "its chatbot"}
    assert await owner.fetchval("SELECT count(*) FROM webhook_events") == 1, "the bytes once"


async def test_what_is_undone_is_told_to_nobody(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    await hook(owner, user, "*")

    async def dies() -> None:
        async with tenant(pool, user.user_id) as conn:
            await tell(conn, user.user_id, catalogue.BotRecovered(chatbot_id=user.chatbot_id))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await dies()
    for table in ("analytics_events", "webhook_events", "webhook_deliveries"):
        assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_nobody_who_wants_it_and_only_what_is_kept_is_there(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    await hook(owner, user, "order.*")
    contact_id, conversation_id = await make_conversation(owner, user)
    message = await make_message(owner, user, contact_id, conversation_id)
    async with tenant(pool, user.user_id) as conn:
        await tell(conn, user.user_id, catalogue.BotRecovered(chatbot_id=user.chatbot_id))
        await tell_messages(conn, user.user_id, ["message.sent"], [message])
        await tell_contacts(conn, user.user_id, "contact.created", [contact_id])
    assert await owner.fetchval("SELECT count(*) FROM webhook_events") == 0
    assert await owner.fetchval("SELECT count(*) FROM analytics_events") == 1


async def test_what_webhooks_want_is_noted_at_their_tenant(owner: Conn) -> None:
    user = await make_tenant(owner)

    async def noted() -> set[str]:
        found = await owner.fetchval("SELECT told FROM users WHERE id = $1", user.user_id)
        return set(found)

    assert await noted() == set()
    first = await hook(owner, user, "message.received", "action.*")
    assert await noted() == {"message.received"}
    second = await hook(owner, user, "contact.*")
    assert await noted() == {"message.received", "contact.created", "contact.updated"}
    await owner.execute("UPDATE webhooks SET events = '[\"*\"]' WHERE id = $1", first)
    assert len(await noted()) == 6
    await owner.execute("DELETE FROM webhooks WHERE id = $1", first)
    assert await noted() == {"contact.created", "contact.updated"}
    await owner.execute("DELETE FROM webhooks WHERE id = $1", second)
    assert await noted() == set()


async def test_an_acceptance_is_told_once(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    await hook(owner, user, "message.sent")
    contact_id, conversation_id = await make_conversation(owner, user)
    message = await make_message(owner, user, contact_id, conversation_id, status="sending")
    found = []
    for _ in range(2):
        async with tenant(pool, user.user_id) as conn:
            found.append(await mark_accepted(conn, user.user_id, message, Wamid("w.1")))
    assert [one is not None and one.told for one in found] == [True, False]


NUMBERS = ("value", "used", "days_left")


async def event_of(
    owner: Conn, user: Tenant, kind: type[TenantEvent]
) -> tuple[TenantEvent, int, int]:
    """One of the kind, about rows that there are; and its contact and message."""
    contact_id, conversation_id = await make_conversation(owner, user)
    message_id = await make_message(owner, user, contact_id, conversation_id)
    action_id = await owner.fetchval(
        "INSERT INTO actions (user_id, chatbot_id, contact_id, request_type, request_details)"
        " VALUES ($1, $2, $3, 'refund', 'four dollars') RETURNING id",
        user.user_id,
        user.chatbot_id,
        contact_id,
    )
    given: dict[str, Any] = {
        "message_id": message_id,
        "conversation_id": conversation_id,
        "action_id": ActionId(action_id),
        "until": AT,
        "since": AT,
        "failing_since": AT,
        "day": date(2026, 3, 2),
        "contract_end_date": date(2026, 3, 2),
        "total_amount": None,
        "by": "human",
        "reason": "gone",
        "status": "pending",
        "erased": ContactId(contact_id),
    }
    fields = {
        name: given.get(name, 7 if name.endswith("_id") or name in NUMBERS else "x")
        for name in (field.name for field in dataclasses.fields(kind))
        if name not in ("chatbot_id", "contact_id")
    }
    if "auto_approved_by" in fields:
        fields["auto_approved_by"] = None
    event = cast("Any", kind)(chatbot_id=user.chatbot_id, contact_id=contact_id, **fields)
    return event, contact_id, message_id


@pytest.mark.parametrize("name", CATALOGUE)
async def test_what_is_sent_is_as_its_schema_says(owner: Conn, pool: Pool, name: str) -> None:
    user = await make_tenant(owner)
    webhook_id = await hook(owner, user, "*")
    kind = CATALOGUE[name]
    event, contact_id, message_id = await event_of(owner, user, kind)
    async with tenant(pool, user.user_id) as conn:
        if name.startswith("message.") and not kind.KEPT:
            await tell_messages(conn, user.user_id, [name], [MessageId(message_id)])
        elif name.startswith("contact.") and not kind.KEPT:
            await tell_contacts(conn, user.user_id, name, [ContactId(contact_id)])
        else:  # ping as well: what it says is what its type says
            await tell(conn, user.user_id, event)
    (body,) = await told(owner, webhook_id)
    (one,) = [one for one in described() if one.type == name]
    validator = jsonschema.Draft202012Validator(
        one.schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    validator.validate(body)
    validator.validate(one.sample)
    known = one.schema["properties"]["data"]["properties"]
    assert body["data"].keys() <= known.keys()
    assert known.keys() - body["data"].keys() <= {"chatbot_id", "contact_id"}
    assert one.sample["data"].keys() <= known.keys()


async def test_the_first_key_is_before_all(owner: Conn) -> None:
    assert await owner.fetchval("SELECT $1::bigint", FIRST_KEY) == FIRST_KEY


async def test_metadata_is_told_as_the_api_shows_it(owner: Conn, pool: Pool) -> None:
    user = await make_tenant(owner)
    webhook_id = await hook(owner, user, "message.sent")
    message_id = await make_message(owner, user, *await make_conversation(owner, user))
    await owner.execute(
        "UPDATE messages SET metadata = $2::text::jsonb WHERE id = $1",
        message_id,
        json.dumps(dict.fromkeys([*RAW, "kind"], "x")),
    )
    async with tenant(pool, user.user_id) as conn:
        await tell_messages(conn, user.user_id, ["message.sent"], [message_id])
    (body,) = await told(owner, webhook_id)
    assert body["data"]["metadata"] == {"kind": "x"}
