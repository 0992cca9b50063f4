"""What has one term for all tenants."""

from pathlib import Path

import pytest

from db.pool import Conn, Pool
from handlers.process.sweeps import Sweep
from handlers.retention.pace import LEAST, MOST, REST_S, WANTED_S, Pace
from handlers.retention.sweep import forget_what_is_old
from handlers.retention.terms import TERMS
from tests.factories import make_conversation, make_message, make_tenant

AGE = {
    "parked_items": "parked_at",
    "analytics_events": "created_at",
    "account_events": "received_at",
    "conversation_events": "settled_at",
    "idempotency_keys": "created_at",
    "gone_messages": "created_at",
}
ROW = {
    "parked_items": "(item_key, reason, kind, raw)"
    " VALUES (sha256($1::text::bytea), 'x', 'other', '')",
    "analytics_events": "(user_id, event_type) SELECT user_id, $1 FROM conversations",
    "account_events": "(user_id, item_key, field, raw)"
    " SELECT user_id, sha256($1::text::bytea), 'x', '' FROM conversations",
    "conversation_events": "(user_id, conversation_id, input_seq, kind, settled_at)"
    " SELECT user_id, id, length($1::text), 'x', now() FROM conversations",
    "idempotency_keys": "(user_id, idempotency_key, request_hash, message_id)"
    " SELECT user_id, $1, sha256('x'), id FROM messages",
    "gone_messages": "(user_id, chatbot_id, contact_id, wamid, created_at)"
    " SELECT user_id, chatbot_id, contact_id, $1, now() FROM conversations",
}


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.what)
async def test_the_older_go_and_the_younger_stay(pool: Pool, owner: Conn, term: object) -> None:
    from handlers.retention.terms import Term

    assert isinstance(term, Term)
    of = await make_tenant(owner)
    await make_message(owner, of, *await make_conversation(owner, of), status="read")
    table, age = term.what, AGE[term.what]
    for name, seconds in (("o", -60), ("yo", 60)):
        await owner.execute(f"INSERT INTO {table} {ROW[table]}", name)
        await owner.execute(
            f"UPDATE {table} SET {age} = now() - $1::interval + make_interval(secs => $2)"
            f" WHERE {age} > now() - interval '1 minute'",
            *(term.kept, seconds),
        )
    assert await owner.fetchval(f"SELECT count(*) FROM {table}") == 2
    await forget_what_is_old(pool, Sweep("test"))
    ages = await owner.fetch(
        f"SELECT {age} > now() - $1::interval AS young FROM {table}", term.kept
    )
    assert [row["young"] for row in ages] == [True]


async def test_a_table_that_fails_keeps_no_other_from_being_swept(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    await make_message(owner, of, *await make_conversation(owner, of), status="read")
    await owner.execute(f"INSERT INTO gone_messages {ROW['gone_messages']}", "o")
    await owner.execute("UPDATE gone_messages SET created_at = now() - interval '9 days'")
    assert TERMS[0].what == "parked_items"
    await owner.execute("REVOKE DELETE ON parked_items FROM swiftreplies_system")
    try:
        await forget_what_is_old(pool, Sweep("test"))
    finally:
        await owner.execute("GRANT DELETE ON parked_items TO swiftreplies_system")
    assert await owner.fetchval("SELECT count(*) FROM gone_messages") == 0


async def test_what_is_not_settled_stays_however_old(pool: Pool, owner: Conn) -> None:
    of = await make_tenant(owner)
    _, conversation_id = await make_conversation(owner, of)
    await owner.execute(
        "INSERT INTO conversation_events (user_id, conversation_id, input_seq, kind, created_at)"
        " VALUES ($1, $2, 1, 'x', now() - interval '900 days')",
        *(of.user_id, conversation_id),
    )
    await forget_what_is_old(pool, Sweep("test"))
    assert await owner.fetchval("SELECT count(*) FROM conversation_events") == 1


def test_the_document_has_every_term() -> None:
    text = Path("docs/privacy.md").read_text()
    for term in TERMS:
        days = term.kept.days
        spelt = "24 hours" if days == 1 else f"{days} days"
        assert f"| `{term.what}` | {spelt} |" in text, term.what


def test_what_takes_long_is_done_in_smaller_parts_and_with_longer_rests() -> None:
    pace = Pace(rows=400)
    assert pace.after(0.25) == 1.0
    assert pace.rows == 200
    for _ in range(20):
        pace.after(0.25)
    assert pace.rows == LEAST
    for _ in range(20):
        assert pace.after(0.001) == REST_S
    assert pace.rows == MOST
    pace.after(WANTED_S)
    assert pace.rows == MOST
