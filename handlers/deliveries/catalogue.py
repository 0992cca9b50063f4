"""What tenants are told: one type an event, with its fields. Pure.

Whoever tells a tenant something names one of these. The fields are the event's data; the chatbot
and the contact that an event is about stand in columns of their own beside it. Where an event tells
of a row (`of`), its data has the row's fields as well, as the API shows them: SQL puts them there
(event_fields() of migrations/0028), so that no text is kept twice. handlers/deliveries/described.py
makes the schemas and samples of this.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from db.ids import ActionId, ContactId, ConversationId, MessageId, ToolCallId, WebhookId
from handlers.deliveries import of_plans
from handlers.deliveries.event import TenantEvent

# Told only where a webhook wants them, and kept nowhere else; SQL writes them.
MESSAGE_RECEIVED = "message.received"
MESSAGE_SENT = "message.sent"
CONTACT_CREATED = "contact.created"
CONTACT_UPDATED = "contact.updated"
PING = "ping"
MOVES = {"delivered": "message.delivered", "read": "message.read"}  # by the status


# ---- messages ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfMessage(TenantEvent):
    OF = "message"

    message_id: MessageId


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageReceived(_OfMessage):
    TYPE = MESSAGE_RECEIVED
    TELLS = "A customer wrote."
    KEPT = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageSent(_OfMessage):
    TYPE = MESSAGE_SENT
    TELLS = "WhatsApp took a message of yours."
    KEPT = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageDelivered(_OfMessage):
    TYPE = MOVES["delivered"]
    TELLS = (
        "It is on the customer's phone. Where `message.read` is heard at the same time, that alone"
        " is told."
    )
    KEPT = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRead(_OfMessage):
    TYPE = MOVES["read"]
    TELLS = "The customer has seen it."
    KEPT = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFailed(_OfMessage):
    TYPE = "message.failed"
    TELLS = "A message will not reach its customer."

    reason: str  # a fixed word
    detail: str | None  # Meta's code and title


# ---- customers -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfContact(TenantEvent):
    OF = "contact"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactCreated(_OfContact):
    TYPE = CONTACT_CREATED
    TELLS = "Somebody wrote for the first time."
    KEPT = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactUpdated(_OfContact):
    TYPE = CONTACT_UPDATED
    TELLS = "A customer's name or WhatsApp id changed, or you changed the contact."
    KEPT = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactMoved(_OfContact):
    TYPE = "contact.moved"
    TELLS = "A customer has another number, another WhatsApp id, or both."


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactErased(TenantEvent):
    TYPE = "contact.erased"
    TELLS = "A contact and all that was kept of them is gone; only the id is told."

    erased: ContactId  # in no column: what has the contact there goes with it

    @property
    def data(self) -> dict[str, Any]:
        return {"contact_id": self.erased}


# ---- conversations -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfConversation(TenantEvent):
    OF = "conversation"

    conversation_id: ConversationId


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTakenOver(_OfConversation):
    TYPE = "conversation.taken_over"
    TELLS = "The bot is silent in a conversation from now on."

    by: Literal["human", "bot", "product"]  # the product: it had no answer
    reason: str | None
    until: datetime | None  # None: until it is handed back


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationHandedBack(_OfConversation):
    TYPE = "conversation.handed_back"
    TELLS = "The bot answers in a conversation again."


# ---- actions -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEvent(TenantEvent):
    OF = "action"

    action_id: ActionId
    request_type: str
    status: str
    auto_approved_by: ActionId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCreated(ActionEvent):
    TYPE = "action.created"
    TELLS = "A bot asks for a person's decision."


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDecided(ActionEvent):
    TYPE = "action.decided"
    TELLS = "An action was approved or denied."


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionExpired(ActionEvent):
    TYPE = "action.expired"
    TELLS = "Nobody decided an action in time."


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCallUnknown(TenantEvent):
    TYPE = "tool.unknown"
    TELLS = (
        "A tool of yours was called, and no answer said whether it was done: look for its"
        " `idempotency_key`. The customer was told that it is not certain."
    )

    tool_call_id: ToolCallId
    idempotency_key: str
    tool_name: str
    conversation_id: ConversationId
    action_id: ActionId | None  # that a person approved; None: the bot called it by itself
    reason: str | None  # as `error` of GET /v1/chatbots/{id}/tool-calls


# ---- orders --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfOrder(TenantEvent):
    conversation_id: ConversationId | None
    order_id: int
    order_number: str | None  # None: made by a program of before tenants
    status: str | None
    payment_status: str | None
    total_amount: Decimal | None
    currency: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderCreated(_OfOrder):
    TYPE = "order.created"
    TELLS = "An order was made."


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderUpdated(_OfOrder):
    TYPE = "order.updated"
    TELLS = "An order's status or payment status moved."


# ---- bots and their numbers ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BotFailing(TenantEvent):
    """Told once, until it answers again; every conversation it hands over is told by itself."""

    TYPE = "bot.failing"
    TELLS = "A chatbot handed a conversation over because it had no answer."

    conversation_id: ConversationId
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BotRecovered(TenantEvent):
    TYPE = "bot.recovered"
    TELLS = "A chatbot that failed answers again."


@dataclass(frozen=True, slots=True, kw_only=True)
class BotLoopStopped(TenantEvent):
    TYPE = "bot.loop_stopped"
    TELLS = "A conversation went in circles with another bot, and was stopped."

    conversation_id: ConversationId
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplySlow(TenantEvent):
    TYPE = "reply.slow"
    TELLS = "A reply or a decision took longer than your plan promises."

    conversation_id: ConversationId | None
    action_id: ActionId | None
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingPaused(TenantEvent):
    TYPE = "sending.paused"
    TELLS = "Nothing of a chatbot's number leaves for a while."

    reason: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingResumed(TenantEvent):
    TYPE = "sending.resumed"
    TELLS = "Messages of a chatbot's number leave again."


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEvent(TenantEvent):
    TYPE = "account.event"
    TELLS = "Meta told something of the account, its templates or its numbers."

    field: str  # Meta's
    event: str | None
    account_event_id: int


# ---- the rest ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookDisabled(TenantEvent):
    """Written in SQL, where it is switched off: fare_webhook()."""

    TYPE = "webhook.disabled"
    TELLS = "A webhook was switched off: it answered 410, or failed for days."

    webhook_id: WebhookId
    reason: Literal["gone", "failing"]
    failing_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReady(TenantEvent):
    TYPE = "export.ready"
    TELLS = "An export can be fetched."

    export_id: int
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUpdated(TenantEvent):
    TYPE = "template.updated"
    TELLS = "A template's status, category or quality changed."

    template_id: int
    name: str
    language: str
    status: str
    category: str | None
    quality_score: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfCampaign(TenantEvent):
    campaign_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignStarted(_OfCampaign):
    TYPE = "campaign.started"
    TELLS = "A campaign began to send."


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignPaused(_OfCampaign):
    TYPE = "campaign.paused"
    TELLS = "A campaign waits."

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCompleted(_OfCampaign):
    TYPE = "campaign.completed"
    TELLS = "Every recipient of a campaign has an outcome."


@dataclass(frozen=True, slots=True, kw_only=True)
class CampaignCancelled(_OfCampaign):
    TYPE = "campaign.cancelled"
    TELLS = "A campaign was cancelled."


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping(TenantEvent):
    TYPE = PING
    TELLS = "You asked for a test."
    KEPT = False

    webhook_id: WebhookId


def _types(of: type[TenantEvent]) -> Iterator[type[TenantEvent]]:
    for kind in of.__subclasses__():
        if "TYPE" in vars(kind):
            yield kind
        yield from _types(kind)


_EVERY = sorted(_types(TenantEvent), key=lambda kind: kind.__module__ == of_plans.__name__)
CATALOGUE: dict[str, type[TenantEvent]] = {kind.TYPE: kind for kind in _EVERY}
