"""The table of the API: every endpoint with what it takes, needs and answers.

The router, the check of requests and the description at /v1/openapi.json are made of it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from db.actions import Action, list_actions, read_action
from db.api_keys import Access
from db.ids import ActionId, ApiKeyId, ConversationId, UserId
from db.pool import Conn
from db.tenant_api import (
    Chatbot,
    Conversation,
    Message,
    Usage,
    list_chatbots,
    list_conversations,
    list_messages,
    read_conversation,
    read_message,
    read_usage,
)
from handlers import actions, takeover
from handlers.rules.reply import MAX_CHARS
from ingress.api.fields import Field
from ingress.api.problems import Problem

ACTION_STATUSES = ("pending", "approved", "denied", "expired")
CONVERSATION_STATUSES = ("bot", "taken_over", "paused")
PAGE, PAGE_MAX = 50, 200
LAST_MESSAGES = 20
REASON_CHARS = 200

LIMIT = Field("limit", "count", "how many a page holds", most=PAGE_MAX, default=PAGE)
AFTER = Field("after", "cursor", "`next` of the page before")
DECISION = (
    Field(
        "user_response",
        "text",
        "what the bot tells the customer about it",
        most=actions.MAX_RESPONSE_CHARS,
    ),
    Field(
        "auto_approve_similar",
        "flag",
        "approve later ones of this chatbot and type without asking; kept with an approval only",
        default=False,
    ),
)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, found valid."""

    user_id: UserId
    key_id: ApiKeyId
    access: Access
    id: int  # of the path; 0 where it has none
    query: dict[str, Any]
    body: dict[str, Any]
    idempotency_key: str | None
    request_hash: bytes
    now: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Of a list; `next` is the last id where there may be more."""

    data: list[Any]
    next: str | None


@dataclass(frozen=True, slots=True)
class Answer:
    body: Any
    status: int = 200


Work = Callable[[Conn, Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    method: Literal["GET", "POST"]
    path: str  # below /v1
    permission: str
    summary: str
    work: Work
    answers: type  # the row, or with page=True the rows of a page
    page: bool = False
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    creates: bool = False  # answers 201, and knows the Idempotency-Key
    problems: tuple[str, ...] = field(default=())  # beside those that any may have

    @property
    def has_id(self) -> bool:
        return "{id}" in self.path


@dataclass(frozen=True, slots=True)
class ConversationWithMessages:
    conversation: Conversation
    messages: list[Message]  # the last ones, oldest first


@dataclass(frozen=True, slots=True)
class Today:
    tracking_date: str
    ends_at: datetime
    daily_message_limit: int | None
    daily_messages_sent: int
    daily_messages_received: int
    daily_overage_messages: int
    messages_reserved: int
    live_takeovers_used: int
    actions_created: int
    api_calls_made: int


@dataclass(frozen=True, slots=True)
class Month:
    year: int
    month: int
    ends_at: datetime
    monthly_message_limit: int | None
    total_messages_sent: int
    overage_messages: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    timezone: str
    subscription_name: str | None
    today: Today
    month: Month


# ---- reading -------------------------------------------------------------------------------------


async def _actions(conn: Conn, call: Call) -> Answer:
    q = call.query
    rows = await list_actions(conn, call.user_id, q["status"], q["after"], q["limit"] + 1)
    return _page(rows, q["limit"])


async def _action(conn: Conn, call: Call) -> Answer:
    return Answer(_there(await read_action(conn, call.user_id, ActionId(call.id))))


async def _conversations(conn: Conn, call: Call) -> Answer:
    q = call.query
    rows = await list_conversations(conn, call.user_id, q["after"], q["status"], q["limit"] + 1)
    return _page(rows, q["limit"])


async def _conversation(conn: Conn, call: Call) -> Answer:
    conversation_id = ConversationId(call.id)
    found = _there(await read_conversation(conn, call.user_id, conversation_id))
    last = await list_messages(conn, call.user_id, None, conversation_id, LAST_MESSAGES)
    return Answer(ConversationWithMessages(found, last[::-1]))


async def _messages(conn: Conn, call: Call) -> Answer:
    conversation_id = ConversationId(call.id)
    _there(await read_conversation(conn, call.user_id, conversation_id))
    q = call.query
    rows = await list_messages(conn, call.user_id, q["after"], conversation_id, q["limit"] + 1)
    return _page(rows, q["limit"])


async def _chatbots(conn: Conn, call: Call) -> Answer:
    q = call.query
    rows = await list_chatbots(conn, call.user_id, q["after"], q["limit"] + 1)
    return _page(rows, q["limit"])


async def _usage(conn: Conn, call: Call) -> Answer:
    u: Usage = _there(await read_usage(conn, call.user_id))
    today = Today(
        tracking_date=u.tracking_date.isoformat(),
        ends_at=u.day_ends_at,
        daily_message_limit=u.daily_message_limit,
        daily_messages_sent=u.daily_messages_sent,
        daily_messages_received=u.daily_messages_received,
        daily_overage_messages=u.daily_overage_messages,
        messages_reserved=u.messages_reserved,
        live_takeovers_used=u.live_takeovers_used,
        actions_created=u.actions_created,
        api_calls_made=u.api_calls_made,
    )
    month = Month(
        year=u.year,
        month=u.month,
        ends_at=u.month_ends_at,
        monthly_message_limit=u.monthly_message_limit,
        total_messages_sent=u.total_messages_sent,
        overage_messages=u.overage_messages,
    )
    return Answer(UsageReport(u.timezone, u.subscription_name, today, month))


def _there(row: Any) -> Any:
    if row is None:
        raise Problem("not_found", "There is nothing with this id, or it is not yours.")
    return row


def _page(rows: list[Any], limit: int) -> Answer:
    """One more than asked for was read, to know whether there is a next page."""
    more = len(rows) > limit
    return Answer(Page(rows[:limit], str(rows[limit - 1].id) if more else None))


# ---- deciding ------------------------------------------------------------------------------------


async def _approve(conn: Conn, call: Call) -> Answer:
    return await _decide(conn, call, "approved")


async def _deny(conn: Conn, call: Call) -> Answer:
    return await _decide(conn, call, "denied")


async def _decide(conn: Conn, call: Call, verdict: Literal["approved", "denied"]) -> Answer:
    outcome: actions.Outcome = _there(
        await actions.decide(
            conn,
            call.user_id,
            ActionId(call.id),
            verdict,
            call.body["user_response"],
            auto_approve_similar=call.body["auto_approve_similar"],
        )
    )
    if outcome.won or outcome.action.status == verdict:
        return Answer(outcome.action)
    resolved_at = outcome.action.resolved_at
    raise Problem(
        "already_decided",
        f"The action is {outcome.action.status}"
        f"{f' since {resolved_at.isoformat()}' if resolved_at else ''}, and a decision is final.",
        action=outcome.action,
    )


# ---- a person in a conversation ------------------------------------------------------------------


async def _take_over(conn: Conn, call: Call) -> Answer:
    _with_takeover(call)
    reason = call.body["reason"] or "api"
    try:
        await takeover.taken_over(
            conn, call.user_id, ConversationId(call.id), call.body["until"], reason
        )
    except takeover.NotDone as why:
        raise _not_done(why.reason) from why
    return await _answer_conversation(conn, call)


async def _hand_back(conn: Conn, call: Call) -> Answer:
    try:
        await takeover.handed_back(conn, call.user_id, ConversationId(call.id))
    except takeover.NotDone as why:
        raise _not_done(why.reason) from why
    return await _answer_conversation(conn, call)


async def _say(conn: Conn, call: Call) -> Answer:
    _with_takeover(call)
    try:
        message_id, new = await takeover.said(
            conn,
            call.user_id,
            ConversationId(call.id),
            call.body["content_text"],
            {"kind": "human", "api_key_id": call.key_id},
            call.idempotency_key,
            call.request_hash,
        )
    except takeover.NotDone as why:
        if why.reason in ("daily_message_limit", "monthly_message_limit"):
            raise await _at_limit(conn, call, why.reason) from why
        raise _not_done(why.reason) from why
    return Answer(_there(await read_message(conn, call.user_id, message_id)), 201 if new else 200)


async def _answer_conversation(conn: Conn, call: Call) -> Answer:
    return Answer(_there(await read_conversation(conn, call.user_id, ConversationId(call.id))))


def _with_takeover(call: Call) -> None:
    if not call.access.live_chat_takeover:
        raise Problem(
            "not_in_plan",
            "The plan has features.advanced_features.live_chat_takeover = false: ask the operator"
            " for another plan.",
        )


def _not_done(reason: str) -> Problem:
    match reason:
        case "not_found":
            return Problem("not_found", "There is no conversation with this id, or not of yours.")
        case "chatbot_inactive":
            return Problem(
                "chatbot_inactive", "Nothing leaves for an inactive chatbot: activate it first."
            )
        case "window_closed":
            return Problem(
                "window_closed",
                "The customer's last message is more than 24 hours old, and WhatsApp takes free"
                " text only until then. Wait until they write.",
            )
        case "another_request":
            return Problem(
                "idempotency_key_reused",
                "This Idempotency-Key came with another request before. Take a new one.",
            )
        case "no_active_subscription":
            return Problem("not_in_plan", "There is no plan in force, so nothing can be sent.")
        case _:  # tenant_inactive: between the check of the key and the reservation
            return Problem(
                "not_authenticated",
                "The account is not active.",
                headers={"WWW-Authenticate": "Bearer"},
            )


async def _at_limit(conn: Conn, call: Call, reason: str) -> Problem:
    usage: Usage = _there(await read_usage(conn, call.user_id))
    ends_at = usage.day_ends_at if reason == "daily_message_limit" else usage.month_ends_at
    after_s = max(1, round((ends_at - call.now).total_seconds()))
    return Problem(
        "message_limit",
        f"The plan's {reason} is reached; it starts anew at {ends_at.isoformat()}. Nothing was"
        " sent, and the conversation is as it was.",
        headers={"Retry-After": str(after_s)},
        limit=reason,
        ends_at=ends_at.isoformat(),
    )


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
