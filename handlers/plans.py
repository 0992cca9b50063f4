"""What a tenant's plan allows: `user_subscriptions.subscription_config`, read in this one place.

A value that is not of its key's kind is refused when a plan is written (`validate`). Where one is
found all the same it allows nothing and deletes nothing: a feature or permission is off, a limit is
0, a setting has its default. What SQL has to know while it counts, it reads in the same way:
plan_limit() and plan_text() of migrations/0016_plans.sql. Pure.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final, Generic, TypeAlias, TypeVar

from handlers.rules.reply import MAX_CHARS, fits
from handlers.rules.texts import storable

MAX_LIMIT = 2**31 - 1  # an integer of PostgreSQL
MAX_HOURS = 8_760  # a year
MAX_NAME_CHARS = 255  # as the column has it
PRICE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")  # a message may cost a fraction of a cent

T_co = TypeVar("T_co", covariant=True)


class Feature(StrEnum):
    CHATBOT_MANAGEMENT = "features.core_features.chatbot_management"
    CONTACT_MANAGEMENT = "features.core_features.contact_management"
    MESSAGE_HISTORY = "features.core_features.message_history"
    BASIC_ANALYTICS = "features.core_features.basic_analytics"
    LIVE_CHAT_TAKEOVER = "features.advanced_features.live_chat_takeover"
    ACTIONS_CENTER = "features.advanced_features.actions_center"
    MULTI_CHATBOT = "features.advanced_features.multi_chatbot"
    CAMPAIGN_MANAGEMENT = "features.advanced_features.campaign_management"
    ADVANCED_ANALYTICS = "features.advanced_features.advanced_analytics"
    API_ACCESS = "features.premium_features.api_access"
    WEBHOOKS = "features.premium_features.webhooks"
    WHITE_LABEL = "features.premium_features.white_label"
    BULK_OPERATIONS = "features.premium_features.bulk_operations"
    DEDICATED_SUPPORT = "features.enterprise_features.dedicated_support"
    PRIORITY_QUEUE = "features.enterprise_features.priority_queue"
    CUSTOM_REPORTS = "features.enterprise_features.custom_reports"
    SLA_GUARANTEE = "features.enterprise_features.sla_guarantee"


class Permission(StrEnum):
    EXPORT_DATA = "permissions.export_data"
    DELETE_CONVERSATIONS = "permissions.delete_conversations"
    MANAGE_BILLING = "permissions.manage_billing"
    INVITE_TEAM_MEMBERS = "permissions.invite_team_members"
    CONFIGURE_INTEGRATIONS = "permissions.configure_integrations"
    ACCESS_RAW_LOGS = "permissions.access_raw_logs"


class Limit(StrEnum):
    MAX_CHATBOTS = "limits.max_chatbots"
    MAX_CONTACTS = "limits.max_contacts"
    MAX_TEAM_MEMBERS = "limits.max_team_members"
    MAX_WEBHOOKS = "limits.max_webhooks"
    MAX_API_KEYS = "limits.max_api_keys"
    MAX_CONCURRENT_CONVERSATIONS = "limits.max_concurrent_conversations"
    MAX_ACTIONS_PER_DAY = "limits.max_actions_per_day"
    MAX_MESSAGES_PER_CONTACT_DAY = "limits.max_messages_per_contact_day"
    MAX_TOKENS_PER_CONTACT_DAY = "limits.max_tokens_per_contact_day"
    MAX_TEST_TOKENS_PER_DAY = "limits.max_test_tokens_per_day"


class AtLimit(StrEnum):
    REFUSE = "refuse"
    OVERAGE = "overage"


# ---- kinds of values -----------------------------------------------------------------------------


def _anything(_: Any) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    read: Callable[[object], T_co | None]  # None: the value is not of this kind
    problem: str  # with such a value, after its path
    schema: Mapping[str, Any]  # of such values, as JSON Schema has it
    writable: Callable[[Any], bool] = _anything  # asked beside, of a value that is of this kind

    def takes(self, value: object) -> bool:
        return self.read(value) is not None and self.writable(value)


def _boolean(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _whole(least: int, most: int) -> Callable[[object], int | None]:
    def read(value: object) -> int | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return None
        return value if least <= value <= most else None

    return read


def _price(value: object) -> Decimal | None:
    """Of a decimal text, or of a number as it is spelt."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return Decimal(text) if PRICE.fullmatch(text := str(value)) else None


def _at_limit(value: object) -> AtLimit | None:
    return next((choice for choice in AtLimit if choice == value), None)


def _text(value: object) -> str | None:
    # Blanks as SQL trims them, not all that Unicode has.
    return value.strip(" \t\n\r\v\f") or None if isinstance(value, str) else None


def _texts(value: object) -> list[str] | None:
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _is_name(value: str) -> bool:
    return bool(value.strip()) and len(value) <= MAX_NAME_CHARS and storable(value) == value


def _is_message(value: str) -> bool:
    """As WhatsApp takes it whole."""
    return bool(value.strip()) and fits(value)


def _from(least: int, most: int) -> Mapping[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


def _sized(most: int) -> Mapping[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": most, "pattern": r"\S"}


_AMOUNT: Mapping[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": f"^{PRICE.pattern}$"},
        {"type": "number", "minimum": 0, "exclusiveMaximum": 10**12},
    ]
}

BOOLEAN = Kind(_boolean, "is neither true nor false", {"type": "boolean"})
COUNT = Kind(_whole(0, MAX_LIMIT), "is not a whole number from 0", _from(0, MAX_LIMIT))
HOURS = Kind(
    _whole(1, MAX_HOURS), f"is not a whole number from 1 to {MAX_HOURS}", _from(1, MAX_HOURS)
)
PERCENT = Kind(_whole(0, 100), "is not a whole number from 0 to 100", _from(0, 100))
MONEY = Kind(_price, "is not an amount like 0.05, with at most 6 decimals", _AMOUNT)
CHOICE = Kind(_at_limit, "is neither refuse nor overage", {"enum": [*AtLimit]})
NAME = Kind(
    _text,
    f"is not a text of 1 to {MAX_NAME_CHARS} characters",
    _sized(MAX_NAME_CHARS),
    _is_name,
)
MESSAGE = Kind(
    _text, f"is not a text of 1 to {MAX_CHARS} characters", _sized(MAX_CHARS), _is_message
)
TEXTS = Kind(_texts, "is not a list of texts", {"type": "array", "items": {"type": "string"}})
OBJECT = Kind(_object, "is not a JSON object", {"type": "object"})


# ---- settings: keys that neither open nor bound --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting(Generic[T_co]):
    path: str
    kind: Kind[T_co]
    default: T_co  # also of what is not of its kind


SUBSCRIPTION_NAME = Setting("subscription_name", NAME, "standard")
ON_MESSAGE_LIMIT = Setting("limits.on_message_limit", CHOICE, AtLimit.REFUSE)
MESSAGE_LIMIT_NOTICE = Setting("limits.message_limit_notice", MESSAGE, None)
OVERAGE_MESSAGE_PRICE = Setting("limits.overage_message_price", MONEY, None)
ON_CAMPAIGN_LIMIT = Setting("limits.on_campaign_limit", CHOICE, AtLimit.REFUSE)
OVERAGE_CAMPAIGN_PRICE = Setting("limits.overage_campaign_price", MONEY, None)
REPLY_RESERVE_PERCENT = Setting("limits.reply_reserve_percent", PERCENT, 20)
ACTION_EXPIRY_HOURS = Setting("limits.action_expiry_hours", HOURS, 24)
# A number of days like any limit, but 0 of them would delete everything: all are kept.
MESSAGE_HISTORY_DAYS = Setting("limits.message_history_days", COUNT, None)
RESPONSE_TIME_HOURS = Setting("custom_settings.support.response_time_hours", HOURS, 24)

SETTINGS: Final[tuple[Setting[Any], ...]] = (
    SUBSCRIPTION_NAME,
    ON_MESSAGE_LIMIT,
    MESSAGE_LIMIT_NOTICE,
    OVERAGE_MESSAGE_PRICE,
    ON_CAMPAIGN_LIMIT,
    OVERAGE_CAMPAIGN_PRICE,
    REPLY_RESERVE_PERCENT,
    ACTION_EXPIRY_HOURS,
    MESSAGE_HISTORY_DAYS,
    RESPONSE_TIME_HOURS,
)

# Of every key its kind. The last of them are kept for whoever looks at the plan.
KINDS: Final[dict[str, Kind[Any]]] = {
    **dict.fromkeys([*Feature, *Permission], BOOLEAN),
    **dict.fromkeys(Limit, COUNT),
    **{setting.path: setting.kind for setting in SETTINGS},
    "custom_settings.branding.custom_logo": BOOLEAN,
    "custom_settings.branding.custom_colors": BOOLEAN,
    "custom_settings.branding.hide_powered_by": BOOLEAN,
    "custom_settings.support.priority_level": NAME,
    "custom_settings.support.dedicated_manager": BOOLEAN,
    "custom_settings.support.phone_support": BOOLEAN,
    "custom_settings.integrations": TEXTS,
    "custom_settings.custom_fields": OBJECT,
}


# ---- a plan as it is found -----------------------------------------------------------------------

_MISSING = object()
_ASTRAY = object()  # what should hold the key is no object: a value of no kind


@dataclass(frozen=True, slots=True)
class Plan:
    config: object  # as it is stored

    def allows(self, key: Feature | Permission) -> bool:
        value = self._at(key)
        return value is _MISSING or value is True

    def limit(self, key: Limit) -> int | None:
        """None: there is none."""
        value = self._at(key)
        return None if value is _MISSING else COUNT.read(value) or 0

    def get(self, setting: Setting[T_co]) -> T_co:
        value = setting.kind.read(self._at(setting.path))
        return setting.default if value is None else value

    def _at(self, path: str) -> object:
        value = self.config
        for name in path.split("."):
            if not isinstance(value, dict):
                return _ASTRAY
            if name not in value:
                return _MISSING
            value = value[name]
        return value


# ---- a plan before it is written -----------------------------------------------------------------

Form: TypeAlias = "dict[str, Form | Kind[Any]]"


def _form() -> Form:
    """KINDS as objects in objects."""
    form: Form = {}
    for path, kind in KINDS.items():
        *parents, name = path.split(".")
        within = form
        for parent in parents:
            inner = within.setdefault(parent, {})
            assert isinstance(inner, dict), "no key is an object and a value"
            within = inner
        within[name] = kind
    return form


def _paths(form: Form, parent: str = "") -> Iterator[tuple[str, str]]:
    """Every name in a form, and where it is."""
    for name, inner in form.items():
        yield name, parent + name
        if not isinstance(inner, Kind):
            yield from _paths(inner, f"{parent}{name}.")


FORM: Final = _form()
_PATHS: Final = dict(_paths(FORM))


def validate(config: object) -> list[str]:
    """All that keeps a plan from being written, each with the path at which it is."""
    return list(_problems(config, FORM, ""))


def _problems(value: object, form: Form | Kind[Any], path: str) -> Iterator[str]:
    if isinstance(form, Kind):
        if not form.takes(value):
            yield f"{path} {form.problem}"
        return
    if not isinstance(value, dict):
        yield f"{path or 'the plan'} is not a JSON object"
        return
    for name, inner in value.items():
        spelt = name if name.isidentifier() else repr(name)
        inner_path = f"{path}.{spelt}" if path else spelt
        if name in form:
            yield from _problems(inner, form[name], inner_path)
        else:
            # Kept, a misspelt feature would leave allowed what it was to forbid.
            near = difflib.get_close_matches(name, _PATHS, n=1)
            meant = f"is it {_PATHS[near[0]]}?" if near else f"there are {', '.join(form)}"
            yield f"{inner_path} is no key of a plan: {meant}"
