"""/v1/webhooks"""

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema

from db.delivery_reports import list_deliveries
from db.ids import ChatbotId, WebhookId
from db.pool import Conn
from db.webhooks import (
    NewWebhook,
    VersionedWebhook,
    Webhook,
    delete_webhook,
    list_webhooks,
    lock_webhook,
    read_webhook,
    webhook_is_there,
)
from handlers.deliveries import webhooks
from handlers.deliveries.wishes import EVENTS_MAX, misfits, wishes
from handlers.outbound.urls import MAX_URL_CHARS, problem
from handlers.plans import Limit
from ingress.api.encoding import SHOWN_ONCE
from ingress.api.fields import (
    Body,
    Moment,
    NoBody,
    NoParameters,
    Paged,
    Parameters,
    RowId,
    unless_given,
    wrong,
)
from ingress.api.mistakes import Mistake
from ingress.api.principal import Principal
from ingress.api.problems import Problem, invalid, not_in_plan
from ingress.api.resources.deliveries import Delivery, deliveries_page, delivery_of, rests
from ingress.api.room import no_room
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

# ---- what is given and answered ------------------------------------------------------------------


def _reachable(given: str, info: ValidationInfo) -> str:
    detail = problem(given, (info.context or {})["outbound"])  # read_json() gives it
    if detail is not None:
        raise wrong(detail)
    return given


def _wanted(given: list[str]) -> list[str]:
    found = misfits(given)
    if found:
        raise wrong(
            "; ".join(text if at is None else f"{given[at][:50]!r}: {text}" for at, text in found)
        )
    return given


WebhookUrl = Annotated[
    str,
    AfterValidator(_reachable),
    WithJsonSchema({"type": "string", "format": "uri", "maxLength": MAX_URL_CHARS}),
    Field(description="where events are posted to: https, a public address"),
]
Events = Annotated[
    list[str],
    AfterValidator(_wanted),
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "enum": wishes()},
            "minItems": 1,
            "maxItems": EVENTS_MAX,
            "uniqueItems": True,
        }
    ),
    Field(description='names of events, `family.*`, or ["*"] for all'),
]
OfChatbot = Annotated[
    RowId[ChatbotId] | None, Field(description="of this chatbot alone; null: of all, and of none")
]
Ordered = Annotated[
    bool, Field(description="keeps the order of each conversation: one waits for the one before")
]
Active = Annotated[bool, Field(description="false: events are kept for 30 days and not tried")]


class WebhookMade(Body):
    url: WebhookUrl
    events: Events
    chatbot_id: OfChatbot = None
    ordered: Ordered = False
    is_active: Active = True


class WebhookChange(Body):
    url: WebhookUrl = unless_given()
    events: Events = unless_given()
    chatbot_id: OfChatbot = None
    ordered: Ordered = unless_given()
    is_active: Active = unless_given()


class Recovery(Body):
    since: Annotated[Moment, Field(description="events of then and later; 30 days back at most")]


class OfWebhook(Parameters):
    webhook_id: RowId[WebhookId]


class DeliveriesAsked(OfWebhook, Paged):
    status: Annotated[
        Literal["pending", "delivered", "failed"] | None, Field(description="only these")
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookWithSecret(Webhook):
    secret_token: Annotated[
        str, Field(description="signs what is sent; shown this once, and not when repeated")
    ] = field(metadata=SHOWN_ONCE)


@dataclass(frozen=True, slots=True)
class RecoveryReport:
    since: datetime
    deliveries: Annotated[int, Field(description="that are due by now")]
    more: Annotated[bool, Field(description="there are others, which follow by themselves")]


# ---- work ----------------------------------------------------------------------------------------


def _may_write(principal: Principal) -> None:
    key = webhooks.forbidden(principal.plan)
    if key is not None:
        raise not_in_plan(key)


def _no_such_chatbot() -> Problem:
    return invalid([Mistake("chatbot_id", "you have no chatbot with this id")])


def _with_secret(found: VersionedWebhook, secret: str, status: int) -> Answer[WebhookWithSecret]:
    row: dict[str, Any] = {f.name: getattr(found.webhook, f.name) for f in fields(Webhook)}
    return versioned(WebhookWithSecret(**row, secret_token=secret), found.version, status)


async def _list(conn: Conn, call: Call[Paged, NoBody]) -> Answer[Page[Webhook]]:
    asked = call.parameters
    return page_of(await list_webhooks(conn, call.user_id, asked.after, asked.limit))


async def _read(conn: Conn, call: Call[OfWebhook, Any]) -> Answer[Webhook]:
    found = there(await read_webhook(conn, call.user_id, call.parameters.webhook_id))
    return versioned(found.webhook, found.version)


async def _create(conn: Conn, call: Call[NoParameters, WebhookMade]) -> Answer[WebhookWithSecret]:
    _may_write(call.principal)
    body = call.body
    new = NewWebhook(body.url, body.events, body.chatbot_id, body.ordered, body.is_active)
    try:
        webhook_id, secret = await webhooks.make(
            conn, call.user_id, call.principal.plan, new, call.here.vault
        )
    except webhooks.AtLimit as at:
        raise no_room(call.user_id, Limit.MAX_WEBHOOKS, at.limit, at.count) from None
    except webhooks.NoSuchChatbot:
        raise _no_such_chatbot() from None
    return _with_secret(there(await read_webhook(conn, call.user_id, webhook_id)), secret, 201)


async def _locked(conn: Conn, call: Call[OfWebhook, Any]) -> VersionedWebhook:
    """To be changed by this call, if it is as the client thinks it is."""
    webhook_id = call.parameters.webhook_id
    call.expect(there(await lock_webhook(conn, call.user_id, webhook_id)).version)
    return there(await read_webhook(conn, call.user_id, webhook_id))


async def _change(conn: Conn, call: Call[OfWebhook, WebhookChange]) -> Answer[Webhook]:
    _may_write(call.principal)
    found = await _locked(conn, call)
    try:
        await webhooks.change(conn, call.user_id, found.webhook, call.body.given())
    except webhooks.NoSuchChatbot:
        raise _no_such_chatbot() from None
    return await _read(conn, call)


async def _delete(conn: Conn, call: Call[OfWebhook, NoBody]) -> Answer[Nothing]:
    _may_write(call.principal)
    found = await _locked(conn, call)
    await delete_webhook(conn, call.user_id, found.webhook.id)
    return GONE


async def _rotate(conn: Conn, call: Call[OfWebhook, NoBody]) -> Answer[WebhookWithSecret]:
    _may_write(call.principal)
    webhook_id = (await _locked(conn, call)).webhook.id
    secret = await webhooks.rotate(conn, call.user_id, webhook_id, call.here.vault)
    return _with_secret(there(await read_webhook(conn, call.user_id, webhook_id)), secret, 200)


async def _test(conn: Conn, call: Call[OfWebhook, NoBody]) -> Answer[Delivery]:
    _may_write(call.principal)
    try:
        report = there(await webhooks.ping(conn, call.user_id, call.parameters.webhook_id))
    except webhooks.Rests:
        raise rests() from None
    return Answer(delivery_of(report), 201)


async def _recover(conn: Conn, call: Call[OfWebhook, Recovery]) -> Answer[RecoveryReport]:
    _may_write(call.principal)
    since = max(call.body.since, call.now - webhooks.RECOVERABLE)
    if since > call.now:
        raise invalid([Mistake("since", "in the future")])
    try:
        done = there(await webhooks.recover(conn, call.user_id, call.parameters.webhook_id, since))
    except webhooks.Rests:
        raise rests() from None
    return Answer(RecoveryReport(since, done.due, done.more))


async def _deliveries(conn: Conn, call: Call[DeliveriesAsked, NoBody]) -> Answer[Page[Delivery]]:
    asked = call.parameters
    there(await webhook_is_there(conn, call.user_id, asked.webhook_id) or None)
    found = await list_deliveries(
        conn, call.user_id, asked.webhook_id, asked.status, asked.after, asked.limit
    )
    return deliveries_page(found)


ENDPOINTS = (
    Endpoint(
        name="list_webhooks",
        method="GET",
        path="/webhooks",
        permission="webhooks:read",
        summary="Webhooks, newest first, without their secrets",
        parameters=Paged,
        body=NoBody,
        answers=Page[Webhook],
        work=_list,
    ),
    Endpoint(
        name="create_webhook",
        method="POST",
        path="/webhooks",
        permission="webhooks:write",
        summary="An address of yours that hears what happens; its secret is in this answer alone",
        parameters=NoParameters,
        body=WebhookMade,
        answers=WebhookWithSecret,
        work=_create,
        statuses=MADE,
        once=True,
        versioned=True,
        problems=("limit_reached",),
    ),
    Endpoint(
        name="read_webhook",
        method="GET",
        path="/webhooks/{webhook_id}",
        permission="webhooks:read",
        summary="One webhook",
        parameters=OfWebhook,
        body=NoBody,
        answers=Webhook,
        work=_read,
        versioned=True,
    ),
    Endpoint(
        name="change_webhook",
        method="PATCH",
        path="/webhooks/{webhook_id}",
        permission="webhooks:write",
        summary="Changes what is given. Switched on, it is as if it had never failed; `missed` says"
        " what `recover` would deliver",
        parameters=OfWebhook,
        body=WebhookChange,
        answers=Webhook,
        work=_change,
        versioned=True,
    ),
    Endpoint(
        name="delete_webhook",
        method="DELETE",
        path="/webhooks/{webhook_id}",
        permission="webhooks:write",
        summary="The webhook and its deliveries are gone",
        parameters=OfWebhook,
        body=NoBody,
        answers=Nothing,
        work=_delete,
        statuses=DELETED,
        versioned=True,
    ),
    Endpoint(
        name="rotate_webhook",
        method="POST",
        path="/webhooks/{webhook_id}/rotate",
        permission="webhooks:write",
        summary="Makes a new secret; for 24 hours what is sent has a signature by the one before"
        " as well",
        parameters=OfWebhook,
        body=NoBody,
        answers=WebhookWithSecret,
        work=_rotate,
        once=True,
        versioned=True,
    ),
    Endpoint(
        name="test_webhook",
        method="POST",
        path="/webhooks/{webhook_id}/test",
        permission="webhooks:write",
        summary="Sends the event `ping` to this webhook alone, whatever it wants to hear",
        parameters=OfWebhook,
        body=NoBody,
        answers=Delivery,
        work=_test,
        statuses=MADE,
        once=True,
        problems=("webhook_rests",),
    ),
    Endpoint(
        name="recover_webhook",
        method="POST",
        path="/webhooks/{webhook_id}/recover",
        permission="webhooks:write",
        summary="Delivers, in order, what failed since then, what was kept, and what the webhook"
        " wants by now; safe to repeat",
        parameters=OfWebhook,
        body=Recovery,
        answers=RecoveryReport,
        work=_recover,
        problems=("webhook_rests",),
    ),
    Endpoint(
        name="list_deliveries",
        method="GET",
        path="/webhooks/{webhook_id}/deliveries",
        permission="webhooks:read",
        summary="Deliveries with their attempts, those of the newest events first",
        parameters=DeliveriesAsked,
        body=NoBody,
        answers=Page[Delivery],
        work=_deliveries,
    ),
)
