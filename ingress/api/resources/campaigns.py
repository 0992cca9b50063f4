"""/v1/campaigns"""

from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field

from db.campaigns import (
    Campaign,
    Counts,
    NewCampaign,
    Recipient,
    change_campaign,
    create_campaign,
    delete_campaign,
    list_campaigns,
    list_recipients,
    lock_campaign,
    move_campaign,
    put_up_again,
    read_campaign,
    read_counts,
)
from db.ids import CampaignId, ChatbotId, TemplateId
from db.pool import Conn
from db.usage import read_usage
from handlers.campaigns import preview
from handlers.campaigns.criteria import Criteria
from handlers.campaigns.starting import CannotStart, begin
from handlers.campaigns.stepping import cancel, go_on
from handlers.campaigns.writing import as_moment, wrong_with
from handlers.deliveries.catalogue import CampaignPaused
from handlers.deliveries.outbox import tell
from handlers.plans import Feature
from ingress.api.fields import NoBody, NoParameters, Paged, Parameters, RowId
from ingress.api.mistakes import Mistake
from ingress.api.problems import Problem, invalid
from ingress.api.resources.campaign_bodies import (
    CampaignChange,
    CampaignMade,
    CampaignShown,
    CampaignWhole,
    ExampleShown,
    Figures,
    PreviewMade,
    PreviewShown,
    State,
    Status,
    VariantShown,
)
from ingress.api.table import (
    DELETED,
    GONE,
    MADE,
    Answer,
    Call,
    Endpoint,
    Nothing,
    Page,
    page_of,
    there,
    versioned,
)

NEEDS = (Feature.CAMPAIGN_MANAGEMENT,)
REACHED = ("accepted", "sent", "delivered", "read")  # each has been what is before it
MOVES = {
    "start": ("draft", "scheduled"),
    "pause": ("preparing", "running"),
    "resume": ("paused",),
    "cancel": ("draft", "scheduled", "preparing", "running", "paused"),
    "retry": ("completed",),
}


class OfCampaign(Parameters):
    campaign_id: RowId[CampaignId]


class CampaignsAsked(Paged):
    status: Annotated[Status | None, Field(description="only these")] = None
    chatbot_id: Annotated[RowId[ChatbotId] | None, Field(description="of this chatbot")] = None


class RecipientsAsked(Paged):
    campaign_id: RowId[CampaignId]
    state: Annotated[State | None, Field(description="only these")] = None
    reason: Annotated[str | None, Field(max_length=100, description="only these")] = None


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


async def _whole(conn: Conn, call: Call[OfCampaign, Any]) -> Answer[CampaignWhole]:
    row = there(await read_campaign(conn, call.user_id, call.parameters.campaign_id))
    counts = await read_counts(conn, call.user_id, row.id)
    brief = shown(row)
    same = {f.name: getattr(brief, f.name) for f in fields(CampaignShown)}
    return versioned(CampaignWhole(**same, figures=figures(counts)), row.version)


# ---- before it starts ----------------------------------------------------------------------------


async def _checked(conn: Conn, call: Call[Any, Any], body: CampaignMade) -> NewCampaign:
    if (body.variants is None) == (body.template_id is None):
        detail = "missing: give template_id, or variants"
        if body.variants is not None:
            detail = "variants stand instead of it: leave one of them out"
        raise invalid([Mistake("template_id", detail)])
    variants = [
        {"template_id": one.template_id, "parameters": one.parameters, "weight": one.weight}
        for one in body.variants or ()
    ] or [{"template_id": body.template_id, "parameters": body.parameters, "weight": 1}]
    wrong = [
        Mistake(one.place, one.detail)
        for one in await wrong_with(conn, call.user_id, body.chatbot_id, variants)
    ]
    zone = body.timezone
    if zone is None:
        usage = there(await read_usage(conn, call.user_id))
        zone = usage.timezone
    scheduled_at, ends_at = as_moment(body.scheduled_at, zone), as_moment(body.ends_at, zone)
    if ends_at is not None and ends_at <= (scheduled_at or call.now):
        wrong.append(Mistake("ends_at", "not after its start"))
    if wrong:
        raise invalid(wrong)
    return NewCampaign(
        name=body.name,
        chatbot_id=body.chatbot_id,
        status="draft" if scheduled_at is None else "scheduled",
        target_criteria=body.target_criteria.model_dump(mode="json", exclude_unset=True),
        variants=variants,
        scheduled_at=scheduled_at,
        timezone=body.timezone,
        send_window=body.send_window,
        rate=body.rate,
        ends_at=ends_at,
    )


async def _create(conn: Conn, call: Call[NoParameters, CampaignMade]) -> Answer[CampaignShown]:
    made = await create_campaign(conn, call.user_id, await _checked(conn, call, call.body))
    row = there(await read_campaign(conn, call.user_id, made))
    return versioned(shown(row), row.version, 201)


async def _change(conn: Conn, call: Call[OfCampaign, CampaignChange]) -> Answer[CampaignShown]:
    row = await _locked(conn, call, "draft", "scheduled")
    given = call.body.given()
    one = row.variants[0] if len(row.variants) == 1 else None
    was: dict[str, Any] = {
        **{name: getattr(row, name) for name in ("name", "chatbot_id", "scheduled_at", "ends_at")},
        **{name: getattr(row, name) for name in ("timezone", "send_window")},
        "rate": None if row.rate is None else int(row.rate),
        "target_criteria": Criteria.model_validate(row.target_criteria),
        "template_id": one and TemplateId(one["template_id"]),
        "parameters": one["parameters"] if one else {},
        "variants": None if one else row.variants,
    }
    if given.get("variants") is not None:
        was |= {"template_id": None, "parameters": {}}
    elif given.get("template_id") is not None:
        was["variants"] = None
    body = CampaignMade.model_validate(was | given)
    await change_campaign(conn, call.user_id, row.id, await _checked(conn, call, body))
    now = there(await read_campaign(conn, call.user_id, row.id))
    return versioned(shown(now), now.version)


async def _delete(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[Nothing]:
    row = await _locked(conn, call, "draft", "scheduled")
    await delete_campaign(conn, call.user_id, row.id)
    return GONE


async def _preview(conn: Conn, call: Call[NoParameters, PreviewMade]) -> Answer[PreviewShown]:
    new = await _checked(conn, call, call.body)
    given = (call.body.target_criteria, new.variants, new.rate)
    found = await preview.look(conn, call.user_id, new.chatbot_id, given, call.now)
    return Answer(
        PreviewShown(
            matched=found.matched,
            sendable=found.sendable,
            skipped=found.skipped,
            examples=[ExampleShown(contact_id=id_, text=text) for id_, text in found.examples],
            units_today=min(found.sendable, found.room_today),
            fits_daily_limit=found.sendable <= found.room_today,
            fits_messaging_limit=None,
            minutes=found.minutes,
        )
    )


# ---- its way -------------------------------------------------------------------------------------


async def _locked(conn: Conn, call: Call[OfCampaign, Any], *states: str) -> Campaign:
    """Raises where it is in none of these states."""
    id_ = call.parameters.campaign_id
    row = there(await lock_campaign(conn, call.user_id, id_, wait=True))
    call.expect(row.version)
    if row.status not in states:
        possible = [name for name, of in MOVES.items() if row.status in of]
        raise Problem(
            "wrong_state",
            f"The campaign is {row.status}.",
            state={"status": row.status},
            possible={"status": possible},
        )
    return row


async def _start(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await _locked(conn, call, *MOVES["start"])
    _raise(await begin(conn, call.user_id, row, call.now))
    return await _whole(conn, call)


def _raise(problem: CannotStart | None) -> None:
    if problem is None:
        return
    if problem.held == "template":
        raise Problem("template_not_approved", f"{problem.why}: it starts when it is approved.")
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
    row = await _locked(conn, call, *MOVES["pause"])
    await move_campaign(conn, call.user_id, row.id, "paused", ("person", None))
    await tell(conn, call.user_id, CampaignPaused(campaign_id=row.id, reason="person"))
    return await _whole(conn, call)


async def _resume(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await _locked(conn, call, *MOVES["resume"])
    await go_on(conn, call.user_id, row, call.now)
    return await _whole(conn, call)


async def _cancel(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await _locked(conn, call, *MOVES["cancel"])
    await cancel(conn, call.user_id, row)
    return await _whole(conn, call)


async def _retry(conn: Conn, call: Call[OfCampaign, NoBody]) -> Answer[CampaignWhole]:
    row = await _locked(conn, call, *MOVES["retry"])
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
    return await _whole(conn, call)


async def _list(conn: Conn, call: Call[CampaignsAsked, NoBody]) -> Answer[Page[CampaignShown]]:
    asked = call.parameters
    wanted = (asked.status, asked.chatbot_id)
    found = await list_campaigns(conn, call.user_id, wanted, asked.after, asked.limit)
    rows = [shown(row) for row in found.rows]
    return Answer(Page(rows, str(rows[-1].id) if found.more else None))


async def _recipients(conn: Conn, call: Call[RecipientsAsked, NoBody]) -> Answer[Page[Recipient]]:
    asked = call.parameters
    there(await read_campaign(conn, call.user_id, asked.campaign_id))
    wanted = (asked.state, asked.reason)
    page = (asked.after or 0, asked.limit)
    return page_of(await list_recipients(conn, call.user_id, asked.campaign_id, wanted, page))


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


ENDPOINTS = (
    Endpoint(
        name="list_campaigns",
        method="GET",
        path="/campaigns",
        permission="campaigns:read",
        summary="Campaigns, newest first",
        parameters=CampaignsAsked,
        body=NoBody,
        answers=Page[CampaignShown],
        work=_list,
        features=NEEDS,
    ),
    Endpoint(
        name="create_campaign",
        method="POST",
        path="/campaigns",
        permission="campaigns:write",
        summary="A draft; with `scheduled_at` it starts by itself then",
        parameters=NoParameters,
        body=CampaignMade,
        answers=CampaignShown,
        work=_create,
        statuses=MADE,
        features=NEEDS,
        once=True,
        versioned=True,
    ),
    Endpoint(
        name="preview_campaign",
        method="POST",
        path="/campaigns/preview",
        permission="campaigns:read",
        summary="Whom it would reach now, and what five of them would read; nothing is kept",
        parameters=NoParameters,
        body=PreviewMade,
        answers=PreviewShown,
        work=_preview,
        features=NEEDS,
    ),
    Endpoint(
        name="read_campaign",
        method="GET",
        path="/campaigns/{campaign_id}",
        permission="campaigns:read",
        summary="One campaign, and what came of it",
        parameters=OfCampaign,
        body=NoBody,
        answers=CampaignWhole,
        work=_whole,
        features=NEEDS,
        versioned=True,
    ),
    Endpoint(
        name="change_campaign",
        method="PATCH",
        path="/campaigns/{campaign_id}",
        permission="campaigns:write",
        summary="Changes what is given, before it starts",
        parameters=OfCampaign,
        body=CampaignChange,
        answers=CampaignShown,
        work=_change,
        features=NEEDS,
        versioned=True,
        problems=("wrong_state",),
    ),
    Endpoint(
        name="delete_campaign",
        method="DELETE",
        path="/campaigns/{campaign_id}",
        permission="campaigns:write",
        summary="Gone, before it starts",
        parameters=OfCampaign,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        features=NEEDS,
        versioned=True,
        problems=("wrong_state",),
    ),
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
    Endpoint(
        name="list_recipients",
        method="GET",
        path="/campaigns/{campaign_id}/recipients",
        permission="campaigns:read",
        summary="Who gets it, and what became of it",
        parameters=RecipientsAsked,
        body=NoBody,
        answers=Page[Recipient],
        work=_recipients,
        features=NEEDS,
    ),
)
