"""What tenants are told of their plans: a part of the catalogue. Pure."""

from dataclasses import dataclass
from datetime import date

from db.ids import SubscriptionId
from handlers.deliveries.event import TenantEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class _OfLimit(TenantEvent):
    limit: str  # its key in the plan, or the column
    day: date
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitWarning(_OfLimit):
    """Written where the limit is counted, as often as LimitReached."""

    TYPE = "limit.warning"
    TELLS = "80 % of a limit is used."

    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached(_OfLimit):
    """Written where the limit is counted, in SQL: once a day, a monthly one once a month."""

    TYPE = "limit.reached"
    TELLS = "A limit is used up."


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEvent(TenantEvent):
    subscription_id: SubscriptionId
    subscription_name: str
    contract_end_date: date  # the last day, by the tenant's clock


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionExpiring(SubscriptionEvent):
    TYPE = "subscription.expiring"
    TELLS = "A subscription that does not renew ends in 14, 7 or 1 days."

    days_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionEnded(SubscriptionEvent):
    TYPE = "subscription.ended"
    TELLS = "A subscription has ended; messages are recorded and not answered."
