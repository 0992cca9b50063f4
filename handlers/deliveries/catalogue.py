"""What tenants are told: one type an event, with its fields. Pure.

Whoever tells a tenant something names one of these. The fields are the event's data; the chatbot
and the contact that an event is about stand in columns of their own beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, ClassVar, Literal

from db.ids import ActionId, ChatbotId, ContactId, ConversationId, MessageId

_COLUMNS = ("chatbot_id", "contact_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantEvent:
    """Of one tenant, written in the transaction of what it tells."""

    TYPE: ClassVar[str]

    chatbot_id: ChatbotId | None = None
    contact_id: ContactId | None = None

    @property
    def data(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            field.name: _plain(getattr(self, field.name))
            for field in fields(self)
            if field.name not in _COLUMNS
        }


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactMoved(TenantEvent):
    """A customer has another number, another BSUID, or both."""

    TYPE = "contact.moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionEvent(TenantEvent):
    action_id: ActionId
    request_type: str
    status: str
    auto_approved_by: ActionId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionCreated(ActionEvent):
    TYPE = "action.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionDecided(ActionEvent):
    TYPE = "action.decided"


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionExpired(ActionEvent):
    TYPE = "action.expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFailed(TenantEvent):
    """A message will not reach its customer."""

    TYPE = "message.failed"

    message_id: MessageId
    reason: str  # a fixed word
    detail: str | None  # Meta's code and title


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationTakenOver(TenantEvent):
    """The bot is silent in it."""

    TYPE = "conversation.taken_over"

    conversation_id: ConversationId
    by: Literal["human", "bot", "product"]  # the product: it had no answer
    reason: str | None
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BotFailing(TenantEvent):
    """The chatbot handed a conversation over because it had no answer. Told once, until it answers
    again; every such conversation is told by itself."""

    TYPE = "bot.failing"

    conversation_id: ConversationId
    reason: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class BotRecovered(TenantEvent):
    TYPE = "bot.recovered"


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached(TenantEvent):
    """Written where the limit is counted, in SQL: once a day, a monthly one once a month."""

    TYPE = "limit.reached"

    limit: Literal["daily_message_limit", "monthly_message_limit", "max_actions_per_day"]
    day: date
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingPaused(TenantEvent):
    """Nothing of the chatbot's number leaves until then."""

    TYPE = "sending.paused"

    reason: str
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingResumed(TenantEvent):
    TYPE = "sending.resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountEvent(TenantEvent):
    """Meta told something of the account, its templates or its numbers; kept whole."""

    TYPE = "account.event"

    field: str  # Meta's
    event: str | None
    account_event_id: int


def _types(of: type[TenantEvent]) -> Iterator[type[TenantEvent]]:
    for kind in of.__subclasses__():
        if "TYPE" in vars(kind):
            yield kind
        yield from _types(kind)


CATALOGUE: dict[str, type[TenantEvent]] = {kind.TYPE: kind for kind in _types(TenantEvent)}
