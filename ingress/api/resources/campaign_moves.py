"""/v1/campaigns/{id}: what it is now, and how it is moved on."""

from dataclasses import fields
from typing import Any

from db.campaigns import (
    Campaign,
    Counts,
    lock_campaign,
    move_campaign,
    put_up_again,
    read_campaign,
    read_counts,
)
from db.ids import CampaignId
from db.pool import Conn
from handlers.campaigns.starting import CannotStart, begin
from handlers.campaigns.stepping import cancel, go_on
from handlers.deliveries.catalogue import CampaignPaused
from handlers.deliveries.outbox import tell
from handlers.plans import Feature
from ingress.api.fields import NoBody, Parameters, RowId
from ingress.api.problems import Problem
from ingress.api.resources.campaign_bodies import (
    CampaignShown,
    CampaignWhole,
    Figures,
    VariantShown,
)
from ingress.api.table import (
    Answer,
    Call,
    Endpoint,
    there,
    versioned,
)

NEEDS = (Feature.CAMPAIGN_MANAGEMENT,)
REACHED = ("accepted", "sent", "delivered", "read")  # each has been what is before it
FROM = {
    "start": ("draft", "scheduled"),
    "pause": ("preparing", "running"),
    "resume": ("paused",),
    "cancel": ("draft", "scheduled", "preparing", "running", "paused"),
    "retry": ("completed",),
}


class OfCampaign(Parameters):
    campaign_id: RowId[CampaignId]


# ---- what is shown -------------------------------------------------------------------------------


def shown(row: Campaign) -> CampaignShown:
    variants = [
        VariantShown(
            template_id=one["template_id"], parameters=one["parameters"], weight=one["weight"]
        )
        for one in row.variants
    ]
    one = variants[0] if len(variants) == 1 else None
    same = {
        f.name: getattr(row, f.name)
        for f in fields(CampaignShown)
        if f.name not in ("template_id", "parameters", "variants")
    }
    return CampaignShown(
        **same,
        template_id=None if one is None else one.template_id,
        parameters={} if one is None else one.parameters,
        variants=variants,
    )


def figures(counts: Counts) -> Figures:
    states = counts.states
    reached = {
        name: sum(states.get(later, 0) for later in REACHED[n:]) for n, name in enumerate(REACHED)
    }
    others = ("pending", "queued", "held", "failed", "skipped", "capped", "uncertain", "cancelled")
    return Figures(
        recipients=sum(states.values()),
        **reached,
        **{name: states.get(name, 0) for name in others},
        replied=counts.replied,
        replied_likely=counts.replied_likely,
        ordered=counts.ordered,
        revenue=counts.revenue,
        opted_out=counts.opted_out,
    )


async def whole(conn: Conn, call: Call[OfCampaign, Any]) -> Answer[CampaignWhole]:
    row = there(await read_campaign(conn, call.user_id, call.parameters.campaign_id))
    counts = await read_counts(conn, call.user_id, row.id)
    brief = shown(row)
    same = {f.name: getattr(brief, f.name) for f in fields(CampaignShown)}
    return versioned(CampaignWhole(**same, figures=figures(counts)), row.version)


# ---- its way -------------------------------------------------------------------------------------


async def locked(conn: Conn, call: Call[OfCampaign, Any], *states: str) -> Campaign:
    """Raises where it is in none of these states."""
    id_ = call.parameters.campaign_id
    row = there(await lock_campaign(conn, call.user_id, id_, wait=True))
    call.expect(row.version)
    if row.status not in states:
        possible = [name for name, of in FROM.items() if row.status in of]
        raise Problem(
            "wrong_state",
            f"The campaign is {row.status}.",
            state={"status": row.status},
            possible={"status": possible},
        )
    return row


async def _start(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await locked(conn, call, *FROM["start"])
    _raise(await begin(conn, call.user_id, row, call.now))
    return await whole(conn, call)


def _raise(problem: CannotStart | None) -> None:
    if problem is None:
        return
    if problem.held == "template":
        raise Problem(
            "template_not_approved",
            f"{problem.why}: it starts when it is approved.",
            template_status=problem.status,
        )
    if problem.limit is not None:
        raise Problem(
            "limit_reached",
            f"The plan allows no campaign more ({problem.limit}) now.",
            limit=problem.limit,
            allowed=problem.allowed,
            count=problem.used,
        )
    raise Problem("chatbot_inactive", f"It cannot start: {problem.why}.")


async def _pause(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await locked(conn, call, *FROM["pause"])
    await move_campaign(conn, call.user_id, row.id, "paused", ("person", None))
    await tell(conn, call.user_id, CampaignPaused(campaign_id=row.id, reason="person"))
    return await whole(conn, call)


async def _resume(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await locked(conn, call, *FROM["resume"])
    await go_on(conn, call.user_id, row, call.now)
    return await whole(conn, call)


async def _cancel(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await locked(conn, call, *FROM["cancel"])
    await cancel(conn, call.user_id, row)
    return await whole(conn, call)


async def _retry(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await locked(conn, call, *FROM["retry"])
    over = row.ends_at is not None and row.ends_at <= call.now
    if over or await put_up_again(conn, call.user_id, row.id) == 0:
        detail = "its end is over" if over else "nobody is left that it could be tried for again"
        raise Problem(
            "wrong_state",
            f"There is nothing to try again: {detail}.",
            state={"status": row.status},
            possible={"status": []},
        )
    await move_campaign(conn, call.user_id, row.id, "running")
    return await whole(conn, call)


def _move(name: str, summary: str, work: Any, *problems: str) -> Endpoint[Any, Any, Any]:
    return Endpoint(
        name=f"{name}_campaign",
        method="POST",
        path=f"/campaigns/{{campaign_id}}/{name}",
        permission="campaigns:write",
        summary=summary,
        parameters=OfCampaign,
        body=NoBody,
        answers=CampaignWhole,
        work=work,
        features=NEEDS,
        versioned=True,
        problems=("wrong_state", *problems),
    )


MOVES = (
    _move(
        "start",
        "Fixes whom it is for, and begins to send",
        _start,
        *("limit_reached", "template_not_approved", "chatbot_inactive"),
    ),
    _move("pause", "Makes no messages more; 32 at most may still leave", _pause),
    _move("resume", "Goes on after a pause", _resume),
    _move("cancel", "Who is pending gets nothing; 32 messages at most may still leave", _cancel),
    _move("retry", "Tries again for whom it failed for a passing reason", _retry),
)
