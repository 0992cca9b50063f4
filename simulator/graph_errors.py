"""How the Graph API refuses."""

from typing import Any

from aiohttp import web


class Refused(Exception):
    def __init__(
        self,
        status: int,
        code: int,
        message: str,
        details: str = "",
        *,
        kind: str = "OAuthException",
        **said: Any,
    ) -> None:
        """`said`: `subcode`, and `user`, the title and the words that people are to read."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.details = details
        self.kind = kind
        self.subcode: int | None = said.get("subcode")
        self.user: tuple[str, str] | None = said.get("user")


def invalid(details: str) -> Refused:
    return Refused(400, 100, "(#100) Invalid parameter", details)


def error_answer(refused: Refused, request_id: str) -> web.Response:
    error: dict[str, object] = {
        "message": refused.message,
        "type": refused.kind,
        "code": refused.code,
        "fbtrace_id": request_id,
    }
    if refused.subcode is not None:
        error["error_subcode"] = refused.subcode
    if refused.user is not None:
        error["error_user_title"], error["error_user_msg"] = refused.user
    if refused.details:
        error["error_data"] = {"messaging_product": "whatsapp", "details": refused.details}
    return web.json_response({"error": error}, status=refused.status)
