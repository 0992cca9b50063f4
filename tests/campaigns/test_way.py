"""From a draft to its end: each person once, counted once, in order of the plan."""

import asyncio
from typing import Any

from db.campaigns import Due
from db.pool import Pool
from handlers.campaigns.stepping import step_campaigns
from handlers.process.sweeps import Sweep
from tests.campaigns.stage import Stage


async def counters(stage: Stage) -> dict[str, Any]:
    row = await stage.owner.fetchrow(
        "SELECT sum(daily_campaigns_sent)::int AS campaigns,"
        " sum(daily_campaign_messages)::int AS messages, sum(daily_messages_sent)::int AS sent"
        " FROM usage_tracking WHERE user_id = $1",
        stage.of.user_id,
    )
    assert row is not None
    return dict(row)


async def texts(stage: Stage) -> list[str]:
    rows = await stage.owner.fetch(
        "SELECT content_text FROM messages WHERE user_id = $1 AND bulk ORDER BY id",
        stage.of.user_id,
    )
    return [row["content_text"] for row in rows]


async def test_everybody_gets_it_once(stage: Stage) -> None:
    people = await stage.people(70)
    await stage.people(1, contact_status="blocked")
    campaign = await stage.made()
    assert (await stage.move(campaign, "start")).json["status"] == "preparing"
    row = await stage.to_the_end(campaign)
    assert (row["status"], row["held_reason"]) == ("completed", None)
    figures = row["figures"]
    assert (figures["recipients"], figures["accepted"], figures["skipped"]) == (71, 70, 1)
    said = await texts(stage)
    assert len(said) == len(set(said)) == len(people)
    assert said[0].startswith("Hello Ada ")
    assert await counters(stage) == {"campaigns": 1, "messages": 70, "sent": 70}
    events = await stage.owner.fetch(
        "SELECT event_type FROM analytics_events WHERE user_id = $1 AND event_type LIKE 'camp%'"
        " ORDER BY id",
        stage.of.user_id,
    )
    assert [e["event_type"] for e in events] == ["campaign.started", "campaign.completed"]


async def test_looks_of_many_workers_at_once_change_nothing(stage: Stage, pool: Pool) -> None:
    await stage.people(90)
    campaign = await stage.made()
    both = await asyncio.gather(*(stage.move(campaign, "start") for _ in range(4)))
    assert sorted(answer.status for answer in both) == [200, 409, 409, 409]
    worker = await stage.worker()
    for _ in range(20):
        sweeps: list[Sweep[Due]] = [Sweep("campaign") for _ in range(4)]
        await asyncio.gather(*(step_campaigns(pool, sweep) for sweep in sweeps))
        await stage.send_all(worker)
        await stage.owner.execute("UPDATE campaigns SET full_at = now()")
    row = await stage.read(campaign)
    assert (row["status"], row["figures"]["accepted"]) == ("completed", 90)
    assert len(set(await texts(stage))) == 90
    assert await counters(stage) == {"campaigns": 1, "messages": 90, "sent": 90}


async def test_few_wait_at_once_and_a_cancel_comes_too_late_for_those_alone(stage: Stage) -> None:
    await stage.people(100)
    campaign = await stage.made()
    await stage.move(campaign, "start")
    await stage.look(10)
    waiting = "SELECT count(*) FROM messages WHERE user_id = $1 AND status = 'queued' AND bulk"
    assert await stage.owner.fetchval(waiting, stage.of.user_id) == 32
    row = (await stage.move(campaign, "cancel")).json
    assert (row["status"], row["figures"]["cancelled"]) == ("cancelled", 68)
    await stage.send_all(await stage.worker())
    await stage.look(3)
    assert (await stage.read(campaign))["figures"]["accepted"] == 32
    assert (await counters(stage))["messages"] == 32
    for wrong in ("start", "pause", "resume", "cancel", "retry"):
        answer = await stage.move(campaign, wrong)
        assert (answer.status, answer.problem) == (409, "wrong_state")


async def test_a_pause_holds_and_the_way_goes_on_where_it_was(stage: Stage) -> None:
    await stage.people(50)
    campaign = await stage.made()
    await stage.move(campaign, "start")
    await stage.look(2)
    paused = (await stage.move(campaign, "pause")).json
    assert (paused["status"], paused["held_reason"], paused["resume_at"]) == (
        "paused",
        "person",
        None,
    )
    before = len(await texts(stage))
    await stage.look(3)
    assert len(await texts(stage)) == before
    assert (await stage.move(campaign, "resume")).json["status"] == "running"
    row = await stage.to_the_end(campaign)
    assert (row["status"], row["figures"]["accepted"]) == ("completed", 50)


async def test_who_stops_between_plan_and_send_gets_nothing(stage: Stage) -> None:
    people = await stage.people(40)
    campaign = await stage.made()
    await stage.move(campaign, "start")
    await stage.look(1)
    await stage.owner.execute(
        "UPDATE contacts SET marketing_choice = 'stop', marketing_choice_at = now()"
        " WHERE id = ANY ($1::bigint[])",
        people[:10],
    )
    await stage.owner.execute("DELETE FROM contacts WHERE id = $1", people[10])
    row = await stage.to_the_end(campaign)
    assert (row["figures"]["accepted"], row["figures"]["skipped"]) == (29, 11)
    found = await stage.client.get(f"/campaigns/{campaign}/recipients", reason="opted_out")
    assert {one["contact_id"] for one in found.json["data"]} == set(people[:10])
    assert (await counters(stage))["messages"] == 29


async def test_part_of_the_limit_is_kept_for_answers(stage: Stage) -> None:
    await stage.owner.execute(
        "UPDATE user_subscriptions SET daily_message_limit = 50 WHERE user_id = $1",
        stage.of.user_id,
    )
    await stage.people(60)
    campaign = await stage.made()
    await stage.move(campaign, "start")
    row = await stage.to_the_end(campaign)
    assert (row["status"], row["held_reason"]) == ("paused", "message_limit")
    assert row["figures"]["accepted"] == 40  # four fifths of 50
    await stage.owner.execute(
        "UPDATE user_subscriptions SET daily_message_limit = 500 WHERE user_id = $1",
        stage.of.user_id,
    )
    await stage.owner.execute("UPDATE campaigns SET resume_at = now() WHERE id = $1", campaign)
    row = await stage.to_the_end(campaign)
    assert (row["status"], row["figures"]["accepted"]) == ("completed", 60)


async def test_campaigns_are_counted_against_their_own_limit(stage: Stage) -> None:
    await stage.owner.execute(
        "UPDATE user_subscriptions SET daily_campaign_limit = 2 WHERE user_id = $1",
        stage.of.user_id,
    )
    await stage.people(1)
    campaigns = [await stage.made() for _ in range(5)]
    answers = await asyncio.gather(*(stage.move(one, "start") for one in campaigns))
    assert sorted(answer.status for answer in answers) == [200, 200, 409, 409, 409]
    assert {a.problem for a in answers if a.status == 409} == {"limit_reached"}
    assert (await counters(stage))["campaigns"] == 2


async def test_a_template_that_is_paused_holds_and_one_of_another_category_asks(
    stage: Stage,
) -> None:
    await stage.people(40)
    campaign = await stage.made()
    await stage.move(campaign, "start")
    await stage.look(2)
    change = "UPDATE message_templates SET {} WHERE id = $1"
    await stage.owner.execute(change.format("status = 'PAUSED'"), stage.template_id)
    await stage.look()
    row = await stage.read(campaign)
    assert (row["status"], row["held_reason"], row["resume_at"] is None) == (
        "paused",
        "template",
        False,
    )
    await stage.owner.execute(change.format("status = 'APPROVED'"), stage.template_id)
    await stage.owner.execute("UPDATE campaigns SET resume_at = now()")
    await stage.look()
    assert (await stage.read(campaign))["status"] == "running"
    await stage.owner.execute(change.format("category = 'UTILITY'"), stage.template_id)
    await stage.look()
    row = await stage.read(campaign)
    assert (row["held_reason"], row["resume_at"]) == ("template", None)


async def test_an_unapproved_template_is_told_at_the_start(stage: Stage) -> None:
    campaign = await stage.made()
    await stage.owner.execute(
        "UPDATE message_templates SET status = 'REJECTED' WHERE id = $1", stage.template_id
    )
    answer = await stage.move(campaign, "start")
    assert (answer.status, answer.problem) == (409, "template_not_approved")
    assert (await stage.read(campaign))["status"] == "draft"
    assert (await counters(stage))["campaigns"] is None


async def test_a_scheduled_one_starts_by_itself(stage: Stage) -> None:
    await stage.people(3)
    campaign = await stage.made(scheduled_at="2100-01-01T10:00:00", timezone="America/Lima")
    row = await stage.read(campaign)
    assert (row["status"], row["scheduled_at"]) == ("scheduled", "2100-01-01T15:00:00Z")
    await stage.look(2)
    assert (await stage.read(campaign))["status"] == "scheduled"
    await stage.owner.execute("UPDATE campaigns SET scheduled_at = now() WHERE id = $1", campaign)
    row = await stage.to_the_end(campaign)
    assert (row["status"], row["figures"]["accepted"]) == ("completed", 3)


async def test_a_limit_takes_the_lowest_that_can_be_sent_to(stage: Stage) -> None:
    await stage.people(2, contact_status="blocked")
    people = await stage.people(20)
    campaign = await stage.made(target_criteria={"limit": 5})
    body = {
        "chatbot_id": stage.of.chatbot_id,
        "template_id": stage.template_id,
        "parameters": {"body": {"1": {"field": "name"}}},
        "target_criteria": {"limit": 5},
    }
    looked = (await stage.client.post("/campaigns/preview", body)).json
    assert (looked["matched"], looked["sendable"], looked["skipped"]) == (7, 5, {"blocked": 2})
    assert [one["contact_id"] for one in looked["examples"]] == people[:5]
    assert looked["examples"][0]["text"].startswith("Hello Ada")
    await stage.move(campaign, "start")
    row = await stage.to_the_end(campaign)
    assert (row["figures"]["recipients"], row["figures"]["accepted"]) == (7, 5)
