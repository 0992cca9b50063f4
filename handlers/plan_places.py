"""Where each key of a plan acts, for docs/plans.md, whose table is made of this. Pure."""

from typing import Any, Final

from handlers.plans import (
    BOOLEAN,
    CHOICE,
    COUNT,
    HOURS,
    KINDS,
    MESSAGE,
    MONEY,
    NAME,
    OBJECT,
    PERCENT,
    SETTINGS,
    TEXTS,
    Feature,
    Kind,
    Limit,
    Permission,
)

LATER = "validated and shown; acts with "
SHOWN = "shown in `GET /v1/subscription`"

PLACES: Final[dict[str, str]] = {
    "subscription_name": "the plan's name, where none is given by `--subscription`",
    Feature.CHATBOT_MANAGEMENT: "making, changing and deleting chatbots, writing and importing"
    " knowledge, and writing instructions",
    Feature.CONTACT_MANAGEMENT: "making, changing and importing contacts by the API",
    Feature.MESSAGE_HISTORY: "reading messages by the API: they and `messages` of a conversation"
    " are 403,"
    " and `null` where the conversation itself is read",
    Feature.BASIC_ANALYTICS: "reading `GET /v1/usage`, its days and months",
    Feature.LIVE_CHAT_TAKEOVER: "takeovers and people's messages by the API; whether bots may hand"
    " a conversation over",
    Feature.ACTIONS_CENTER: "whether bots may ask for a person's decision",
    Feature.MULTI_CHATBOT: "making a second chatbot",
    Feature.CAMPAIGN_MANAGEMENT: "every call of campaigns; one that runs waits (`plan`)",
    Feature.ADVANCED_ANALYTICS: LATER + "analytics",
    Feature.API_ACCESS: "every call of the tenant API",
    Feature.WEBHOOKS: "writing webhooks; those that there are rest",
    Feature.WHITE_LABEL: LATER + "the console",
    Feature.BULK_OPERATIONS: "imports by the API; one that runs ends when it is taken away",
    Feature.DEDICATED_SUPPORT: SHOWN,
    Feature.PRIORITY_QUEUE: "twice the weight where turns and sends are claimed",
    Feature.CUSTOM_REPORTS: "exports by `columns` of one's choice",
    Feature.SLA_GUARANTEE: LATER + "the event `reply.slow`",
    Limit.MAX_CHATBOTS: "making one more chatbot",
    Limit.MAX_CONTACTS: "a new customer beyond it is recorded and not answered (`contact_limit`),"
    " and enters in order of arrival when there is room; by the API none is made, and lines of an"
    " import beyond it are rejected",
    Limit.MAX_TEAM_MEMBERS: LATER + "the console",
    Limit.MAX_WEBHOOKS: "making one more webhook; missing: 50",
    Limit.MAX_API_KEYS: "making one more API key",
    Limit.MAX_CONCURRENT_CONVERSATIONS: "turns that run at once; others wait, none is refused",
    Limit.MAX_ACTIONS_PER_DAY: "decisions that bots ask for, a day of the tenant's",
    Limit.MAX_MESSAGES_PER_CONTACT_DAY: "answers to one customer, a day of the tenant's; then one"
    " notice, and silence",
    Limit.MAX_TOKENS_PER_CONTACT_DAY: "tokens of models for one customer, a day of the tenant's;"
    " then one notice, and silence",
    Limit.MAX_TEST_TOKENS_PER_DAY: "`POST /v1/chatbots/{id}/ask` and `evals`, `swiftreplies"
    " eval`: tokens of the model, a day of the tenant's; 0: never",
    "limits.on_message_limit": "at a message limit: `refuse` gives no answer, `overage` gives one"
    " and counts it apart",
    "limits.message_limit_notice": "with `refuse`: what the customer is told, once a conversation"
    " and day",
    "limits.overage_message_price": SHOWN + " where billing is; prices the overage",
    "limits.on_campaign_limit": "at a limit of campaigns: `refuse` starts none, `overage` starts"
    " one and counts it apart",
    "limits.overage_campaign_price": SHOWN + " where billing is; not yet in `overage_cost`",
    "limits.reply_reserve_percent": "the part of the daily and monthly limit of messages that"
    " campaigns leave for answers",
    "limits.action_expiry_hours": "when an undecided action expires",
    "limits.message_history_days": "messages that are older are removed; missing or of another"
    " kind, all is kept",
    Permission.EXPORT_DATA: "exports by the API, of all and of knowledge, contacts, products",
    Permission.DELETE_CONVERSATIONS: "erasing contacts and deleting chatbots by the API",
    Permission.MANAGE_BILLING: "billing fields and prices in `GET /v1/subscription`",
    Permission.INVITE_TEAM_MEMBERS: LATER + "the console",
    Permission.CONFIGURE_INTEGRATIONS: "making API keys; writing webhooks",
    Permission.ACCESS_RAW_LOGS: "`?raw=true` on messages: `metadata` whole",
    "custom_settings.branding.custom_logo": LATER + "the console",
    "custom_settings.branding.custom_colors": LATER + "the console",
    "custom_settings.branding.hide_powered_by": LATER + "the console",
    "custom_settings.support.priority_level": SHOWN,
    "custom_settings.support.dedicated_manager": SHOWN,
    "custom_settings.support.phone_support": SHOWN,
    "custom_settings.support.response_time_hours": "how long a bot that handed over waits for a"
    " person's word, before it says so and goes on",
    "custom_settings.integrations": SHOWN,
    "custom_settings.custom_fields": SHOWN,
}

_KINDS: Final[tuple[tuple[Kind[Any], str], ...]] = (
    (BOOLEAN, "true or false"),
    (COUNT, "whole number ≥ 0"),
    (HOURS, "hours, 1 to 8760"),
    (PERCENT, "0 to 100"),
    (MONEY, 'amount, `"0.05"`'),
    (CHOICE, "`refuse` or `overage`"),
    (NAME, "text, 255 characters"),
    (MESSAGE, "text, a WhatsApp message"),
    (TEXTS, "list of texts"),
    (OBJECT, "object"),
)


def table() -> str:
    """Markdown, a line a key."""
    lines = ["| key | value | missing | where it acts |", "|---|---|---|---|"]
    lines += [
        f"| `{key}` | {_kind(kind)} | {_missing(key)} | {PLACES[key]} |"
        for key, kind in KINDS.items()
    ]
    return "\n".join(lines) + "\n"


def _kind(kind: Kind[Any]) -> str:
    return next(words for one, words in _KINDS if one is kind)


def _missing(key: str) -> str:
    if key in [*Feature, *Permission]:
        return "allowed"
    if key in [*Limit]:
        return "unbounded"
    default = next((one.default for one in SETTINGS if one.path == key), None)
    return "-" if default is None else f"`{default}`"
