"""What every event that tenants are told has. Pure."""

from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar, Literal

from db.ids import ChatbotId, ContactId

_COLUMNS = ("chatbot_id", "contact_id")

Row = Literal["message", "contact", "conversation", "action", None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantEvent:
    """Of one tenant, written in the transaction of what it tells."""

    TYPE: ClassVar[str]
    TELLS: ClassVar[str]  # when, in a sentence for tenants
    OF: ClassVar[Row] = None  # the row whose fields are told along
    KEPT: ClassVar[bool] = True  # as a row of analytics_events, whether or not a webhook wants it

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
    if isinstance(value, Decimal):
        return str(value)
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date
