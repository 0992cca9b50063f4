"""What a plan allows, whatever it holds, and what is refused when one is written."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.plans import (
    ACTION_EXPIRY_HOURS,
    KINDS,
    MESSAGE_HISTORY_DAYS,
    MESSAGE_LIMIT_NOTICE,
    ON_CAMPAIGN_LIMIT,
    ON_MESSAGE_LIMIT,
    OVERAGE_CAMPAIGN_PRICE,
    OVERAGE_MESSAGE_PRICE,
    REPLY_RESERVE_PERCENT,
    RESPONSE_TIME_HOURS,
    SETTINGS,
    SUBSCRIPTION_NAME,
    Feature,
    Limit,
    Permission,
    Plan,
    Setting,
    validate,
)
from tests.plans import ODD

# As the product is documented, and beside it every key of ours.
DOCUMENTED = """
{
  "subscription_name": "gold",
  "features": {
    "core_features": {
      "chatbot_management": true, "contact_management": true, "message_history": true,
      "basic_analytics": true
    },
    "advanced_features": {
      "live_chat_takeover": true, "actions_center": true, "multi_chatbot": true,
      "campaign_management": true, "advanced_analytics": false
    },
    "premium_features": {
      "api_access": false, "webhooks": false, "white_label": false, "bulk_operations": true
    },
    "enterprise_features": {
      "dedicated_support": true, "priority_queue": true, "custom_reports": false,
      "sla_guarantee": false
    }
  },
  "limits": {
    "max_chatbots": 3, "max_contacts": 10000, "max_team_members": 5, "message_history_days": 365,
    "max_webhooks": 2, "max_api_keys": 1, "max_concurrent_conversations": 50,
    "max_actions_per_day": 20, "on_message_limit": "overage", "message_limit_notice": "Tomorrow.",
    "action_expiry_hours": 48, "max_messages_per_contact_day": 0,
    "max_tokens_per_contact_day": 2147483647, "max_test_tokens_per_day": 1,
    "overage_message_price": "0.05", "on_campaign_limit": "overage",
    "overage_campaign_price": 2.5, "reply_reserve_percent": 100
  },
  "permissions": {
    "export_data": true, "delete_conversations": false, "manage_billing": true,
    "invite_team_members": true, "configure_integrations": false, "access_raw_logs": false
  },
  "custom_settings": {
    "branding": {"custom_logo": false, "custom_colors": false, "hide_powered_by": true},
    "support": {
      "priority_level": "standard", "dedicated_manager": false, "phone_support": true,
      "response_time_hours": 4
    },
    "integrations": ["shopify", "stripe"],
    "custom_fields": {"industry": "e-commerce", "of": {"any": ["kind", null]}}
  }
}
"""
OPENING = [*Feature, *Permission]


def with_value(path: str, value: Any) -> dict[str, Any]:
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


def paths(value: Any, parent: str = "") -> set[str]:
    if not isinstance(value, dict) or parent == "custom_settings.custom_fields.":
        return {parent.rstrip(".")}
    return {path for name, inner in value.items() for path in paths(inner, f"{parent}{name}.")}


# ---- reading -------------------------------------------------------------------------------------


def test_every_documented_key_is_known_and_no_other() -> None:
    plan = json.loads(DOCUMENTED)
    assert validate(plan) == []
    assert paths(plan) == set(KINDS)


def test_a_plan_means_what_it_says() -> None:
    plan = Plan(json.loads(DOCUMENTED))
    refused = {key.rpartition(".")[2] for key in OPENING if not plan.allows(key)}
    assert refused == {
        *("advanced_analytics", "api_access", "webhooks", "white_label", "custom_reports"),
        *("sla_guarantee", "delete_conversations", "configure_integrations", "access_raw_logs"),
    }
    assert [plan.limit(key) for key in Limit] == [3, 10000, 5, 2, 1, 50, 20, 0, 2**31 - 1, 1]
    assert plan.get(SUBSCRIPTION_NAME) == "gold"
    assert (plan.get(ON_MESSAGE_LIMIT), plan.get(ON_CAMPAIGN_LIMIT)) == ("overage", "overage")
    assert plan.get(MESSAGE_LIMIT_NOTICE) == "Tomorrow."
    assert plan.get(OVERAGE_MESSAGE_PRICE) == Decimal("0.05")
    assert plan.get(OVERAGE_CAMPAIGN_PRICE) == Decimal("2.5")
    assert (plan.get(ACTION_EXPIRY_HOURS), plan.get(RESPONSE_TIME_HOURS)) == (48, 4)
    assert (plan.get(MESSAGE_HISTORY_DAYS), plan.get(REPLY_RESERVE_PERCENT)) == (365, 100)


@pytest.mark.parametrize("config", [{}, {"features": {}, "limits": {}, "permissions": {}}])
def test_what_is_missing_is_allowed_and_unbounded(config: dict[str, Any]) -> None:
    plan = Plan(config)
    assert all(plan.allows(key) for key in OPENING)
    assert {plan.limit(key) for key in Limit} == {None}
    assert [plan.get(setting) for setting in SETTINGS] == [s.default for s in SETTINGS]


@pytest.mark.parametrize("value", [value for value in ODD if value != "true"])
def test_nothing_but_true_opens(value: str) -> None:
    for key in OPENING:
        config = with_value(key, json.loads(value))
        assert not Plan(config).allows(key)
        assert (validate(config) == []) == (value == "false"), key


@pytest.mark.parametrize("value", [value for value in ODD if value not in ("0", "1")])
def test_what_is_no_whole_number_is_a_limit_of_0(value: str) -> None:
    for key in Limit:
        config = with_value(key, json.loads(value))
        assert Plan(config).limit(key) == 0
        assert validate(config) == [f"{key} is not a whole number from 0"]


A_TEXT = {'"no"', '"false"', '"true"', '"0"', '"5"', '"refuse "', '"1.5.1"'}
A_PRICE = {"0", "1", "1.5", "3.0", "2147483648", '"0"', '"5"'}
ITS_OWN: dict[str, set[str]] = {
    SUBSCRIPTION_NAME.path: A_TEXT,
    MESSAGE_LIMIT_NOTICE.path: A_TEXT,
    OVERAGE_MESSAGE_PRICE.path: A_PRICE,
    OVERAGE_CAMPAIGN_PRICE.path: A_PRICE,
    REPLY_RESERVE_PERCENT.path: {"0", "1"},
    ACTION_EXPIRY_HOURS.path: {"1"},
    MESSAGE_HISTORY_DAYS.path: {"0", "1"},
    RESPONSE_TIME_HOURS.path: {"1"},
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.path)
def test_a_setting_of_another_kind_is_its_default(setting: Setting[Any]) -> None:
    taken = ITS_OWN.get(setting.path, set())
    for value in ODD:
        config = with_value(setting.path, json.loads(value))
        assert (validate(config) == []) == (value in taken), value
        if value not in taken and value != '"\\u00a0"':  # that one is a text, but nobody sees it
            assert Plan(config).get(setting) == setting.default, value


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_is_no_object_holds_no_key_and_allows_nothing(depth: int) -> None:
    for value in (json.loads(odd) for odd in ODD if not odd.startswith("{")):
        for key in KINDS:
            names = key.split(".")
            if depth >= len(names):
                continue
            config = with_value(".".join(names[:depth]), value) if depth else value
            assert validate(config) == [
                f"{'.'.join(names[:depth]) or 'the plan'} is not a JSON object"
            ]
            if key in OPENING:
                opening = Feature(key) if key.startswith("features") else Permission(key)
                assert not Plan(config).allows(opening)
            elif key in list(Limit):
                assert Plan(config).limit(Limit(key)) == 0


# ---- writing -------------------------------------------------------------------------------------


def test_every_problem_is_named_at_once() -> None:
    config = {
        "subscription_name": "x" * 256,
        "features": {"premium_features": {"api_access": "no", "webhook": False}, "x": {}},
        "limits": {"max_chatbots": -1, "overage_message_price": "5 cents"},
        "permissions": [],
        "custom_settings": {
            "branding": {"custom_logo": 1},
            "support": {"response_time_hours": 0},
            "integrations": ["shopify", 5],
            "custom_fields": None,
        },
        "limits.max_chatbots": 3,
    }
    assert validate(config) == [
        "subscription_name is not a text of 1 to 255 characters",
        "features.premium_features.api_access is neither true nor false",
        (
            "features.premium_features.webhook is no key of a plan: is it"
            " features.premium_features.webhooks?"
        ),
        (
            "features.x is no key of a plan: there are core_features, advanced_features,"
            " premium_features, enterprise_features"
        ),
        "limits.max_chatbots is not a whole number from 0",
        "limits.overage_message_price is not an amount like 0.05, with at most 6 decimals",
        "permissions is not a JSON object",
        "custom_settings.branding.custom_logo is neither true nor false",
        "custom_settings.support.response_time_hours is not a whole number from 1 to 8760",
        "custom_settings.integrations is not a list of texts",
        "custom_settings.custom_fields is not a JSON object",
        "'limits.max_chatbots' is no key of a plan: is it limits.max_chatbots?",
    ]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("feature", "features"),
        ("features.api_access", "features.premium_features.api_access"),
        ("features.core_features.api_access", "features.premium_features.api_access"),
        ("features.premium_features.api_acces", "features.premium_features.api_access"),
        ("features.advanced_features.live_takeover", Feature.LIVE_CHAT_TAKEOVER),
        ("features.advanced_features.action_center", Feature.ACTIONS_CENTER),
        ("limits.max_chatbot", "limits.max_chatbots"),
        ("limits.Max_API_keys", "limits.max_api_keys"),
        ("permissions.delete_conversation", "permissions.delete_conversations"),
        ("custom_settings.suport", "custom_settings.support"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest(path: str, meant: str) -> None:
    assert validate(with_value(path, False)) == [f"{path} is no key of a plan: is it {meant}?"]


@pytest.mark.parametrize("value", ["x" * 4096, "\U0001f319" * 2048, " Tomorrow. "])
def test_a_notice_is_a_message(value: str) -> None:
    assert validate(with_value(MESSAGE_LIMIT_NOTICE.path, value)) == []


@pytest.mark.parametrize("value", ["x" * 4097, "\U0001f319" * 2049, "\ud800", "\0", "\u00a0\n"])
def test_a_notice_that_whatsapp_would_not_take_whole_is_none(value: str) -> None:
    assert validate(with_value(MESSAGE_LIMIT_NOTICE.path, value)) == [
        "limits.message_limit_notice is not a text of 1 to 4096 characters"
    ]


@pytest.mark.parametrize(
    ("value", "price"),
    [(0, "0"), (38, "38"), (38.5, "38.5"), ("38.50", "38.50"), ("0.000001", "0.000001")],
)
def test_a_price_is_a_text_or_a_number(value: Any, price: str) -> None:
    config = with_value(OVERAGE_MESSAGE_PRICE.path, value)
    assert validate(config) == []
    assert Plan(config).get(OVERAGE_MESSAGE_PRICE) == Decimal(price)


@pytest.mark.parametrize("value", ["-1", "1e3", "NaN", ".5", "5.", "0.0000001", 1e-7, 1e16, "٣"])
def test_what_is_no_price_costs_nothing(value: Any) -> None:
    config = with_value(OVERAGE_MESSAGE_PRICE.path, value)
    assert len(validate(config)) == 1
    assert Plan(config).get(OVERAGE_MESSAGE_PRICE) is None


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2**31)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "no", "true", "refuse", "overage", "0.5"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from(sorted(KINDS)), VALUES, max_size=12))
def test_what_is_written_is_read_and_what_is_refused_allows_nothing(keys: dict[str, Any]) -> None:
    config: dict[str, Any] = {}
    for path, value in keys.items():
        merge(config, with_value(path, value))
    refused = {problem.partition(" ")[0] for problem in validate(config)}
    assert refused <= keys.keys()
    plan = Plan(config)
    for key in OPENING:
        assert plan.allows(key) == (keys.get(key, True) is True)
        assert key not in refused or not plan.allows(key)
    for limit in Limit:
        assert plan.limit(limit) == (0 if limit in refused else keys.get(limit))
    for setting in SETTINGS:
        read = plan.get(setting)
        if setting.path in refused or setting.path not in keys:
            assert read == setting.default
        elif not isinstance(keys[setting.path], str | float):
            assert read == keys[setting.path]


def merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            merge(into[name], value)
        else:
            into[name] = value
