"""What is looked at just before a reply leaves, because time has passed since it was queued."""

from datetime import timedelta

import pytest

from db.ids import WorkerId
from db.pool import Conn, Pool
from db.sends import claim_sends
from tests.db.test_turn_queries import PAIR
from tests.factories import make_conversation, make_message, make_tenant
from tests.turn.test_looked_at_again import Meta, sender

ME = WorkerId(1)
TAKEN_OVER = "UPDATE conversations SET taken_over_at = now(), taken_over_by = "
PAUSED = "UPDATE contacts SET conversation_paused = true"
BLOCKED = "UPDATE contacts SET contact_status = 'blocked'"
SENT, CANCELLED, FAILED = "accepted", "cancelled", "failed"


@pytest.mark.parametrize(
    ("by_person", "change", "status", "reason"),
    [
        (False, "SELECT", SENT, None),
        (False, f"{TAKEN_OVER} 'human', taken_over_until = 'infinity'", CANCELLED, "taken_over"),
        (True, f"{TAKEN_OVER} 'human', taken_over_until = 'infinity'", SENT, None),
        (False, f"{TAKEN_OVER} 'human', taken_over_until = now()", SENT, None),
        (
            *(False, f"{TAKEN_OVER} 'product', taken_over_until = 'infinity'"),
            *(SENT, None),
        ),
        (False, PAUSED, CANCELLED, "taken_over"),
        (True, PAUSED, SENT, None),
        (False, BLOCKED, CANCELLED, "blocked"),
        (True, BLOCKED, SENT, None),
        (False, "UPDATE contacts SET contact_status = NULL", SENT, None),
        (False, "UPDATE users SET is_active = false", CANCELLED, "tenant_inactive"),
        (True, "UPDATE users SET is_active = false", CANCELLED, "tenant_inactive"),
        (False, "UPDATE chatbots SET is_active = false", CANCELLED, "chatbot_inactive"),
        (
            *(False, "UPDATE messages SET sent_at = now() - interval '23 h'"),
            *(SENT, None),
        ),
        (
            *(False, "UPDATE messages SET sent_at = now() - interval '25 h'"),
            *(FAILED, "too_old"),
        ),
        (
            *(True, "UPDATE conversations SET last_inbound_at = now() - interval '24 h'"),
            *(CANCELLED, "window_closed"),
        ),
        (False, "UPDATE conversations SET last_inbound_at = NULL", CANCELLED, "window_closed"),
    ],
)
async def test_what_stops_a_reply_and_what_does_not(
    pool: Pool, owner: Conn, by_person: bool, change: str, status: str, reason: str | None
) -> None:
    user = await make_tenant(owner)
    who = await make_conversation(owner, user)
    message = await make_message(owner, user, *who)
    await owner.execute(
        'UPDATE messages SET is_from_human = $1, sent_at = now(), metadata = \'{"kind": "reply"}\'',
        by_person,
    )
    async with pool.acquire() as conn:
        (claim,) = await claim_sends(conn, ME, 1, 1, PAIR, timedelta(hours=24))
    await owner.execute(change)
    meta = Meta()
    await sender(pool, meta).send(ME, claim)
    assert len(meta.sent) == (status == SENT)
    row = await owner.fetchrow(
        "SELECT status, metadata ->> 'reason', send_owner FROM messages WHERE id = $1", message
    )
    assert tuple(row or ()) == (status, reason, None)
