"""/v1/deliveries"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, cast

from db.delivery_reports import Attempt, Report, read_delivery
from db.ids import WebhookId
from db.pages import Listed, StoredJson
from db.pool import Conn
from handlers.deliveries import webhooks
from handlers.deliveries.signing import event_name
from ingress.api.fields import NoBody, Parameters, RowId
from ingress.api.problems import Problem, not_in_plan
from ingress.api.table import ACCEPTED, Answer, Call, Endpoint, Page, there

Status = Literal["pending", "delivered", "failed"]


class OfDelivery(Parameters):
    delivery_id: RowId[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    id: int
    event_id: str  # the webhook-id header
    webhook_id: WebhookId
    type: str | None
    status: Status
    created_at: datetime
    next_attempt_at: datetime | None
    attempts: list[Attempt]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryWithPayload(Delivery):
    payload: StoredJson | None


def delivery_of(report: Report) -> Delivery:
    return Delivery(
        id=report.id,
        event_id=event_name(report.event_id),
        webhook_id=report.webhook_id,
        type=report.type,
        status=cast("Status", report.status),
        created_at=report.created_at,
        next_attempt_at=report.next_attempt_at,
        attempts=report.attempts,
    )


def deliveries_page(found: Listed[Report]) -> Answer[Page[Delivery]]:
    """A page begins by the number of an event."""
    rows = [delivery_of(one) for one in found.rows]
    return Answer(Page(rows, str(found.rows[-1].event_id) if found.more else None))


def rests() -> Problem:
    return Problem(
        "webhook_rests",
        'The webhook is switched off, so nothing would be tried. PATCH it with {"is_active": true},'
        " and repeat this.",
    )


async def _read(conn: Conn, call: Call[OfDelivery, NoBody]) -> Answer[DeliveryWithPayload]:
    report = there(await read_delivery(conn, call.user_id, call.parameters.delivery_id))
    return Answer(_with_payload(report))


async def _replay(conn: Conn, call: Call[OfDelivery, NoBody]) -> Answer[DeliveryWithPayload]:
    key = webhooks.forbidden(call.principal.plan)
    if key is not None:
        raise not_in_plan(key)
    try:
        report = there(await webhooks.replay(conn, call.user_id, call.parameters.delivery_id))
    except webhooks.Rests:
        raise rests() from None
    return Answer(_with_payload(report), 202)


def _with_payload(report: Report) -> DeliveryWithPayload:
    plain = delivery_of(report)
    return DeliveryWithPayload(
        **{name: getattr(plain, name) for name in Delivery.__dataclass_fields__},
        payload=report.payload,
    )


ENDPOINTS = (
    Endpoint(
        name="read_delivery",
        method="GET",
        path="/deliveries/{delivery_id}",
        permission="webhooks:read",
        summary="One delivery with its attempts and what is sent",
        parameters=OfDelivery,
        body=NoBody,
        answers=DeliveryWithPayload,
        work=_read,
    ),
    Endpoint(
        name="replay_delivery",
        method="POST",
        path="/deliveries/{delivery_id}/replay",
        permission="webhooks:write",
        summary="Sends it again, now, with the webhook-id of before; safe to repeat",
        parameters=OfDelivery,
        body=NoBody,
        answers=DeliveryWithPayload,
        work=_replay,
        statuses=ACCEPTED,
        problems=("webhook_rests",),
    ),
)
