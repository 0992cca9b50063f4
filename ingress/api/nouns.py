"""The nouns of the API, in the order in which a reader meets them: the description's tags. Pure."""

from ingress.api.table import AnyEndpoint

# Of a permission, or the first step of a path that has no permission of its own.
NOUNS: dict[str, str] = {
    "chatbots": "The bots that answer, each on a WhatsApp number.",
    "knowledge": "What a chatbot knows: questions and their answers.",
    "instructions": "What a chatbot is told for one conversation.",
    "contacts": "The people who write. To delete one is to erase the person.",
    "conversations": "What is said, and by whom: people of yours take over, write and hand back.",
    "media": "Files that were sent, and that are to be sent.",
    "actions": "What a chatbot asked a person to decide.",
    "products": "What is sold, at which price, and how many there are.",
    "orders": "What was ordered, and how far it is.",
    "templates": "Texts that Meta approved, for writing first.",
    "campaigns": "One template to many people, once each.",
    "webhooks": "Addresses of yours that hear what happens, and what was delivered to them.",
    "events": "What happened, and every kind of event that there is.",
    "usage": "What was counted: today, by day, by month.",
    "analytics": "Figures of how it goes.",
    "subscription": "The plan: what it allows, its limits and their use.",
    "api-keys": "Keys of this API. A key makes no key that can do more.",
    "members": "People with a login.",
    "exports": "All your data, or a part of it, as a file.",
    "jobs": "What takes longer than a request: how far it is, and what came of it.",
}
_BY_PATH = ("jobs", "media")


def noun_of(endpoint: AnyEndpoint) -> str:
    first = endpoint.path.split("/")[1]
    if first in _BY_PATH or endpoint.permission is None:
        return first
    return endpoint.permission.partition(":")[0]


def tags(endpoints: tuple[AnyEndpoint, ...]) -> list[dict[str, str]]:
    """Of those that there are."""
    used = {noun_of(endpoint) for endpoint in endpoints}
    return [{"name": noun, "description": NOUNS[noun]} for noun in NOUNS if noun in used]
