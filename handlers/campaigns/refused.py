"""A campaign whose template Meta does not take any more waits, instead of failing for everybody."""

from datetime import UTC, datetime, timedelta

import structlog

from db.campaigns import lock_campaign, move_campaign
from db.ids import CampaignId, UserId
from db.pool import Pool, tenant
from handlers.deliveries.catalogue import CampaignPaused
from handlers.deliveries.outbox import tell

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# The webhook that says so may come later than the refusal: our row still has the template approved.
LOOK_AGAIN = timedelta(minutes=5)


async def pause_for_template(pool: Pool, user_id: UserId, campaign_id: CampaignId) -> None:
    """In a transaction of its own: a campaign is locked before whatever else. Should the process
    die before, the next message of it is refused too."""
    async with tenant(pool, user_id) as conn:
        campaign = await lock_campaign(conn, user_id, campaign_id, wait=True)
        if campaign is None or campaign.status not in ("running", "completed"):
            return
        until = datetime.now(UTC) + LOOK_AGAIN
        await move_campaign(conn, user_id, campaign_id, "paused", ("template", until))
        await tell(conn, user_id, CampaignPaused(campaign_id=campaign_id, reason="template"))
    log.warning("campaign.paused", user_id=user_id, campaign_id=campaign_id, reason="template")
