"""The start of a campaign: counted once, with the templates as they are at that moment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from db.campaigns import Campaign, could_start, move_campaign, read_standing, start_campaign
from db.ids import UserId
from db.pool import Conn
from handlers.campaigns.deciding import LOOK_AGAIN
from handlers.deliveries.catalogue import CampaignPaused, CampaignStarted
from handlers.deliveries.outbox import tell
from handlers.plans import Feature, Plan
from handlers.templates.anatomy import SENDABLE

log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CannotStart:
    """`held`: as what it waits, where nobody is there to be told."""

    held: str
    why: str  # for the tenant
    status: str = ""  # of the template
    limit: str | None = None
    allowed: int = 0
    used: int = 0


async def begin(
    conn: Conn, user_id: UserId, campaign: Campaign, now: datetime
) -> CannotStart | None:
    """The caller has it locked, as a draft, scheduled, or waiting for its start. A campaign that
    was scheduled and cannot start waits, with the reason."""
    problem, variants = await _look(conn, user_id, campaign)
    if problem is None:
        await start_campaign(conn, user_id, campaign.id, variants)
        await tell(conn, user_id, CampaignStarted(campaign_id=campaign.id))
        log.info("campaign.started", user_id=user_id, campaign_id=campaign.id)
        return None
    if campaign.status != "draft":
        await _wait(conn, user_id, campaign, problem, now)
    return problem


async def _wait(
    conn: Conn, user_id: UserId, campaign: Campaign, problem: CannotStart, now: datetime
) -> None:
    again = campaign.status == "paused" and campaign.held_reason == problem.held
    held = (problem.held, now + LOOK_AGAIN)
    await move_campaign(conn, user_id, campaign.id, "paused", held)
    if not again:
        await tell(conn, user_id, CampaignPaused(campaign_id=campaign.id, reason=problem.held))
        log.info("campaign.paused", user_id=user_id, campaign_id=campaign.id, reason=problem.held)


async def _look(
    conn: Conn, user_id: UserId, campaign: Campaign
) -> tuple[CannotStart | None, list[dict[str, Any]]]:
    ids = [one["template_id"] for one in campaign.variants]
    standing = await read_standing(conn, user_id, campaign.chatbot_id, ids)
    if campaign.chatbot_id is None or not standing.active:
        return CannotStart("plan", "its chatbot is not active, or is gone"), []
    if not Plan(standing.plan).allows(Feature.CAMPAIGN_MANAGEMENT):
        return CannotStart("plan", "the plan does not allow campaigns"), []
    templates = {t["id"]: t for t in standing.templates}
    for id_ in ids:
        if id_ not in templates or templates[id_]["status"] != SENDABLE:
            status = templates[id_]["status"] if id_ in templates else "DELETED"
            why = f"template {id_} is {status}, not {SENDABLE}"
            return CannotStart("template", why, status), []
    limit = await could_start(conn, user_id)
    if limit.outcome == "no_active_subscription":
        return CannotStart("plan", "no plan is in force"), []
    if limit.outcome != "granted":
        held = CannotStart(
            "plan", limit.outcome, limit=limit.outcome, allowed=limit.allowed, used=limit.used
        )
        return held, []
    variants = [
        {**one, "category": templates[one["template_id"]]["category"]} for one in campaign.variants
    ]
    return None, variants
