"""Every endpoint of the API. The router, the check of requests and the description at
/v1/openapi.json are made of it."""

from typing import Any

from ingress.api.resources import actions, chatbots, conversations, messages, usage
from ingress.api.table import Endpoint

ENDPOINTS: tuple[Endpoint[Any, Any, Any], ...] = (
    *actions.ENDPOINTS,
    *conversations.ENDPOINTS,
    *messages.ENDPOINTS,
    *chatbots.ENDPOINTS,
    *usage.ENDPOINTS,
)
