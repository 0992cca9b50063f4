"""A plan as it is shown: every feature, every limit with its use, permissions, contract. Pure."""

import json
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from db.ids import SubscriptionId
from db.pages import StoredJson
from db.subscriptions import Subscription, Uses
from handlers.plans import (
    ACTION_EXPIRY_HOURS,
    MESSAGE_HISTORY_DAYS,
    MESSAGE_LIMIT_NOTICE,
    ON_CAMPAIGN_LIMIT,
    ON_MESSAGE_LIMIT,
    OVERAGE_CAMPAIGN_PRICE,
    OVERAGE_MESSAGE_PRICE,
    REPLY_RESERVE_PERCENT,
    Feature,
    Limit,
    Permission,
    Plan,
)


@dataclass(frozen=True, slots=True)
class OfLimit:
    limit: int | None  # None: there is none
    used: int | None  # None: it is not counted all together, or nothing is yet


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    on_message_limit: str
    message_limit_notice: str | None
    on_campaign_limit: str
    reply_reserve_percent: int
    action_expiry_hours: int
    message_history_days: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    subscription_id: SubscriptionId
    subscription_name: str
    in_force: bool  # today, by the tenant's clock
    contract_start_date: date
    contract_end_date: date | None
    auto_renew: bool
    # None of these is told to who may not see what the plan costs.
    billing_amount: Decimal | None
    billing_currency: str | None
    billing_cycle: str | None
    overage_message_price: Decimal | None
    overage_campaign_price: Decimal | None
    features: dict[str, dict[str, bool]]
    limits: dict[str, OfLimit]
    settings: Settings
    permissions: dict[str, bool]
    custom_settings: StoredJson


def shown(plan: Subscription, uses: Uses, *, billing: bool) -> Shown:
    """`billing`: with what it costs."""
    config = Plan(plan.subscription_config)
    return Shown(
        subscription_id=plan.id,
        subscription_name=plan.subscription_name,
        in_force=plan.in_force,
        contract_start_date=plan.contract_start_date,
        contract_end_date=plan.contract_end_date,
        auto_renew=plan.auto_renew,
        billing_amount=plan.billing_amount if billing else None,
        billing_currency=plan.billing_currency if billing else None,
        billing_cycle=plan.billing_cycle if billing else None,
        overage_message_price=config.get(OVERAGE_MESSAGE_PRICE) if billing else None,
        overage_campaign_price=config.get(OVERAGE_CAMPAIGN_PRICE) if billing else None,
        features=_features(config),
        limits=_limits(plan, config, uses),
        settings=Settings(
            on_message_limit=config.get(ON_MESSAGE_LIMIT),
            message_limit_notice=config.get(MESSAGE_LIMIT_NOTICE),
            on_campaign_limit=config.get(ON_CAMPAIGN_LIMIT),
            reply_reserve_percent=config.get(REPLY_RESERVE_PERCENT),
            action_expiry_hours=config.get(ACTION_EXPIRY_HOURS),
            message_history_days=config.get(MESSAGE_HISTORY_DAYS),
        ),
        permissions={_last(key): config.allows(key) for key in Permission},
        custom_settings=StoredJson(json.dumps(_custom(plan.subscription_config))),
    )


def _features(config: Plan) -> dict[str, dict[str, bool]]:
    groups: dict[str, dict[str, bool]] = {}
    for key in Feature:
        _, group, name = key.split(".")
        groups.setdefault(group, {})[name] = config.allows(key)
    return groups


def _limits(plan: Subscription, config: Plan, uses: Uses) -> dict[str, OfLimit]:
    found = {
        "daily_message_limit": (plan.daily_message_limit, uses.daily_messages),
        "monthly_message_limit": (plan.monthly_message_limit, uses.monthly_messages),
        "daily_campaign_limit": (plan.daily_campaign_limit, uses.daily_campaigns),
        "monthly_campaign_limit": (plan.monthly_campaign_limit, uses.monthly_campaigns),
        **{_last(key): (config.limit(key), getattr(uses, _last(key), None)) for key in Limit},
    }
    return {name: OfLimit(limit, used) for name, (limit, used) in found.items()}


def _custom(config: object) -> dict[str, Any]:
    custom = config.get("custom_settings") if isinstance(config, dict) else None
    return custom if isinstance(custom, dict) else {}


def _last(path: str) -> str:
    return path.rsplit(".", 1)[-1]
