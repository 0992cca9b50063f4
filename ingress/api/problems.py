"""What is answered when something cannot be done: problem details (RFC 9457)."""

from collections.abc import Sequence
from typing import Any

from handlers.plans import Feature, Permission
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
    "already_decided": (409, "The action has been decided otherwise"),
    "window_closed": (409, "WhatsApp takes no free text now"),
    "chatbot_inactive": (409, "The chatbot is not active"),
    "too_large": (413, "The body is too large"),
    "unsupported_media_type": (415, "The body is not JSON"),
    "idempotency_key_reused": (422, "The Idempotency-Key stands for another request"),
    "too_many_requests": (429, "Too many requests at once"),
    "message_limit": (429, "A message limit of the plan is reached"),
    "internal_error": (500, "Something went wrong on our side"),
    "unavailable": (503, "Not available now"),
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


def not_found() -> Problem:
    return Problem("not_found", "There is nothing with this id, or it is not yours.")


def not_authenticated(detail: str) -> Problem:
    return Problem("not_authenticated", detail, headers={"WWW-Authenticate": "Bearer"})


def unavailable(detail: str, after_s: int = 2) -> Problem:
    return Problem("unavailable", detail, headers={"Retry-After": str(after_s)})
