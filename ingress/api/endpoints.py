"""Every endpoint of the API. The router, the check of requests and the description at
/v1/openapi.json are made of it."""

from typing import Any

from ingress.api.resources import (
    actions,
    api_keys,
    asks,
    bulk,
    chatbots,
    contacts,
    conversations,
    deletions,
    deliveries,
    events,
    exports,
    facts,
    instructions,
    jobs,
    knowledge,
    media,
    messages,
    orders,
    products,
    subscription,
    unanswered,
    usage,
    webhooks,
)
from ingress.api.table import Endpoint

ENDPOINTS: tuple[Endpoint[Any, Any, Any], ...] = (
    *actions.ENDPOINTS,
    *conversations.ENDPOINTS,
    *facts.ENDPOINTS,
    *instructions.ENDPOINTS,
    *messages.ENDPOINTS,
    *media.ENDPOINTS,
    *chatbots.ENDPOINTS,
    *asks.ENDPOINTS,
    *unanswered.ENDPOINTS,
    *deletions.ENDPOINTS,
    *knowledge.ENDPOINTS,
    *bulk.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *deliveries.ENDPOINTS,
    *events.ENDPOINTS,
    *contacts.ENDPOINTS,
    *products.ENDPOINTS,
    *orders.ENDPOINTS,
    *exports.ENDPOINTS,
    *jobs.ENDPOINTS,
    *usage.ENDPOINTS,
    *subscription.ENDPOINTS,
    *api_keys.ENDPOINTS,
)
