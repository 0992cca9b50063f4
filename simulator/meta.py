"""Meta's side of the webhooks: building, signing and delivering them."""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import aiohttp

from simulator.journal import Line
from simulator.script import Fault, Inbound, Number, RawPost, Status
from simulator.state import Person, State

ACCOUNT_ID = "330021987654321"
RETRY_FIRST_S = 0.2
RETRY_MAX_S = 5.0
RETRY_TRIES = 60

Cause = Literal["messages", "status", "raw"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the ingress answered; status is None when it gave no answer at all."""

    status: int | None
    body: str

    def as_json(self) -> dict[str, object]:
        return {"status": self.status, "body": self.body}


@dataclass(frozen=True, slots=True)
class Sent:
    """One message that the Graph endpoint accepted."""

    phone_number_id: str
    recipient: str | None
    customer: str
    wamid: str
    opaque: str | None
    line: Line


class NoWebhookUrl(Exception):
    """The simulator was not told where the webhooks go: set webhook_url in /_sim/config."""


def new_wamid() -> str:
    return "wamid." + base64.b64encode(secrets.token_bytes(33)).decode()


def encode(payload: object) -> bytes:
    """Meta's spelling: compact, unicode escaped in lower case, slashes escaped.

    A receiver that parses and dumps again before checking the signature fails on it.
    """
    return json.dumps(payload, separators=(",", ":")).replace("/", "\\/").encode()


def sign(secret: str, body: bytes) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class Courier:
    """Delivers webhooks to the ingress and records each attempt with its answer."""

    def __init__(self, state: State, http: aiohttp.ClientSession) -> None:
        self._state = state
        self._http = http

    async def say(self, inbound: Inbound) -> tuple[list[str], list[Answer]]:
        self._need_url()
        person = self._state.people.meet(inbound)
        wamids = inbound.wamids or tuple(new_wamid() for _ in inbound.texts)
        stamp = inbound.timestamp or str(int(time.time()))
        messages = []
        for wamid, text in zip(wamids, inbound.texts, strict=True):
            line = Line("customer", text, wamid, time.time())
            self._state.conversations.add(inbound.phone_number_id, person.customer, line)
            messages.append(_text_message(person, wamid, stamp, text))
        batches = [messages] if inbound.one_post else [[message] for message in messages]
        number = self._state.settings.number(inbound.phone_number_id)
        answers = []
        for batch in batches:
            value = {"contacts": [_contact(person)], "messages": batch}
            body = encode(_envelope(number, value))
            answers.append(await self._deliver("messages", body))
        return list(wamids), answers

    async def post_raw(self, post: RawPost) -> Answer:
        body = (
            encode(post.payload) if post.body is None else post.body.encode(errors="surrogatepass")
        )
        secret = post.secret or self._state.settings.app_secret
        signature = sign(secret, body) if post.signed else post.signature
        self._need_url()
        return await self._attempt("raw", body, signature, post.headers)

    async def report(self, sent: Sent, statuses: Iterable[Status], failure: Fault | None) -> None:
        """Posts what became of a message that was accepted."""
        for status in statuses:
            await self._state.pause(self._state.settings.status_delay_ms)
            settings = self._state.settings
            if not settings.webhook_urls:
                return
            person = self._state.people.find(sent.customer)
            value = _status_value(sent, status, person, failure)
            body = encode(_envelope(settings.number(sent.phone_number_id), value))
            sent.line.status = status
            await self._deliver("status", body)

    def _need_url(self) -> None:
        if not self._state.settings.webhook_urls:
            raise NoWebhookUrl(NoWebhookUrl.__doc__)

    async def _deliver(self, cause: Cause, body: bytes) -> Answer:
        """The first attempt's answer; further attempts go on in the background, as Meta's do."""
        signature = sign(self._state.settings.app_secret, body)
        answer = await self._attempt(cause, body, signature, {})
        if answer.status != 200 and self._state.settings.webhook_retry:
            self._state.spawn(self._retry(cause, body, signature))
        return answer

    async def _retry(self, cause: Cause, body: bytes, signature: str) -> None:
        wait = RETRY_FIRST_S
        for number in range(2, RETRY_TRIES + 1):
            await asyncio.sleep(wait)
            answer = await self._attempt(cause, body, signature, {}, number)
            if answer.status == 200:
                return
            wait = min(wait * 2, RETRY_MAX_S)

    async def _attempt(
        self,
        cause: Cause,
        body: bytes,
        signature: str | None,
        extra: Mapping[str, str],
        number: int = 1,
    ) -> Answer:
        headers = {"Content-Type": "application/json", "User-Agent": "facebookexternalua", **extra}
        if signature is not None:
            headers["X-Hub-Signature-256"] = signature
        started = time.time()
        try:
            async with self._http.post(
                self._state.next_webhook_url(), data=body, headers=headers, allow_redirects=False
            ) as response:
                answer = Answer(response.status, (await response.read()).decode(errors="replace"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            answer = Answer(None, f"{type(error).__name__}: {error}")
        self._state.journal.add(
            "webhook",
            cause=cause,
            attempt=number,
            body=body.decode(errors="replace"),
            signature=signature,
            status=answer.status,
            answer=answer.body,
            took_ms=round((time.time() - started) * 1000, 1),
        )
        return answer


def _envelope(number: Number, value: Mapping[str, object]) -> dict[str, object]:
    metadata = {
        "display_phone_number": number.display_phone_number,
        "phone_number_id": number.phone_number_id,
    }
    whole = {"messaging_product": "whatsapp", "metadata": metadata, **value}
    changes = [{"value": whole, "field": "messages"}]
    return {
        "object": "whatsapp_business_account",
        "entry": [{"id": ACCOUNT_ID, "changes": changes}],
    }


def _contact(person: Person) -> dict[str, object]:
    return _known(
        profile=None if person.name is None else {"name": person.name},
        wa_id=person.digits,
        user_id=person.user_id,
    )


def _text_message(person: Person, wamid: str, stamp: str, text: str) -> dict[str, object]:
    sender = _known(**{"from": person.digits, "from_user_id": person.user_id})
    return {**sender, "id": wamid, "timestamp": stamp, "type": "text", "text": {"body": text}}


def _status_value(
    sent: Sent, status: Status, person: Person | None, failure: Fault | None
) -> dict[str, object]:
    """The shape of v24 and later: contacts, BSUIDs, no conversation."""
    unmet = Person(
        sent.customer, None if sent.recipient else sent.customer, sent.recipient, name=None
    )
    who = person or unmet
    report: dict[str, object] = {
        "id": sent.wamid,
        "status": status,
        "timestamp": str(int(time.time())),
        **_known(recipient_id=who.digits, biz_opaque_callback_data=sent.opaque),
    }
    if status == "failed":
        return {"statuses": [{**report, "errors": _status_errors(failure)}]}
    report |= _known(recipient_user_id=who.user_id)
    if status in ("sent", "delivered"):
        report["pricing"] = {
            "billable": False,
            "pricing_model": "PMP",
            "type": "free_customer_service",
            "category": "service",
        }
    return {"contacts": [_contact(who)], "statuses": [report]}


def _status_errors(failure: Fault | None) -> Sequence[object]:
    code, title, details = 131026, "Message undeliverable", "Message Undeliverable."
    if failure is not None:
        code, title, details = failure.code, failure.message, failure.details
    error_data = {"details": details}
    return [{"code": code, "title": title, "message": title, "error_data": error_data}]


def _known(**values: object) -> dict[str, object]:
    """Meta leaves out what it does not know; it does not send null."""
    return {name: value for name, value in values.items() if value is not None}
