"""Webhooks about templates move their rows: newer ones only, and of every tenant on the account."""

import itertools
import json
from typing import Any

import pytest

from db.pool import Conn, Pool
from handlers.ingest.envelope import Envelope, encode
from handlers.ingest.others import take_others
from handlers.whatsapp.cloud_api.wire import split
from tests.factories import Tenant, make_tenant
from tests.recording import TRACE

WABA = "330021987654321"
AT = 1_795_338_000
_meta = itertools.count(1)


@pytest.fixture
async def ours(owner: Conn) -> Tenant:
    return await on_account(owner)


async def on_account(owner: Conn) -> Tenant:
    made = await make_tenant(owner)
    await owner.execute("UPDATE chatbots SET waba_id = $2 WHERE id = $1", made.chatbot_id, WABA)
    await owner.execute(
        "INSERT INTO message_templates"
        " (user_id, waba_id, meta_id, name, language, status, category)"
        " VALUES ($1, $2, $3, 'order_ready', 'en_US', 'PENDING', 'UTILITY')",
        made.user_id,
        WABA,
        f"m{next(_meta)}",
    )
    return made


def told(field: str, at: int, value: dict[str, Any]) -> bytes:
    of = {"message_template_name": "order_ready", "message_template_language": "en-US"}
    entry = {"id": WABA, "time": at, "changes": [{"value": of | value, "field": field}]}
    payload = {"object": "whatsapp_business_account", "entry": [entry]}
    return encode(Envelope(TRACE, "2026-11-22T10:00:00+00:00", tuple(split(payload))))


def status(event: str, at: int = AT, **more: Any) -> bytes:
    return told("message_template_status_update", at, {"event": event, "reason": "NONE"} | more)


def category(at: int = AT, **more: Any) -> bytes:
    return told("template_category_update", at, more)


async def row(owner: Conn, of: Tenant) -> dict[str, Any]:
    found = await owner.fetchrow("SELECT * FROM message_templates WHERE user_id = $1", of.user_id)
    assert found is not None
    kept = dict(found)
    info = kept["rejection_info"]
    return kept | {"rejection_info": None if info is None else json.loads(info)}


async def events(owner: Conn, of: Tenant) -> list[dict[str, Any]]:
    rows = await owner.fetch(
        "SELECT event_data FROM analytics_events WHERE user_id = $1"
        " AND event_type = 'template.updated' ORDER BY id",
        of.user_id,
    )
    return [json.loads(r["event_data"]) for r in rows]


async def test_a_template_is_approved_and_told(owner: Conn, pool: Pool, ours: Tenant) -> None:
    theirs = await on_account(owner)
    strangers = await make_tenant(owner)
    body = status("APPROVED", message_template_category="UTILITY")
    await take_others(pool, [body, body])
    for tenant in (ours, theirs):
        assert (await row(owner, tenant))["status"] == "APPROVED"
        (event,) = await events(owner, tenant)
        assert (event["name"], event["status"]) == ("order_ready", "APPROVED")
        assert event["template_id"] == (await row(owner, tenant))["id"]
    assert await events(owner, strangers) == []


async def test_a_refusal_is_kept_word_for_word(owner: Conn, pool: Pool, ours: Tenant) -> None:
    why = {"reason": "Variables cannot be adjacent.", "recommendation": "Add text between."}
    await take_others(pool, [status("REJECTED", reason="INVALID_FORMAT", rejection_info=why)])
    kept = await row(owner, ours)
    assert (kept["status"], kept["rejected_reason"]) == ("REJECTED", "INVALID_FORMAT")
    assert kept["rejection_info"] == why
    pause = {"title": "FIRST_PAUSE", "description": "Paused for 3 hours."}
    await take_others(pool, [status("PAUSED", AT + 1, other_info=pause)])
    kept = await row(owner, ours)
    assert (kept["status"], kept["rejection_info"]) == ("PAUSED", pause)
    await take_others(pool, [status("REINSTATED", AT + 2)])
    kept = await row(owner, ours)
    assert (kept["status"], kept["rejection_info"]) == ("APPROVED", None)


async def test_what_comes_late_changes_nothing(owner: Conn, pool: Pool, ours: Tenant) -> None:
    await take_others(pool, [status("PAUSED", AT), status("APPROVED", AT - 60)])
    assert (await row(owner, ours))["status"] == "PAUSED"
    await take_others(pool, [quality("RED", AT - 30)])
    assert (await row(owner, ours))["quality_score"] == "RED", "of each its own time"
    await owner.execute("UPDATE message_templates SET synced_at = to_timestamp($1)", AT + 100.5)
    await take_others(pool, [status("DISABLED", AT + 99)])
    assert (await row(owner, ours))["status"] == "PAUSED", "the listing knew it"
    await take_others(pool, [status("DISABLED", AT + 100)])
    assert (await row(owner, ours))["status"] == "DISABLED"
    assert len(await events(owner, ours)) == 3


def quality(score: str, at: int = AT) -> bytes:
    value = {"previous_quality_score": "GREEN", "new_quality_score": score}
    # An old sample of Meta's has it under this field.
    return told("message_template_status_update", at, value)


async def test_a_category_changes_when_it_is_done(owner: Conn, pool: Pool, ours: Tenant) -> None:
    announced = category(
        new_category="UTILITY", correct_category="MARKETING", category_update_timestamp=AT + 86_400
    )
    await take_others(pool, [announced])
    kept = await row(owner, ours)
    assert (kept["category"], kept["correct_category"]) == ("UTILITY", "MARKETING")
    assert await events(owner, ours) == []
    done = category(AT + 86_400, previous_category="UTILITY", new_category="MARKETING")
    await take_others(pool, [done])
    kept = await row(owner, ours)
    assert (kept["category"], kept["correct_category"]) == ("MARKETING", None)
    (event,) = await events(owner, ours)
    assert event["category"] == "MARKETING"


async def test_one_that_nobody_knows_is_listed_soon(owner: Conn, pool: Pool, ours: Tenant) -> None:
    await owner.execute("UPDATE template_syncs SET due_at = now() + interval '1 h'")
    await owner.execute("DELETE FROM message_templates")
    await take_others(pool, [status("APPROVED")])
    assert await owner.fetchval("SELECT due_at < now() + interval '3 min' FROM template_syncs")
    assert await owner.fetchval("SELECT count(*) FROM account_events") == 1


@pytest.mark.parametrize(
    "value",
    [
        {"event": 7},
        {"event": "X" * 10_000},
        {"event": "REJECTED", "rejection_info": ["x"]},
        {"event": "REJECTED", "rejection_info": {"reason": "x\x00" * 9_000}},
        {"new_category": ["MARKETING"]},
        {"message_template_name": None, "event": "APPROVED"},
        {"message_template_language": 7, "event": "APPROVED"},
    ],
)
async def test_whatever_meta_says_is_kept(
    owner: Conn, pool: Pool, ours: Tenant, value: dict[str, Any]
) -> None:
    await take_others(pool, [told("message_template_status_update", AT, value)])
    assert await owner.fetchval("SELECT count(*) FROM account_events") == 1
    assert await owner.fetchval("SELECT count(*) FROM parked_items") == 0
