"""The WhatsApp Cloud API as a client: one call, one outcome.

Meta offers no idempotency key. So what matters of a failed call is whether the message can have
been accepted: Refused says no, Unknown says maybe, and only the first may simply be repeated.
"""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
from tenacity import (
    AsyncRetrying,
    RetryError,
    retry_if_result,
    stop_after_attempt,
    wait_exponential,
)

from db.ids import Wamid
from handlers.rules.claims import Away, Denied, Look, Told
from handlers.whatsapp.cloud_api.errors import class_of
from handlers.whatsapp.cloud_api.management import Called, NoAnswer, called
from handlers.whatsapp.cloud_api.uploads import Uploads
from handlers.whatsapp.cloud_api.wire import error_report
from handlers.whatsapp.port import Accepted, Outcome, Refused, Unknown

CONNECT_TIMEOUT_S = 5.0
CALL_TIMEOUT_S = 20.0  # then the outcome is unknown
READ_TIMEOUT_S = 5.0  # of a call that shows something and brings nothing
TRIES = 3  # within one send, and only while Meta says that it did not take the message
TRY_BASE_S = 0.2
MAX_ANSWER_BYTES = 256 * 1024
MAX_MANAGED_BYTES = 8 * 1024 * 1024  # a page of 100 templates, each with a carousel


def text_message(
    *, to: str | None, bsuid: str | None, text: str, in_reply_to: Wamid | None, callback_data: str
) -> dict[str, Any]:
    """The body of a text. A BSUID goes into `recipient`: in `to` Meta accepts and drops it."""
    recipient = {"to": to} if to is not None else {"recipient": bsuid}
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **recipient,
        **({"context": {"message_id": in_reply_to}} if in_reply_to else {}),
        "type": "text",
        "text": {"preview_url": False, "body": text},
        "biz_opaque_callback_data": callback_data,
    }


def template_message(
    *, to: str | None, bsuid: str | None, template: Mapping[str, Any], callback_data: str
) -> dict[str, Any]:
    """The body of a template: its name, language and components, as rendered. `bsuid` as in
    text_message()."""
    filled = {"components": parts} if (parts := template.get("components")) else {}
    recipient = {"to": to} if to is not None else {"recipient": bsuid}
    return {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **recipient,
        "type": "template",
        "template": {
            "name": template["name"],
            "language": {"code": template["language"]},
            **filled,
        },
        "biz_opaque_callback_data": callback_data,
    }


class GraphApi:
    def __init__(self, session: aiohttp.ClientSession, base_url: str, version: str) -> None:
        self._session = session
        self._base = f"{base_url.rstrip('/')}/{version}"
        self.uploads = Uploads(session, self._base)

    async def send(
        self, phone_number_id: str, token: str, body: dict[str, Any], *, marketing: bool = False
    ) -> Outcome:
        """Repeats what Meta says it did not take for a moment's reason, and nothing else.
        `marketing`: by the endpoint that takes MARKETING templates alone."""
        tries = AsyncRetrying(
            retry=retry_if_result(lambda o: isinstance(o, Refused) and o.kind == "transient"),
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=TRY_BASE_S, max=2.0),
        )
        try:
            endpoint = "marketing_messages" if marketing else "messages"
            return await tries(self._post, f"{phone_number_id}/{endpoint}", token, body)
        except RetryError as given_up:
            last: Outcome = given_up.last_attempt.result()
            return last

    async def show_typing(self, phone_number_id: str, token: str, wamid: Wamid) -> bool:
        """Marks a customer's message, and all before it, as read and shows that an answer is being
        written: for 25 s, or until it comes. Tried once; whether it worked."""
        try:
            async with self._session.post(
                f"{self._base}/{phone_number_id}/messages",
                json={
                    "messaging_product": "whatsapp",
                    "status": "read",
                    "message_id": wamid,
                    "typing_indicator": {"type": "text"},
                },
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=READ_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def look(self, object_id: str, token: str, fields: str, called: str) -> Look:
        """Whether the token reads an object, and what Graph says of it. `called` is what its id is
        called by whoever named it."""
        try:
            async with self._session.get(
                f"{self._base}/{quote(object_id, safe='')}",
                params={"fields": fields},
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=READ_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                return _look(response.status, await _body(response), called)
        except (aiohttp.ClientError, TimeoutError):
            return Away()

    async def manage(
        self,
        method: str,
        path: str,
        token: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
    ) -> Called:
        """What manages an account: `path` below the version, its parts quoted. Tried once."""
        try:
            async with self._session.request(
                method,
                f"{self._base}/{path}",
                params=query,
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                return called(response.status, await _body(response, MAX_MANAGED_BYTES))
        except (aiohttp.ClientError, TimeoutError) as error:
            return NoAnswer(type(error).__name__)

    async def _post(self, path: str, token: str, body: dict[str, Any]) -> Outcome:
        try:
            async with self._session.post(
                f"{self._base}/{path}",
                json=body,
                headers={"Authorization": f"Bearer {token}"},
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
                allow_redirects=False,
            ) as response:
                return _outcome(response.status, await _body(response))
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            # No connection, so nothing was written.
            return Refused("transient", _local_error(type(error).__name__))
        except (aiohttp.ClientError, TimeoutError) as error:
            return Unknown(type(error).__name__)


async def _body(response: aiohttp.ClientResponse, most: int = MAX_ANSWER_BYTES) -> bytes:
    """All of it, or as much as is reasonable: read(n) alone returns the first piece."""
    body = bytearray()
    while len(body) < most and (piece := await response.content.readany()):
        body += piece
    return bytes(body)


def _outcome(status: int, raw: bytes) -> Outcome:
    try:
        answer: Any = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        error = error_report(answer["error"])
        kind = class_of(error["code"], status)
        return Refused(kind, error) if kind else Unknown(f"http_{status}:{error['code']}")
    if status == 200 and isinstance(answer, dict):
        messages = answer.get("messages")
        first = messages[0] if isinstance(messages, list) and messages else None
        wamid = first.get("id") if isinstance(first, dict) else None
        if isinstance(wamid, str) and wamid:
            return Accepted(Wamid(wamid))
    if 300 <= status < 500:
        return Refused("refused", _local_error(f"http_{status}"))
    return Unknown(f"http_{status}")


PASSING = ("transient", "app", "number", "pair")  # refusals that say nothing of the object
LOOK_HINTS = {
    190: "Graph does not take the access_token: it is invalid or has expired",
    100: "Graph does not know {called}, or the access_token may not see it",
    33: "Graph does not know {called}, or the access_token may not see it",
}


def _look(status: int, raw: bytes, called: str) -> Look:
    try:
        answer: Any = json.loads(raw)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return Denied(f"Graph answers {status} to {called}") if 400 <= status < 429 else Away()
    if isinstance(answer.get("error"), dict):
        code = error_report(answer["error"])["code"]
        kind = class_of(code, status)
        if kind is None or kind in PASSING or status == 429:
            return Away()
        hint = LOOK_HINTS.get(code, "Graph does not let the access_token read {called}")
        said = "" if code is None else f" (error {code})"
        return Denied(hint.format(called=called) + said)
    return Told(answer) if status == 200 else Away()


def _local_error(title: str) -> dict[str, Any]:
    return {"code": None, "title": title, "details": None}
