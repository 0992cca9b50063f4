"""The table of the API: every endpoint with what it takes, needs and answers.

The router, the check of requests and the description at /v1/openapi.json are made of it.
"""

from db.actions import Action
from db.tenant_api import (
    Chatbot,
    Conversation,
    Message,
)
from handlers.rules.reply import MAX_CHARS
from ingress.api.fields import Field
from ingress.api.resources.actions import (
    ACTION_STATUSES,
    DECISION,
    _action,
    _actions,
    _approve,
    _deny,
)
from ingress.api.resources.chatbots import _chatbots
from ingress.api.resources.conversations import (
    CONVERSATION_STATUSES,
    LAST_MESSAGES,
    REASON_CHARS,
    ConversationWithMessages,
    _conversation,
    _conversations,
    _hand_back,
    _messages,
    _say,
    _take_over,
)
from ingress.api.resources.usage import UsageReport, _usage
from ingress.api.table import AFTER, LIMIT, Endpoint

# ---- the table -----------------------------------------------------------------------------------


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "GET",
        "/actions",
        "actions:read",
        "What the chatbots asked a person to decide, newest first",
        _actions,
        Action,
        page=True,
        query=(
            Field("status", "choice", "only these", choices=ACTION_STATUSES),
            LIMIT,
            AFTER,
        ),
    ),
    Endpoint("GET", "/actions/{id}", "actions:read", "One action", _action, Action),
    Endpoint(
        "POST",
        "/actions/{id}/approve",
        "actions:write",
        "Approves a pending action: it is carried out, and the customer is told; safe to repeat",
        _approve,
        Action,
        body=DECISION,
        problems=("already_decided",),
    ),
    Endpoint(
        "POST",
        "/actions/{id}/deny",
        "actions:write",
        "Denies a pending action, and the customer is told; safe to repeat",
        _deny,
        Action,
        body=DECISION,
        problems=("already_decided",),
    ),
    Endpoint(
        "GET",
        "/conversations",
        "conversations:read",
        "Conversations, newest first",
        _conversations,
        Conversation,
        page=True,
        query=(
            Field("status", "choice", "only these", choices=CONVERSATION_STATUSES),
            LIMIT,
            AFTER,
        ),
    ),
    Endpoint(
        "GET",
        "/conversations/{id}",
        "conversations:read",
        f"One conversation with its last {LAST_MESSAGES} messages, oldest first",
        _conversation,
        ConversationWithMessages,
    ),
    Endpoint(
        "GET",
        "/conversations/{id}/messages",
        "conversations:read",
        "Messages of a conversation, newest first",
        _messages,
        Message,
        page=True,
        query=(LIMIT, AFTER),
    ),
    Endpoint(
        "POST",
        "/conversations/{id}/takeover",
        "conversations:write",
        "Silences the bot, so that a person answers; again: changes reason and end",
        _take_over,
        Conversation,
        body=(
            Field("reason", "text", "for your people", most=REASON_CHARS),
            Field("until", "time", "when the bot may answer again; missing: when handed back"),
        ),
        problems=("not_in_plan",),
    ),
    Endpoint(
        "POST",
        "/conversations/{id}/handback",
        "conversations:write",
        "Lets the bot answer again; safe to repeat",
        _hand_back,
        Conversation,
    ),
    Endpoint(
        "POST",
        "/conversations/{id}/messages",
        "conversations:write",
        "A person's message to the customer; takes the conversation over",
        _say,
        Message,
        body=(
            Field(
                "content_text",
                "text",
                "what the customer is to read",
                required=True,
                most=MAX_CHARS,
                message=True,
            ),
        ),
        creates=True,
        problems=(
            "not_in_plan",
            "window_closed",
            "chatbot_inactive",
            "idempotency_key_reused",
            "message_limit",
        ),
    ),
    Endpoint(
        "GET",
        "/chatbots",
        "chatbots:read",
        "Chatbots, newest first, without their access tokens",
        _chatbots,
        Chatbot,
        page=True,
        query=(LIMIT, AFTER),
    ),
    Endpoint(
        "GET",
        "/usage",
        "usage:read",
        "Today and this month by the tenant's own clock, with the limits",
        _usage,
        UsageReport,
    ),
)
