"""What becomes of each message is the recipient's state, and nobody gets it twice."""

import json
from datetime import timedelta
from typing import Any

import pytest

from db.ids import MessageId
from db.pool import tenant
from db.sends import requeue_send
from handlers.campaigns.refused import pause_for_template
from handlers.sends.ending import end_message
from handlers.sends.rules import TEMPLATE_REFUSED, End
from tests.campaigns.stage import Stage


async def sent_to_one(stage: Stage) -> tuple[int, MessageId]:
    await stage.people(1)
    campaign = await stage.made()
    await stage.move(campaign, "start")
    await stage.look(2)
    (message,) = await stage.send_all(await stage.worker())
    return campaign, message


async def recipient(stage: Stage, campaign: int) -> Any:
    answer = await stage.client.get(f"/campaigns/{campaign}/recipients")
    (row,) = answer.json["data"]
    return row


async def told(stage: Stage, message: MessageId, status: str, **metadata: Any) -> None:
    await stage.owner.execute(
        "UPDATE messages SET status = $2, metadata = metadata || $3::text::jsonb WHERE id = $1",
        message,
        status,
        json.dumps(metadata),
    )


@pytest.mark.parametrize(
    ("status", "metadata", "state", "reason"),
    [
        ("delivered", {}, "delivered", None),
        ("read", {}, "read", None),
        ("failed", {"errors": [{"code": 131026}], "reason": "not_delivered"}, "failed", "131026"),
        ("failed", {"errors": [{"code": 131049}]}, "capped", "131049"),
        ("failed", {"errors": [{"code": 131050}]}, "skipped", "opted_out"),
        ("failed", {"reason": "too_old"}, "failed", "too_old"),
    ],
)
async def test_each_outcome_has_its_state(
    stage: Stage, status: str, metadata: Any, state: str, reason: str | None
) -> None:
    campaign, message = await sent_to_one(stage)
    await told(stage, message, status, **metadata)
    row = await recipient(stage, campaign)
    assert (row["state"], row["reason"]) == (state, reason)
    figures = (await stage.read(campaign))["figures"]
    reached = {"delivered": 3, "read": 4}.get(state, 0)
    names = ("accepted", "sent", "delivered", "read")
    assert [figures[name] for name in names] == [int(n < reached) for n in range(4)]
    assert reached or figures[state] == 1


async def test_what_became_of_it_unseen_is_uncertain_and_not_tried_again(stage: Stage) -> None:
    campaign, message = await sent_to_one(stage)
    await told(stage, message, "unknown")
    assert (await recipient(stage, campaign))["state"] == "uncertain"
    async with tenant(stage.pool, stage.of.user_id) as conn:
        await end_message(conn, stage.of.user_id, message, End("failed", "send_outcome_unknown"))
    assert (await recipient(stage, campaign))["state"] == "uncertain"
    assert await stage.owner.fetchval("SELECT count(*) FROM dead_sends") == 0
    assert (await stage.to_the_end(campaign))["status"] == "completed"
    assert (await stage.move(campaign, "retry")).status == 409
    await told(stage, message, "delivered")  # a status that came late
    assert (await recipient(stage, campaign))["state"] == "delivered"


async def test_a_refused_template_leaves_everybody_to_be_reached(stage: Stage) -> None:
    await stage.people(40)
    campaign = await stage.made()
    await stage.move(campaign, "start")
    await stage.look(2)
    of = stage.of.user_id
    queued = await stage.owner.fetch("SELECT id FROM messages WHERE user_id = $1 AND bulk", of)
    for row in queued:
        async with tenant(stage.pool, of) as conn:
            await end_message(conn, of, row["id"], TEMPLATE_REFUSED)
    await pause_for_template(stage.pool, of, campaign)  # type: ignore[arg-type]
    row = await stage.read(campaign)
    assert (row["status"], row["held_reason"]) == ("paused", "template")
    assert row["figures"]["pending"] == 40
    day = await stage.owner.fetchrow("SELECT * FROM usage_tracking WHERE user_id = $1", of)
    assert day is not None
    assert (day["daily_campaign_messages"], day["daily_messages_sent"]) == (0, 0)
    assert await stage.owner.fetchval("SELECT count(*) FROM dead_sends") == 0
    await stage.owner.execute("UPDATE campaigns SET resume_at = now()")
    assert (await stage.to_the_end(campaign))["figures"]["accepted"] == 40


async def test_a_passing_failure_is_tried_again_when_wanted(stage: Stage) -> None:
    campaign, message = await sent_to_one(stage)
    assert (await stage.to_the_end(campaign))["status"] == "completed"
    await told(stage, message, "failed", errors=[{"code": 131000}])
    assert (await stage.move(campaign, "retry")).json["status"] == "running"
    row = await stage.to_the_end(campaign)
    assert (row["figures"]["accepted"], row["figures"]["failed"]) == (1, 0)
    assert (await recipient(stage, campaign))["tries"] == 2
    started = "SELECT daily_campaigns_sent FROM usage_tracking WHERE user_id = $1"
    assert await stage.owner.fetchval(started, stage.of.user_id) == 1


async def test_an_answer_does_not_wait_for_a_campaigns_message(stage: Stage) -> None:
    _, message = await sent_to_one(stage)
    of = stage.of.user_id
    async with tenant(stage.pool, of) as conn:
        await told(stage, message, "sending")
        await requeue_send(conn, of, message, timedelta(hours=1), {})
    live = await stage.owner.fetchval(
        "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
        " message_type, content_text, status) SELECT user_id, chatbot_id, contact_id,"
        " conversation_id, 'outbound', 'text', 'Yes.', 'queued' FROM messages WHERE id = $1"
        " RETURNING id",
        message,
    )
    assert await stage.send_all(await stage.worker()) == [live]


async def test_who_is_erased_leaves_a_row_without_them(stage: Stage) -> None:
    campaign, message = await sent_to_one(stage)
    await told(stage, message, "delivered")
    (person,) = [
        row["contact_id"]
        for row in (await stage.client.get(f"/campaigns/{campaign}/recipients")).json["data"]
    ]
    assert (await stage.client.delete(f"/contacts/{person}")).status == 204
    kept = await stage.owner.fetchrow(
        "SELECT params, state FROM campaign_recipients WHERE campaign_id = $1", campaign
    )
    assert kept is not None
    assert (kept["params"], kept["state"]) == (None, "delivered")
    assert (await stage.read(campaign))["figures"]["delivered"] == 1


async def test_replies_and_orders_are_counted(stage: Stage) -> None:
    campaign, message = await sent_to_one(stage)
    await told(stage, message, "delivered")
    of = stage.of
    row = await stage.owner.fetchrow("SELECT * FROM messages WHERE id = $1", message)
    assert row is not None
    for quoted, counted in ((None, (0, 1)), (row["message_id"], (1, 0))):
        await stage.owner.execute(
            "INSERT INTO messages (user_id, chatbot_id, contact_id, conversation_id, direction,"
            " message_type, content_text, status, sent_at, in_reply_to)"
            " VALUES ($1, $2, $3, $4, 'inbound', 'text', 'Hi', 'received', now(), $5)",
            of.user_id,
            of.chatbot_id,
            row["contact_id"],
            row["conversation_id"],
            quoted,
        )
        figures = (await stage.read(campaign))["figures"]
        assert (figures["replied"], figures["replied_likely"]) == counted
    await stage.owner.execute(
        "INSERT INTO orders (user_id, chatbot_id, contact_id, total_amount, payment_status)"
        " VALUES ($1, $2, $3, 38.50, 'paid')",
        of.user_id,
        of.chatbot_id,
        row["contact_id"],
    )
    figures = (await stage.read(campaign))["figures"]
    assert (figures["ordered"], figures["revenue"]) == (1, {"USD": "38.50"})
