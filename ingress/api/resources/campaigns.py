"""/v1/campaigns"""

from typing import Annotated, Any

from pydantic import Field

from db.campaigns import (
    NewCampaign,
    Recipient,
    change_campaign,
    create_campaign,
    delete_campaign,
    list_campaigns,
    list_recipients,
    read_campaign,
)
from db.ids import CampaignId, ChatbotId, TemplateId
from db.pool import Conn
from db.usage import read_usage
from handlers.campaigns import preview
from handlers.campaigns.criteria import Criteria
from handlers.campaigns.writing import as_moment, wrong_with
from ingress.api.fields import NoBody, NoParameters, Paged, RowId
from ingress.api.mistakes import Mistake
from ingress.api.problems import invalid
from ingress.api.resources.campaign_bodies import (
    CampaignChange,
    CampaignMade,
    CampaignShown,
    CampaignWhole,
    ExampleShown,
    PreviewMade,
    PreviewShown,
    State,
    Status,
)
from ingress.api.resources.campaign_moves import MOVES, NEEDS, OfCampaign, locked, shown, whole
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


class CampaignsAsked(Paged):
    status: Annotated[Status | None, Field(description="only these")] = None
    chatbot_id: Annotated[RowId[ChatbotId] | None, Field(description="of this chatbot")] = None


class RecipientsAsked(Paged):
    campaign_id: RowId[CampaignId]
    state: Annotated[State | None, Field(description="only these")] = None
    reason: Annotated[str | None, Field(max_length=100, description="only these")] = None


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
    row = await locked(conn, call, "draft", "scheduled")
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
    row = await locked(conn, call, "draft", "scheduled")
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


# ---- lists ---------------------------------------------------------------------------------------


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
        work=whole,
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
    *MOVES,
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
