"""A campaign's way, look by look: each is one transaction with its row locked, by whichever worker
comes first. Nobody owns a campaign, so nobody can die with one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import structlog

from db.audiences import Person, piece
from db.campaigns import (
    Campaign,
    Due,
    Fixed,
    Outgoing,
    Pending,
    count_outstanding,
    count_states,
    due_campaigns,
    end_pending,
    fix_recipients,
    lock_campaign,
    move_campaign,
    queue_messages,
    read_room,
    read_standing,
    settle_pending,
    spend_pace,
    suppressed,
    take_pending,
    talks_of,
)
from db.conversations import open_conversations
from db.ids import ContactId, UserId
from db.pool import Conn, Pool, tenant
from db.templates import Template
from db.usage import read_usage
from handlers.campaigns.audience import (
    drawn_for,
    is_marketing,
    sending_of,
    templates_of,
    variants_of,
)
from handlers.campaigns.clock import Window, window_of
from handlers.campaigns.criteria import Criteria
from handlers.campaigns.deciding import (
    SHARE,
    SLOW_RATE,
    Decision,
    Go,
    Hold,
    Now,
    Over,
    Variant,
    decide,
    held,
    spent,
)
from handlers.campaigns.starting import begin
from handlers.deliveries.catalogue import CampaignCancelled, CampaignCompleted, CampaignPaused
from handlers.deliveries.outbox import tell
from handlers.plans import Feature, Plan
from handlers.process.sweeps import Sweep
from handlers.templates.parameters import of_contact
from handlers.templates.rendering import Rendered, render

log: structlog.stdlib.BoundLogger = structlog.get_logger()

LOOK_MAX = 100  # campaigns of a look
PIECE = 2_000  # people fixed in a transaction: some tenths of a second
END_PIECE = 5_000


async def step_campaigns(pool: Pool, sweep: Sweep[Due]) -> None:
    async with pool.acquire() as conn:
        due = await due_campaigns(conn, sweep.limit(LOOK_MAX))
    await sweep.each(due, partial(_step, pool))


async def _step(pool: Pool, due: Due) -> None:
    async with tenant(pool, due.user_id) as conn:
        campaign = await lock_campaign(conn, due.user_id, due.id, wait=False)
        if campaign is None:
            return
        now = datetime.now(UTC)
        match campaign.status:
            case "scheduled" if campaign.scheduled_at and campaign.scheduled_at <= now:
                await begin(conn, due.user_id, campaign, now)
            case "preparing":
                await _fix(conn, due.user_id, campaign)
            case "running":
                await _feed(conn, due.user_id, campaign, now)
            case "paused" if campaign.resume_at and campaign.resume_at <= now:
                await _look_again(conn, due.user_id, campaign, now)
            case _:
                return  # somebody moved it since it was found


# ---- who gets it ---------------------------------------------------------------------------------


async def _fix(conn: Conn, user_id: UserId, campaign: Campaign) -> None:
    """A piece of the recipients, with what each is to get: later tries send the same."""
    assert campaign.started_at is not None, "it was started"
    assert campaign.chatbot_id is not None, "a chatbot that goes pauses its campaigns"
    criteria = Criteria.model_validate(campaign.target_criteria)
    variants = variants_of(campaign)
    templates = await templates_of(conn, user_id, variants)
    sending = sending_of(campaign.chatbot_id, variants, templates, campaign.started_at)
    after = campaign.fixed_upto or 0
    audience = criteria.audience(campaign.started_at)
    people, last = await piece(conn, user_id, audience, sending, (campaign.id, after, PIECE))
    room = criteria.limit
    if room is not None:
        room -= (await count_states(conn, user_id, campaign.id)).get("pending", 0)
    rows: list[Fixed] = []
    for one in people:
        if room is not None and room <= 0:
            break
        row = _fixed(campaign, one, variants, templates)
        rows.append(row)
        if room is not None and row.reason is None:
            room -= 1
    done = last is None or (room is not None and room <= 0)
    await fix_recipients(conn, user_id, campaign.id, rows, None if done else last)
    if done:
        await move_campaign(conn, user_id, campaign.id, "running")
    log.info("campaign.fixed", user_id=user_id, campaign_id=campaign.id, people=len(rows))


def _fixed(
    campaign: Campaign,
    one: Person,
    variants: Sequence[Variant],
    templates: dict[int, Template],
) -> Fixed:
    place = drawn_for(variants, one.id, campaign.id)
    variant = variants[place]
    template = templates.get(variant.template_id)
    if one.reason is not None:
        return Fixed(contact_id=one.id, reason=one.reason, variant=place, params=None)
    values = of_contact(one.name, one.phone_number, one.custom_fields)
    made = None if template is None else render(template, variant.parameters, values)
    if not isinstance(made, Rendered):
        return Fixed(contact_id=one.id, reason="missing_parameter", variant=place, params=None)
    params = {"components": made.components, "text": made.text}
    return Fixed(contact_id=one.id, reason=None, variant=place, params=params)


# ---- sending -------------------------------------------------------------------------------------


async def _feed(conn: Conn, user_id: UserId, campaign: Campaign, at: datetime) -> None:
    variants, window, now = await _look(conn, user_id, campaign, at)
    decision = decide(variants, campaign.ends_at, window, now)
    if not isinstance(decision, Go):
        await _halt(conn, user_id, campaign, decision)
        return
    assert campaign.chatbot_id is not None, "without a chatbot it is held"
    rows = await take_pending(conn, user_id, campaign, decision.messages)
    if rows:
        made = await _queue(conn, user_id, campaign, variants, rows)
        if made:
            await spend_pace(conn, user_id, campaign.id, spent(now, made))
    elif decision.messages > 0 and not (await count_states(conn, user_id, campaign.id)).get(
        "pending"
    ):
        await move_campaign(conn, user_id, campaign.id, "completed")
        await tell(conn, user_id, CampaignCompleted(campaign_id=campaign.id))
        log.info("campaign.completed", user_id=user_id, campaign_id=campaign.id)


async def _look(
    conn: Conn, user_id: UserId, campaign: Campaign, at: datetime
) -> tuple[list[Variant], Window | None, Now]:
    variants = variants_of(campaign)
    ids = [one.template_id for one in variants]
    standing = await read_standing(conn, user_id, campaign.chatbot_id, ids)
    room = await read_room(conn, user_id, lock=False)
    usage = await read_usage(conn, user_id)
    assert usage is not None, "whose transaction it is"
    zone = ZoneInfo(campaign.timezone or standing.timezone)
    templates = {t["id"]: (t["status"], t["category"]) for t in standing.templates}
    allowed = (
        campaign.chatbot_id is not None
        and standing.active
        and room.outcome != "plan"
        and Plan(standing.plan).allows(Feature.CAMPAIGN_MANAGEMENT)
    )
    outstanding = (
        0
        if campaign.chatbot_id is None
        else await count_outstanding(conn, user_id, campaign.chatbot_id)
    )
    rate = campaign.rate or SLOW_RATE
    now = Now(
        at=at,
        allowed=allowed,
        templates=templates,
        number_held=standing.number_held,
        room=room.room,
        day_ends_at=usage.day_ends_at,
        outstanding=outstanding,
        rate=min(rate, SHARE * standing.number_rate),
        full_at=campaign.full_at,
    )
    return variants, window_of(campaign.send_window, zone), now


async def _halt(conn: Conn, user_id: UserId, campaign: Campaign, decision: Decision) -> None:
    match decision:
        case Over():
            if not await end_pending(conn, user_id, campaign.id, ("cancelled", "ended"), END_PIECE):
                await move_campaign(conn, user_id, campaign.id, "completed")
                await tell(conn, user_id, CampaignCompleted(campaign_id=campaign.id))
        case Hold(reason, until):
            again = campaign.status == "paused" and campaign.held_reason == reason
            await move_campaign(conn, user_id, campaign.id, "paused", (reason, until))
            if not again:
                await tell(conn, user_id, CampaignPaused(campaign_id=campaign.id, reason=reason))
                log.info("campaign.paused", user_id=user_id, campaign_id=campaign.id, reason=reason)
        case Go():
            raise AssertionError("unreachable: it goes on")


async def _look_again(conn: Conn, user_id: UserId, campaign: Campaign, at: datetime) -> None:
    variants, window, now = await _look(conn, user_id, campaign, at)
    hold = held(variants, campaign.ends_at, window, now)
    if hold is not None:
        await _halt(conn, user_id, campaign, hold)
    else:
        await go_on(conn, user_id, campaign, at)


async def go_on(conn: Conn, user_id: UserId, campaign: Campaign, now: datetime) -> None:
    """From a pause: to where it was."""
    if campaign.started_at is None:
        await begin(conn, user_id, campaign, now)
        return
    status = "running" if campaign.fixed_upto is None else "preparing"
    await move_campaign(conn, user_id, campaign.id, status)


async def _queue(
    conn: Conn,
    user_id: UserId,
    campaign: Campaign,
    variants: Sequence[Variant],
    rows: Sequence[Pending],
) -> int:
    """In the lock order: people, conversations, messages, counters. What was said of somebody when
    they were fixed is looked at again."""
    chatbot_id = campaign.chatbot_id
    assert chatbot_id is not None, "without a chatbot it is held"
    templates = await templates_of(conn, user_id, variants)
    marketing = is_marketing(templates)
    people = sorted({one.contact_id for one in rows if one.contact_id is not None})
    why = await suppressed(conn, user_id, people, chatbot_id, marketing=marketing)
    skipped = [(one.id, _reason(one, why)) for one in rows]
    out = [(id_, reason) for id_, reason in skipped if reason is not None]
    await settle_pending(
        conn, user_id, [id_ for id_, _ in out], "skipped", [reason for _, reason in out]
    )
    gone = {id_ for id_, _ in out}
    left = [one for one in rows if one.id not in gone]
    free = sorted({one.contact_id for one in left if one.contact_id is not None})
    await open_conversations(conn, user_id, [chatbot_id] * len(free), free)
    talks = await talks_of(conn, user_id, chatbot_id, free)
    room = await read_room(conn, user_id, lock=True)
    made = [
        _outgoing(campaign, one, talks, variants, templates)
        for one in left[: room.room]
        if one.contact_id in talks
    ]
    if made:
        await queue_messages(conn, user_id, campaign.id, made, room.day)
    return len(made)


def _reason(one: Pending, why: dict[ContactId, str | None]) -> str | None:
    if one.contact_id is None or one.contact_id not in why:
        return "unreachable"  # erased since
    return why[one.contact_id]


def _outgoing(
    campaign: Campaign,
    one: Pending,
    talks: dict[ContactId, Any],
    variants: Sequence[Variant],
    templates: dict[int, Template],
) -> Outgoing:
    assert one.contact_id is not None
    assert one.params is not None, "it is pending"
    template = templates[variants[one.variant].template_id]
    return Outgoing(
        recipient_id=one.id,
        conversation_id=talks[one.contact_id],
        metadata={
            "kind": "campaign",
            "campaign_id": campaign.id,
            "template": {
                "template_id": template.id,
                "name": template.name,
                "language": template.language,
                "components": one.params["components"],
            },
        },
        content_text=one.params["text"],
    )


# ---- by a person ---------------------------------------------------------------------------------


async def cancel(conn: Conn, user_id: UserId, campaign: Campaign) -> None:
    """Whoever is pending gets nothing; what is queued by now may still leave, BULK_MAX at most."""
    while await end_pending(conn, user_id, campaign.id, ("cancelled", "cancelled"), END_PIECE):
        pass
    await move_campaign(conn, user_id, campaign.id, "cancelled")
    await tell(conn, user_id, CampaignCancelled(campaign_id=campaign.id))
