"""What is answered when something cannot be done: problem details (RFC 9457)."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from handlers.plans import Feature, Limit, Permission
from ingress.api.mistakes import Mistake

# type -> (status, title). The type is urn:swiftreplies:problem:<name>; docs/api.md says more.
PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is not valid"),
    "not_authenticated": (401, "No valid API key"),
    "permission_missing": (403, "The API key does not permit this"),
    "not_in_plan": (403, "The plan does not include this"),
    "not_found": (404, "There is no such thing"),
    "method_not_allowed": (405, "This address does not know the method"),
    "request_timeout": (408, "The body took too long"),
    "already_exists": (409, "It exists already"),
    "already_decided": (409, "The action has been decided otherwise"),
    "wrong_state": (409, "It does not move so from the state that it is in"),
    "out_of_stock": (409, "There is not so much of it"),
    "not_ready": (409, "It is not ready"),
    "window_closed": (409, "WhatsApp takes no free text now"),
    "chatbot_inactive": (409, "The chatbot is not active"),
    "idempotency_in_progress": (409, "A request with this Idempotency-Key is in hand"),
    "import_ended": (409, "The import ended before its end"),
    "limit_reached": (409, "A limit is reached"),
    "number_taken": (409, "The number is another chatbot's"),
    "campaign_running": (409, "A campaign of it runs"),
    "template_not_approved": (409, "The template is not approved"),
    "opted_out": (409, "The contact wants no marketing"),
    "no_account": (409, "The chatbot has no WhatsApp account yet"),
    "webhook_rests": (409, "The webhook is switched off"),
    "precondition_failed": (412, "It was changed meanwhile"),
    "too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body has not a form that this takes"),
    "idempotency_key_reused": (422, "The Idempotency-Key stands for another request"),
    "refused_by_meta": (422, "Meta refused it"),
    "meta_limit": (429, "Meta takes no more such calls for a while"),
    "too_many_requests": (429, "Too many requests at once"),
    "message_limit": (429, "A message limit of the plan is reached"),
    "internal_error": (500, "Something went wrong on our side"),
    "model_failed": (502, "The model gave no answer"),
    "unavailable": (503, "Not available now"),
    "model_unavailable": (503, "The model's server is away"),
    "no_answer_in_time": (504, "There was no answer in time"),
}
CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """Raised wherever the request turns out to be impossible; the door answers with it."""

    def __init__(
        self,
        name: str,
        detail: str,
        *,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(name)
        self.name = name
        self.status, self.title = PROBLEMS[name]
        self.detail = detail
        self.headers = headers or {}
        self.members = members
        # In a transaction of its own, since this ends the call's. Of a connection of the tenant.
        self.afterwards: Callable[[Any], Awaitable[None]] | None = None

    def body(self, instance: str) -> dict[str, Any]:
        return {
            "type": f"urn:swiftreplies:problem:{self.name}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
            **self.members,
        }


def invalid(mistakes: Sequence[Mistake]) -> Problem:
    """With every one that was found."""
    return Problem(
        "invalid_request",
        "Mend what `errors` names, and send the request again.",
        errors=list(mistakes),
    )


def not_in_plan(key: Feature | Permission) -> Problem:
    return Problem(
        "not_in_plan", f"The plan does not allow {key}: ask the operator for another plan."
    )


def limit_reached(key: Limit, limit: int, count: int) -> Problem:
    return Problem(
        "limit_reached",
        f"The plan allows {limit} ({key}), and there are {count}: delete one, or ask the operator"
        " for another plan.",
        limit=str(key),
        allowed=limit,
        count=count,
    )


def not_found() -> Problem:
    return Problem("not_found", "There is nothing with this id, or it is not yours.")


def not_authenticated(detail: str) -> Problem:
    return Problem("not_authenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def unavailable(detail: str, after_s: int = 2) -> Problem:
    return Problem("unavailable", detail, headers={"Retry-After": str(after_s)})
